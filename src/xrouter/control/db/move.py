"""From one database into another: all rows, in one transaction, compared before it is committed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date, datetime
from typing import Any

from msgspec import Struct, field
from sqlalchemy import (
    JSON,
    Connection,
    Insert,
    Select,
    String,
    Table,
    Text,
    bindparam,
    cast,
    collate,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db import schema, triggers
from xrouter.control.db.engine import Database
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.metadata import STAMPED, metadata
from xrouter.control.db.tables.health import InstanceRow

BATCH = 1000
LEFT_OUT = frozenset({InstanceRow.__tablename__})
"""Who runs at the moment: nobody does while a database is moved."""
STATE = "catalog_state"
FIRST = {"organizations": "default", "projects": "default"}
"""Rows that come with the tables, by their slug."""

SILENT_S = 15.0
SUMMED = {
    "usage_events": ("tokens_in", "tokens_out"),
    "charges": ("total", "cost"),
    "ledger_lines": ("amount",),
}

_JSON = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_NOW = text("SELECT extract(epoch FROM now())")

Row = tuple[Any, ...]


class Figures(Struct):
    """What a table holds. digest: of all rows in the order of their keys. sums: by column."""

    table: str
    rows: int = 0
    digest: str = ""
    sums: dict[str, int] = field(default_factory=dict)


class Moved(DatabaseError):
    """The copy is not what it was made from; nothing was kept of it."""


async def prepare(url: str) -> None:
    """Make the tables of the target, where there are none. Raises DatabaseError."""
    found = await schema.current(url)
    if found is None:
        await schema.migrations().upgrade(url)
    elif found != schema.HEAD:
        raise DatabaseError(
            f"The target's tables are at {found}, this version needs {schema.HEAD}.",
            hint="Give an empty database.",
        )


async def move(source: Database, target: Database, told: Callable[[str], None]) -> list[Figures]:
    """Copy all tables; what each of them holds. told: what is being done.

    Nothing else may write to either. Raises DatabaseError: the target is as it was then.
    """
    tables = [table for table in metadata().sorted_tables if table.name not in LEFT_OUT]
    async with target.write() as writing:
        async with source.read() as reading:  # ended before the comparison: that takes a while
            await require_nobody(reading)
            before = await _copy_all(reading, writing, tables, told)
        told("Comparing")
        after = [await figures(writing, table) for table in tables]
        compare(before, after)
    return before


async def _copy_all(
    reading: AsyncSession,
    writing: AsyncSession,
    tables: Sequence[Table],
    told: Callable[[str], None],
) -> list[Figures]:
    found = []
    await _empty(writing, tables)
    connection = await writing.connection()
    await connection.run_sync(_without_stamps)
    for table in tables:
        told(f"Copying {table.name}")
        found.append(await _copy(reading, writing, table))
    await connection.run_sync(_with_stamps)
    await _set_revision(reading, writing)
    return found


def compare(before: Sequence[Figures], after: Sequence[Figures]) -> None:
    """Raises Moved when anything differs."""
    for old, new in zip(before, after, strict=True):
        if old != new:
            raise Moved(
                f"The copy of {old.table} is not what it was made from: {old.rows} rows, "
                f"{_shown(old)}, against {new.rows}, {_shown(new)}.",
                hint="Nothing was kept of the copy. Does a trigger change rows in the target?",
            )


async def figures(session: AsyncSession, table: Table) -> Figures:
    """What a table holds."""
    count = _Counter(table)
    async for rows in _pages(session, table):
        count.take(rows)
    return count.done()


def _shown(each: Figures) -> str:
    sums = "".join(f", {name} {value}" for name, value in each.sums.items())
    return f"digest {each.digest[:12]}{sums}"


class _Counter:
    """Counts the rows of a table as they pass."""

    def __init__(self, table: Table) -> None:
        self._figures = Figures(str(table.name), sums=dict.fromkeys(SUMMED.get(table.name, ()), 0))
        self._hash = hashlib.sha256()
        names = [column.name for column in table.columns]
        self._summed = [(name, names.index(name)) for name in self._figures.sums]
        self._json = [_is_json(column) for column in table.columns]

    def take(self, rows: Sequence[Row]) -> None:
        self._figures.rows += len(rows)
        for name, place in self._summed:
            self._figures.sums[name] += sum(row[place] for row in rows)
        for row in rows:
            values = [
                _canonical(json.loads(value)) if is_json and value is not None else _plain(value)
                for value, is_json in zip(row, self._json, strict=True)
            ]
            self._hash.update(json.dumps(values, sort_keys=True).encode() + b"\n")

    def done(self) -> Figures:
        self._figures.digest = self._hash.hexdigest()
        return self._figures


async def _copy(reading: AsyncSession, writing: AsyncSession, table: Table) -> Figures:
    statement = _insert(table)
    count = _Counter(table)
    names = [(f"new_{column.name}", _is_json(column)) for column in table.columns]
    if table.name == STATE:
        return await figures(reading, table)
    connection = await writing.connection()
    async for rows in _pages(reading, table):
        count.take(rows)
        values = [
            {name: _bound(value) if is_json else value for (name, is_json), value in pairs}
            for pairs in (zip(names, row, strict=True) for row in rows)
        ]
        try:
            await connection.execute(statement, values)
        except DBAPIError as error:
            raise DatabaseError(
                f"The target refuses rows of {table.name}: {error.orig}"[:400],
                hint="Nothing was kept of the copy.",
            ) from error
    await _set_numbers(writing, table)
    return count.done()


async def _pages(session: AsyncSession, table: Table) -> AsyncIterator[Sequence[Row]]:
    connection = await session.connection()
    query = _query(table, connection.dialect.name).execution_options(yield_per=BATCH)
    async with connection.stream(query) as rows:
        async for page in rows.partitions():
            yield [tuple(row) for row in page]


def _query(table: Table, dialect: str) -> Select[Any]:
    """All rows in the order of their keys, which is the same in both databases; JSON as text."""
    columns = [cast(c, Text).label(c.name) if _is_json(c) else c for c in table.columns]
    order = [
        collate(c, "C") if dialect == "postgresql" and isinstance(c.type, String) else c
        for c in table.primary_key
    ]
    return select(*columns).order_by(*order)


def _insert(table: Table) -> Insert:
    given = {
        c.name: bindparam(f"new_{c.name}", type_=_JSON if _is_json(c) else c.type)
        for c in table.columns
    }
    return insert(table).values(given)


def _is_json(column: Any) -> bool:
    return isinstance(column.type, JSON)


def _bound(value: str | None) -> Any:
    """JSON's null and no value are two things."""
    if value is None:
        return None
    found = json.loads(value)
    return JSON.NULL if found is None else found


