from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from typing_extensions import override

from xrouter.control.db.engine import Database
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.sqlite import PAGE, Connection, Cursor, connect

SERIES = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?) "
ROWS = SERIES + "SELECT x FROM n WHERE x <= ?"
MANY = 3 * PAGE


class Counted(Connection):
    """Counts how often its thread is visited."""

    visits = 0

    @override
    async def visit(self, work: Any, *given: Any) -> Any:
        self.visits += 1
        return await super().visit(work, *given)


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    made = await connect(":memory:")
    assert isinstance(made, Connection)
    yield made
    await made.close()


async def asked(connection: Connection, rows: int) -> Cursor:
    cursor = connection.cursor()
    await cursor.execute(ROWS, (rows, rows))
    return cursor


@pytest.mark.parametrize("rows", [0, 1, PAGE - 1, PAGE, PAGE + 1, MANY])
async def test_all_rows_come_however_they_are_fetched(connection: Connection, rows: int) -> None:
    wanted = [(n,) for n in range(1, rows + 1)]
    assert await (await asked(connection, rows)).fetchall() == wanted
    cursor, found = await asked(connection, rows), []
    while page := await cursor.fetchmany(PAGE - 1):
        found += page
    assert found == wanted
    cursor, found = await asked(connection, rows), []
    while (row := await cursor.fetchone()) is not None:
        found.append(row)
    assert found == wanted
    assert cursor.description[0][0] == "x"


async def test_a_statement_and_its_rows_are_one_visit() -> None:
    async with Counted(lambda: sqlite3.connect(":memory:"), PAGE) as made:
        assert isinstance(made, Counted)
        cursor = await asked(made, 3)
        assert len(await cursor.fetchall()) == 3
        await cursor.close()
        assert made.visits == 1


async def test_changes_are_counted(connection: Connection) -> None:
    cursor = connection.cursor()
    await cursor.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
    await cursor.executemany("INSERT INTO t (x) VALUES (?)", [(n,) for n in range(5)])
    assert cursor.rowcount == 5
    await cursor.execute("INSERT INTO t (x) VALUES (?) RETURNING id", (9,))
    assert await cursor.fetchall() == [(6,)]
    assert (cursor.rowcount, cursor.lastrowid) == (1, 6)
    await cursor.execute("UPDATE t SET x = 0 WHERE id < ?", (4,))
    assert (cursor.rowcount, cursor.description) == (3, None)


async def test_a_cursor_is_good_for_another_statement(connection: Connection) -> None:
    cursor = await asked(connection, MANY)
    await cursor.execute("SELECT 'other'")
    assert await cursor.fetchall() == [("other",)]
    with pytest.raises(sqlite3.OperationalError):
        await cursor.execute("SELECT nothing")
    assert await cursor.fetchall() == []
    await cursor.execute("SELECT 1")
    assert await cursor.fetchone() == (1,)


async def test_what_is_not_read_to_its_end_holds_nothing_up(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    query = text(SERIES.replace("?", str(MANY)) + "SELECT x FROM n")
    async with db.read() as session:
        rows = await session.stream(query.execution_options(yield_per=10))
        assert [row.x for row in await rows.fetchmany(10)] == [*range(1, 11)]
        await rows.close()
        streamed = await session.stream(query.execution_options(yield_per=7))
        assert [row.x async for row in streamed] == [*range(1, MANY + 1)]
    async with db.write() as session:
        await session.stream(query)
        await session.execute(text("UPDATE catalog_state SET revision = 77"))
    async with db.read() as session:
        assert await session.scalar(text("SELECT revision FROM catalog_state")) == 77
    await db.close()


async def test_a_broken_off_or_wrong_statement_leaves_a_good_connection(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    slow = text(SERIES.replace("?", "300000") + "SELECT sum(x) FROM n")
    for _ in range(3):

        async def ask() -> None:
            async with db.write() as session:
                await session.execute(text("UPDATE catalog_state SET revision = revision + 1"))
                await session.execute(slow)

        task = asyncio.create_task(ask())
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(DatabaseError):
            async with db.write() as session:
                await session.execute(text("SELECT nothing"))
        async with db.write() as session:
            await session.execute(text("UPDATE catalog_state SET revision = 5"))
        async with db.read() as session:
            assert await session.scalar(text("SELECT revision FROM catalog_state")) == 5
    await db.close()
