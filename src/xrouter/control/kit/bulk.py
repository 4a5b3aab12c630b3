"""Many rows at once, by the driver itself: a statement built for each costs more than the row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
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
        self._columns = {place: name for place, name in enumerate(columns) if name is not None}
        self._made = dict(made or {})
        self._always = dict(always or {})
        of = table.__table__.c
        self._truths = {
            name: int
            for name in self._columns.values()
            if isinstance(of[name].type, Boolean) and not of[name].nullable
        }
        self._conflict = f" ON CONFLICT ({', '.join(unique)}) DO NOTHING" if unique else ""
        self._at_once = max(1, MOST_VALUES // len(self._columns))
        self._statement = lru_cache(maxsize=64)(self._text)

    async def write(self, session: AsyncSession, rows: Sequence[Row]) -> None:
        """Insert them in the session's transaction. Raises DBAPIError."""
        if not rows:
            return
        connection = await session.connection()
        numbered, made = True, self._made
        if connection.dialect.name != "postgresql":
            # SQLite's driver takes long to see that it need not convert None, True and False
            numbered, made = False, self._truths | made
        same, other = self._parted(rows, made)
        names, width = (tuple(same), tuple(other)), len(other)
        values = list(chain.from_iterable(zip(*other.values(), strict=True)))
        many, rest = divmod(len(rows), self._at_once)
        for count, size in ((many, self._at_once), (rest, 1)):
            step = size * width
            parts = [(*same.values(), *values[at * step : (at + 1) * step]) for at in range(count)]
            del values[: count * step]
            if parts:
                text = self._statement(*names, size, numbered=numbered)
                await connection.exec_driver_sql(text, parts)

    def _parted(
        self, rows: Sequence[Row], made: Mapping[str, Callable[[Any], Any]]
    ) -> tuple[dict[str, Any], dict[str, Iterable[Any]]]:
        """The value of each column that has the same in all rows: it is given once for all rows of
        a statement. Then the values of each of the others.
        """
        same: dict[str, Any] = {}
        other: dict[str, Iterable[Any]] = {}
        columns, last = tuple(zip(*rows, strict=True)), len(rows) - 1
        for place, name in self._columns.items():
            column, make = columns[place], made.get(name)
            first = column[0]
            if column[last] == first and column.count(first) > last:
                same[name] = make(first) if make else first
            else:
                other[name] = map(make, column) if make else column
        return same, other

    def _text(self, same: Sequence[str], other: Sequence[str], rows: int, *, numbered: bool) -> str:
        """numbered: PostgreSQL is told which value goes where. SQLite counts them by itself."""
        mark, width = "${}" if numbered else "?{}", len(other)
        fixed = [mark.format(n) for n in range(1, len(same) + 1)]
        words = [f"'{word}'" for word in self._always.values()]
        each = []
        for row in range(rows):
            first = len(same) + 1 + row * width
            given = [mark.format(n) if numbered else "?" for n in range(first, first + width)]
            each.append(f"({', '.join([*fixed, *given, *words])})")
        return (
            f"INSERT INTO {self._table} ({', '.join([*same, *other, *self._always])}) "  # noqa: S608 - our names
            f"VALUES {', '.join(each)}{self._conflict}"
        )


class Finder:
    """Rows by their keys: with one parameter, for writing out a thousand costs more than finding
    them. columns: what is read of the table.
    """

    def __init__(self, table: type[Base], key: str, columns: Sequence[str]) -> None:
        text = f"SELECT {', '.join(columns)} FROM {table.__tablename__} WHERE {key}"  # noqa: S608 - our names
        self._of_array = text + " = ANY($1)"
        self._of_json = text + " IN (SELECT value FROM json_each(?))"  # noqa: S608

    async def find(self, session: AsyncSession, keys: Collection[str]) -> Sequence[Any]:
        """Those that are there, in no order. Raises DBAPIError."""
        connection = await session.connection()
        if connection.dialect.name == "postgresql":
            found = await connection.exec_driver_sql(self._of_array, (list(keys),))
        else:
            text = msgspec.json.encode(list(keys)).decode()
            found = await connection.exec_driver_sql(self._of_json, (text,))
        return found.all()
