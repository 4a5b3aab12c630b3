"""Connections to SQLite: a statement and its rows are one visit to the connection's thread.

The driver's own cursors go there four times for each: to be made, to execute, to fetch, to close.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import aiosqlite
from typing_extensions import override

PAGE = 1000
"""Rows that come with the statement; more of them are asked for when they are wanted."""

Row = Any


class Connection(aiosqlite.Connection):
    """One that makes cursors of ours."""

    @override
    def cursor(self) -> Cursor:  # type: ignore[override] # as much as SQLAlchemy needs
        return Cursor(self)

    async def visit(self, work: Callable[..., Any], *given: Any) -> Any:
        """What `work` answers in the thread of the connection."""
        return await self._execute(work, *given)  # type: ignore[no-untyped-call]

    def opened(self) -> sqlite3.Cursor:
        """A cursor of the database; call it in the thread."""
        return self._conn.cursor()


class Cursor:
    """As much of a cursor as SQLAlchemy needs. arraysize: rows of `fetchmany`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor: sqlite3.Cursor | None = None
        self._rows: deque[Row] = deque()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Run it, and fetch its first page."""
        await self._connection.visit(self._begin, sqlite3.Cursor.execute, statement, parameters)

    async def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run it for each of the parameters."""
        await self._connection.visit(self._begin, sqlite3.Cursor.executemany, statement, parameters)

    async def fetchone(self) -> Row | None:
        """The next row, None at the end."""
        found = await self.fetchmany(1)
        return found[0] if found else None

    async def fetchmany(self, size: int | None = None) -> list[Row]:
        """Up to `size` rows."""
        wanted = self.arraysize if size is None else size
        while len(self._rows) < wanted and self._cursor is not None:
            await self._connection.visit(self._fetch)
        return [self._rows.popleft() for _ in range(min(wanted, len(self._rows)))]

    async def fetchall(self) -> list[Row]:
        """All rows that are left."""
        while self._cursor is not None:
            await self._connection.visit(self._fetch)
        found = list(self._rows)
        self._rows.clear()
        return found

    async def close(self) -> None:
        """Give up the rows that are left."""
        self._rows.clear()
        if self._cursor is not None:
            await self._connection.visit(self._end)

    def _begin(self, run: Callable[..., Any], statement: str, parameters: Any) -> None:
        if self._cursor is not None:
            self._end()
        self._rows.clear()
        self._cursor = self._connection.opened()
        try:
            run(self._cursor, statement, parameters)
            self.description = self._cursor.description
            self._fetch()
        except BaseException:
            self._end()
            raise

    def _fetch(self) -> None:
        """The next page; behind the last one the database's cursor is closed."""
        cursor = self._cursor
        if cursor is None:
            return
        found = cursor.fetchmany(PAGE) if self.description else []
        self._rows.extend(found)
        self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        if len(found) < PAGE:
            self._end()

    def _end(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None


def connect(database: str, **given: Any) -> Connection:
    """As `sqlite3.connect`, whose arguments are given; to be awaited."""
    made = Connection(lambda: sqlite3.connect(database, **given), PAGE)
    made._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does it: nobody waits for it at the end
    return made