def _canonical(value: Any) -> Any:
    """1.0 and 1 are one number; some databases make the one of the other."""
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value


async def require_nobody(session: AsyncSession) -> None:
    """Raises DatabaseError when a server has said a moment ago that it uses the database."""
    connection = await session.connection()
    if connection.dialect.name == "postgresql":
        now = float(await session.scalar(_NOW) or 0.0)
    else:
        now = time.time()
    seen = select(func.count()).where(InstanceRow.seen_at > now - SILENT_S)
    alive = await session.scalar(seen)
    if alive:
        raise DatabaseError(
            f"Servers use this database: {alive} were heard of in the last {SILENT_S:g} seconds.",
            hint="Stop all of them first.",
        )


async def _empty(session: AsyncSession, tables: Sequence[Table]) -> None:
    """Take out what the migrations have put in. Raises DatabaseError when there is more."""
    for table in reversed(tables):
        if table.name == STATE:
            continue
        if table.name in FIRST:
            await session.execute(delete(table).where(table.c.slug == FIRST[table.name]))
        if await session.scalar(select(func.count()).select_from(table)):
            raise DatabaseError(
                f"The target is not empty: there are rows in {table.name}.",
                hint="Give an empty database.",
            )


async def _set_numbers(session: AsyncSession, table: Table) -> None:
    """Where the database counts by itself, it goes on behind the last row."""
    column = table.autoincrement_column
    connection = await session.connection()
    if column is None or connection.dialect.name != "postgresql":
        return
    sequence = func.pg_get_serial_sequence(table.name, column.name)
    last = await session.scalar(select(func.max(column)))
    if last is not None and await session.scalar(select(sequence)) is not None:
        await session.execute(select(func.setval(sequence, last)))


async def _set_revision(reading: AsyncSession, writing: AsyncSession) -> None:
    """Last, for each row that was written has raised it."""
    state = metadata().tables[STATE]
    revision = await reading.scalar(select(state.c.revision))
    await writing.execute(update(state).values(revision=revision))


def _without_stamps(connection: Connection) -> None:
    for table in STAMPED:
        triggers.unstamp(connection, table)


def _with_stamps(connection: Connection) -> None:
    for table in STAMPED:
        triggers.stamp(connection, table)
