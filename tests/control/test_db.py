from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from tests.services.postgres import Postgres

from xrouter.control.catalog import repository
from xrouter.control.db.engine import Database
from xrouter.control.db.errors import DatabaseError
from xrouter.domain.errors import Conflict

PROVIDER = "INSERT INTO providers (name, display_name, adapter_class) VALUES (:n, 'X', 'a.B')"

CHANGES = {
    "providers": (
        "INSERT INTO providers (name, display_name, adapter_class) VALUES ('q', 'Q', 'a.B')",
        "UPDATE providers SET is_enabled = false WHERE name = 'q'",
        "DELETE FROM providers WHERE name = 'q'",
    ),
    "provider_endpoints": (
        "INSERT INTO provider_endpoints (provider, name, base_url) VALUES ('p', 'e', 'http://x')",
        "UPDATE provider_endpoints SET base_url = 'http://y'",
        "DELETE FROM provider_endpoints",
    ),
    "llm_models": (
        (
            "INSERT INTO llm_models (model_id, provider, adapter_class, display_name)"
            " VALUES ('p/n', 'p', 'a.B', 'N')"
        ),
        "UPDATE llm_models SET is_available = false WHERE model_id = 'p/n'",
        "DELETE FROM llm_models WHERE model_id = 'p/n'",
    ),
    "llm_model_versions": (
        (
            "INSERT INTO llm_model_versions (llm_model_id, label, upstream)"
            " SELECT id, 'v', 'm' FROM llm_models WHERE model_id = 'p/m'"
        ),
        "UPDATE llm_model_versions SET channel = 'rc'",
        "DELETE FROM llm_model_versions",
    ),
    "api_keys": (
        (
            "INSERT INTO api_keys (key_id, name, pepper_id, mac, last4, created_at)"
            " VALUES ('key_1', 'n', 'x', 'mac', 'last', CURRENT_TIMESTAMP)"
        ),
        "UPDATE api_keys SET revoked_at = CURRENT_TIMESTAMP",
        "DELETE FROM api_keys",
    ),
}


async def revision(db: Database) -> int:
    async with db.read() as session:
        return await repository.revision(session)


async def run(db: Database, statement: str, **values: object) -> None:
    async with db.write() as session:
        await session.execute(text(statement), values)


@pytest.mark.parametrize("table", sorted(CHANGES))
async def test_every_raw_change_raises_the_revision(db: Database, table: str) -> None:
    await run(db, PROVIDER, n="p")
    await run(
        db,
        "INSERT INTO llm_models (model_id, provider, adapter_class, display_name)"
        " VALUES ('p/m', 'p', 'a.B', 'M')",
    )
    for statement in CHANGES[table]:
        before = await revision(db)
        await run(db, statement)
        assert await revision(db) > before, statement


async def test_a_change_that_is_undone_does_not_count(db: Database) -> None:
    async def half() -> None:
        async with db.write() as session:
            await session.execute(text(PROVIDER), {"n": "p"})
            raise ZeroDivisionError

    before = await revision(db)
    with pytest.raises(ZeroDivisionError):
        await half()
    assert await revision(db) == before


async def test_what_cascades_raises_the_revision_too(db: Database) -> None:
    await run(db, PROVIDER, n="p")
    await run(db, CHANGES["llm_models"][0])
    before = await revision(db)
    await run(db, "DELETE FROM providers")
    assert await revision(db) > before
    async with db.read() as session:
        assert (await session.scalars(text("SELECT count(*) FROM llm_models"))).one() == 0


async def test_a_reading_session_cannot_write(db: Database) -> None:
    async with db.read() as session:
        with pytest.raises(DBAPIError, match=r"(?i)read-?only"):
            await session.execute(text(PROVIDER), {"n": "p"})


async def test_a_reading_session_sees_one_state(db: Database) -> None:
    async with db.read() as session:
        before = await repository.revision(session)
        await run(db, PROVIDER, n="p")
        assert await repository.revision(session) == before
    assert await revision(db) > before


async def test_writers_take_turns(db: Database) -> None:
    async def read_then_write(number: int) -> None:
        async with db.write() as session:
            row = (
                await session.scalars(text("SELECT revision FROM catalog_state FOR UPDATE"))
                if db.dialect == "postgresql"
                else await session.scalars(text("SELECT revision FROM catalog_state"))
            ).one()
            await session.execute(text(PROVIDER), {"n": f"p{number}-{row}"})

    before = await revision(db)
    await asyncio.gather(*(read_then_write(number) for number in range(20)))
    assert await revision(db) == before + 20


async def test_constraints_are_kept(db: Database) -> None:
    await run(db, PROVIDER, n="p")
    with pytest.raises(IntegrityError):
        await run(db, PROVIDER, n="p")
    with pytest.raises(IntegrityError):
        await run(db, CHANGES["provider_endpoints"][0].replace("'p'", "'nobody'"))


async def test_sqlite_is_opened_as_it_should_be(sqlite_url: str) -> None:
    db = Database(sqlite_url)

    async def pragma(name: str, *, writing: bool) -> object:
        async with db.write() if writing else db.read() as session:
            return (await session.execute(text(f"PRAGMA {name}"))).scalar()

    for name, value in {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "journal_size_limit": 64 << 20,
        "wal_autocheckpoint": 4000,
        "cache_size": -32768,
        "temp_store": 2,
        "query_only": 0,
    }.items():
        assert await pragma(name, writing=True) == value, name
    assert await pragma("query_only", writing=False) == 1
    assert await pragma("busy_timeout", writing=False) == 5000
    await db.close()


