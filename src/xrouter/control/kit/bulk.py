"""Many rows at once, by the driver itself: a statement built for each costs more than the row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import Boolean
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.base import Base

MOST_VALUES = 999
"""In one statement: more than these not every SQLite takes."""

Row = tuple[Any, ...]


class Bulk:
    """An insert of tuples, many with each statement.

    table: of which `columns` are written; None for a value of the tuples that is not. unique: rows
    that are there already by these columns stay as they are; () where that cannot be. made: what
    is written for values of a column. always: words of ours for columns that have the same in all
    rows.
    """

    def __init__(
        self,
        table: type[Base],
        columns: Sequence[str | None],
        unique: Sequence[str] = (),
        made: Mapping[str, Callable[[Any], Any]] | None = None,
        always: Mapping[str, str] | None = None,
    ) -> None:
        self._table = table.__tablename__
        self._columns = {
            place: table.__table__.c[name] for place, name in enumerate(columns) if name is not None
        }
        self._made = dict(made or {})
        self._always = dict(always or {})
        self._truths = {
            column.name: int
            for column in self._columns.values()
            if isinstance(column.type, Boolean) and not column.nullable
        }
        self._nullable = [place for place, column in self._columns.items() if column.nullable]
        self._conflict = f" ON CONFLICT ({', '.join(unique)}) DO NOTHING" if unique else ""
        self._statement = lru_cache(maxsize=64)(self._text)

    async def write(self, session: AsyncSession, rows: Sequence[Row]) -> None:
        """Insert them in the session's transaction. Raises DBAPIError."""
        if not rows:
            return
        connection = await session.connection()
        mark, places, made = "${}", tuple(self._columns), self._made
        if connection.dialect.name != "postgresql":
            # SQLite's driver takes long to see that it need not convert None, True and False
            mark, places, made = "?", self._told(rows), self._truths | made
        width = len(places)
        values = list(chain.from_iterable(map(itemgetter(*places), rows)))
        for at, place in enumerate(places):
            if make := made.get(self._columns[place].name):
                values[at::width] = map(make, values[at::width])
        at_once = MOST_VALUES // width
        many, rest = divmod(len(rows), at_once)
        for count, size in ((many, at_once), (rest, 1)):
            step = size * width
            parts = [tuple(values[at : at + step]) for at in range(0, count * step, step)]
            del values[: count * step]
            if parts:
                await connection.exec_driver_sql(self._statement(places, size, mark), parts)

    def _told(self, rows: Sequence[Row]) -> tuple[int, ...]:
        """The places of all columns but those that are NULL in all rows."""
        empty = {
            place
            for place in self._nullable
            if rows[0][place] is None and all(row[place] is None for row in rows)
        }
        return tuple(place for place in self._columns if place not in empty)

    def _text(self, places: Sequence[int], rows: int, mark: str) -> str:
        names, width = [self._columns[place].name for place in places], len(places)
        marks = [mark.format(n) for n in range(1, rows * width + 1)]
        words = [f"'{word}'" for word in self._always.values()]
        each = [
            f"({', '.join([*marks[at : at + width], *words])})"
            for at in range(0, len(marks), width)
        ]
        return (
            f"INSERT INTO {self._table} ({', '.join([*names, *self._always])}) "  # noqa: S608 - our names
            f"VALUES {', '.join(each)}{self._conflict}"
        )
