"""Many rows at once, by the driver itself: a statement built for each costs more than the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession


class Bulk:
    """An insert of tuples. columns: in the order of their values. unique: rows that are there
    already by these columns stay as they are; () where that cannot be.
    """

    def __init__(self, table: str, columns: Sequence[str], unique: Sequence[str] = ()) -> None:
        self._table = table
        self._columns = tuple(columns)
        self._conflict = f" ON CONFLICT ({', '.join(unique)}) DO NOTHING" if unique else ""

    async def write(self, session: AsyncSession, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert them in the session's transaction. Raises DBAPIError."""
        if rows:
            connection = await session.connection()
            await connection.exec_driver_sql(self._text(connection.dialect.name), list(rows))

    def _text(self, dialect: str) -> str:
        numbers = range(1, len(self._columns) + 1)
        marks = [f"${n}" if dialect == "postgresql" else "?" for n in numbers]
        return (
            f"INSERT INTO {self._table} ({', '.join(self._columns)}) "  # noqa: S608 - our names
            f"VALUES ({', '.join(marks)}){self._conflict}"
        )