async def test_sqlite_has_one_writing_connection(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    inside = 0

    async def write() -> None:
        nonlocal inside
        async with db.write() as session:
            await session.execute(text("SELECT 1"))
            inside += 1
            assert inside == 1
            await session.execute(text("SELECT 1"))
            inside -= 1

    await asyncio.gather(*(write() for _ in range(10)))
    await db.close()


async def test_a_second_writing_process_is_told_who_is_there(
    sqlite_url: str,
) -> None:
    first, second = Database(sqlite_url), Database(sqlite_url, lock_wait_s=0.05)
    await run(first, PROVIDER, n="p")
    with pytest.raises(DatabaseError, match=r"Another process \(pid \d+\)") as caught:
        await run(second, PROVIDER, n="q")
    assert "control API" in (caught.value.hint or "")
    assert await revision(second) == 1
    await first.close()
    await run(second, PROVIDER, n="q")
    await second.close()


async def test_a_writer_that_is_killed_leaves_the_lock_free(sqlite_url: str) -> None:
    code = (
        "import asyncio, os, sys\n"
        "from xrouter.control.db.engine import Database\n"
        "from sqlalchemy import text\n"
        "async def main():\n"
        f"    db = Database({sqlite_url!r})\n"
        "    async with db.write() as session:\n"
        "        await session.execute(text('UPDATE catalog_state SET revision = 77'))\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9
    db = Database(sqlite_url)
    await run(db, PROVIDER, n="p")
    assert await revision(db) == 1
    await db.close()


async def test_a_stranger_that_writes_is_waited_for(sqlite_url: str, sqlite_file: Path) -> None:
    """A person with a database shell knows nothing of our lock."""
    db = Database(sqlite_url)
    await revision(db)
    stranger = sqlite3.connect(sqlite_file, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    stranger.execute(PROVIDER.replace(":n", "'stranger'"))
    ours = asyncio.create_task(run(db, PROVIDER, n="ours"))
    done, _ = await asyncio.wait((ours,), timeout=0.1)
    assert not done
    stranger.execute("COMMIT")
    stranger.close()
    await ours
    assert await revision(db) == 2
    await db.close()


async def test_a_database_that_is_away_is_an_error_of_ours(
    postgres: Postgres, postgres_url: str
) -> None:
    db = Database(postgres_url)
    assert await revision(db) == 0
    postgres.stop()
    try:
        for _ in range(3):
            with pytest.raises(DatabaseError) as caught:
                await revision(db)
            assert caught.value.retry_after is not None
        with pytest.raises(DatabaseError):
            await run(db, PROVIDER, n="p")
    finally:
        postgres.start()
    assert await revision(db) == 0
    await db.close()


async def test_a_connection_cut_in_a_transaction_is_an_error_of_ours(
    postgres: Postgres, postgres_url: str
) -> None:
    db = Database(postgres_url)
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{postgres_url.rpartition('/')[2]}'"
    )

    async def write() -> None:
        async with db.write() as session:
            await session.execute(text(PROVIDER), {"n": "p"})
            await asyncio.to_thread(postgres.sql, cut)
            await session.execute(text("SELECT 1"))

    with pytest.raises(DatabaseError):
        await write()
    assert await revision(db) == 0
    await db.close()


async def test_of_two_who_wait_for_each_other_one_is_told_to_try_again(postgres_url: str) -> None:
    db = Database(postgres_url)
    for name in ("p", "q"):
        await run(db, PROVIDER, n=name)
    both = asyncio.Barrier(2)

    async def write(first: str, second: str) -> None:
        async with db.write() as session:
            lock = text("SELECT id FROM providers WHERE name = :n FOR UPDATE")
            await session.execute(lock, {"n": first})
            await both.wait()
            await session.execute(lock, {"n": second})
            await session.execute(text("UPDATE providers SET country = 'RU'"))

    before = await revision(db)
    ends = await asyncio.gather(write("p", "q"), write("q", "p"), return_exceptions=True)
    (lost,) = [end for end in ends if end is not None]
    assert isinstance(lost, Conflict)
    assert (lost.status, lost.code, lost.retry_after) == (409, "conflict", 1.0)
    assert "again" in (lost.hint or "")
    assert "FOR UPDATE" not in lost.message
    assert await revision(db) == before + 1, "the other one got through"
    await db.close()


async def test_a_state_that_others_changed_meanwhile_is_a_conflict(postgres_url: str) -> None:
    db = Database(postgres_url)
    await run(db, PROVIDER, n="p")

    async def write() -> None:
        async with db.write() as session:
            await session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            await session.execute(text("SELECT * FROM providers"))
            await run(db, "UPDATE providers SET country = 'RU'")
            await session.execute(text("UPDATE providers SET country = 'KZ'"))

    with pytest.raises(Conflict):
        await write()
    await db.close()


async def test_a_wrong_database_name_is_an_error_of_ours(postgres: Postgres) -> None:
    db = Database(postgres.url("nowhere"))
    with pytest.raises(DatabaseError, match="nowhere"):
        await revision(db)
    await db.close()


async def test_a_cancelled_writer_leaves_nothing(db: Database) -> None:
    started = asyncio.Event()

    async def write() -> None:
        async with db.write() as session:
            await session.execute(text(PROVIDER), {"n": "half"})
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await revision(db) == 0
    await run(db, PROVIDER, n="whole")
    assert await revision(db) == 1


def test_the_tables_load_without_alembic() -> None:
    code = (
        "import sys, xrouter.control.server, xrouter.control.publish.build, xrouter.control.drain,"
        " xrouter.control.db.schema; print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
