from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from xrouter.control.db import schema
from xrouter.control.db.engine import Database
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.lock import WriterLock
from xrouter.control.db.metadata import WATCHED, metadata
from xrouter.control.db.migrate import downgrade, head, upgrade

DATA = (
    "INSERT INTO providers (name, display_name, adapter_class) VALUES ('p', 'P', 'a.B')",
    "INSERT INTO provider_endpoints (provider, name, base_url) VALUES ('p', 'e', 'http://x')",
    (
        "INSERT INTO llm_models (model_id, provider, adapter_class, display_name)"
        " VALUES ('p/m', 'p', 'a.B', 'M')"
    ),
    (
        "INSERT INTO llm_model_versions (llm_model_id, label, upstream)"
        " SELECT id, 'v', 'm' FROM llm_models"
    ),
)


async def run(url: str, *statements: str) -> None:
    db = Database(url)
    async with db.write() as session:
        for statement in statements:
            await session.execute(text(statement))
    await db.close()


async def tables(url: str) -> set[str]:
    db = Database(url)
    async with db.read() as session:
        connection = await session.connection()
        found = await connection.run_sync(lambda c: set(inspect(c).get_table_names()))
    await db.close()
    return found


async def test_up_down_and_up_again_with_data(empty_url: str) -> None:
    await upgrade(empty_url)
    assert await schema.current(empty_url) == head()
    await run(empty_url, *DATA)
    assert set(WATCHED) <= await tables(empty_url)

    await downgrade(empty_url, "base")
    assert await schema.current(empty_url) is None
    assert await tables(empty_url) == {"alembic_version"}

    await upgrade(empty_url)
    await run(empty_url, *DATA)


async def test_builds_that_were_told_of_are_not_told_of_again(empty_url: str) -> None:
    build = (
        "INSERT INTO builds "
        "(model_id, version, provider, endpoint, build, first_seen, last_seen, answers) "
        "VALUES ('m', 'v', 'p', 'e', '{}', 1, 1, 1)"
    )
    await upgrade(empty_url)
    await run(empty_url, build.format("young"))
    await downgrade(empty_url, "0004")
    assert "attempt_counts" not in await tables(empty_url)
    await upgrade(empty_url)
    await run(empty_url, build.format("new"))
    db = Database(empty_url)
    async with db.read() as session:
        found = await session.execute(text("SELECT build, noted FROM builds ORDER BY id"))
        assert [(name, bool(noted)) for name, noted in found] == [("young", True), ("new", False)]
    await db.close()


async def test_the_code_knows_the_tables_that_migrations_make(empty_url: str) -> None:
    await upgrade(empty_url)

    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata()))

    db = Database(empty_url)
    async with db.read() as session:
        assert await (await session.connection()).run_sync(differences) == []
    await db.close()


async def test_processes_that_start_together_take_turns(empty_url: str) -> None:
    await asyncio.gather(*(upgrade(empty_url) for _ in range(4)))
    assert await schema.current(empty_url) == head()


async def test_ensure_migrates_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    assert await schema.current(url) is None
    assert await schema.ensure(url)
    assert not await schema.ensure(url)


def test_the_head_the_code_needs_is_the_newest_migration() -> None:
    assert head() == schema.HEAD


async def test_a_failed_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "taken.db"
    with sqlite3.connect(file) as raw:
        raw.execute("CREATE TABLE usage_events (mine TEXT)")
    with pytest.raises(DatabaseError, match="usage_events"):
        await upgrade(f"sqlite:///{file}")
    assert await tables(f"sqlite:///{file}") == {"usage_events"}


async def test_a_database_of_a_newer_version_is_refused(sqlite_url: str) -> None:
    await run(sqlite_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match="9999") as caught:
        await upgrade(sqlite_url)
    assert "newer" in (caught.value.hint or "")


async def test_a_server_that_writes_is_not_migrated_under(
    sqlite_url: str, sqlite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xrouter.control.db.migrate.WAIT_S", 0.05)
    lock = WriterLock(sqlite_file)
    await lock.acquire()
    with pytest.raises(DatabaseError, match="Another process"):
        await upgrade(sqlite_url)
    lock.release()
    await upgrade(sqlite_url)


async def test_the_database_file_is_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "new.db"
    await upgrade(f"sqlite:///{file}")
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite://", "sqlite:///:memory:"])
async def test_urls_that_mean_no_database_are_refused(url: str) -> None:
    with pytest.raises(DatabaseError):
        Database(url)
    with pytest.raises(DatabaseError):
        await upgrade(url)


async def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot be made"):
        await upgrade(f"sqlite:///{tmp_path / 'no' / 'x.db'}")
