"""From one database into another: everything, or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Date,
    LargeBinary,
    String,
    Table,
    insert,
    text,
)

from xrouter.control.db.engine import Database
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.metadata import metadata
from xrouter.control.db.move import Figures, Moved, figures, move, prepare
from xrouter.control.db.tables.base import UtcDateTime

AT = datetime(2026, 3, 29, 1, 59, 59, 123456, tzinfo=UTC)
DOCUMENTS: list[Any] = [
    {"b": [1, 2.5, 1.0, 1e-07, 10**17, -3e20], "a": {"ключ": 'з\u0301 🙂 \\ " \n'}},
    [],
    {"deep": [None, True, {"x": []}]},
]


def row(table: Table, number: int) -> dict[str, Any]:
    """A row that has something odd in every column that takes it."""
    values: dict[str, Any] = {}
    for column in table.columns:
        if column.foreign_keys:
            key = next(iter(column.foreign_keys)).column
            values[column.name] = f"name-{number}" if isinstance(key.type, String) else number
        elif column.nullable and number == 2:
            values[column.name] = None
        else:
            values[column.name] = value(column, number)
    return values


def value(column: Any, number: int) -> Any:
    kind = column.type
    if isinstance(kind, JSON):
        return DOCUMENTS[number % len(DOCUMENTS)]
    if isinstance(kind, Boolean):
        return number % 2 == 0
    if isinstance(kind, Date):
        return date(2026, 2, number)
    if isinstance(kind, LargeBinary):
        return bytes((0, 255, number))
    if isinstance(kind, UtcDateTime):
        return AT.replace(day=number)
    if isinstance(kind, String):
        return f"name-{number}"
    if kind.python_type is float:
        return number + 0.1 + 1e-9
    if column.name == "id":
        return number
    return 2**53 + number if "BIGINT" in str(kind) else number


async def fill(db: Database) -> None:
    """Three rows in every table but that of the catalog's state."""
    async with db.write() as session:
        for name in ("projects", "organizations"):
            await session.execute(text(f"DELETE FROM {name}"))
        for table in metadata().sorted_tables:
            if table.name != "catalog_state":
                rows = [row(table, number) for number in (1, 2, 3)]
                await session.execute(insert(table), rows)


async def all_figures(db: Database) -> list[Figures]:
    async with db.read() as session:
        return [
            await figures(session, table)
            for table in metadata().sorted_tables
            if table.name != "instances"
        ]


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite"])
async def pair(
    request: pytest.FixtureRequest, sqlite_url: str, postgres_url: str
) -> AsyncIterator[tuple[Database, Database]]:
    """A full database and an empty one."""
    urls = [sqlite_url, postgres_url]
    source, target = map(Database, urls if request.param.startswith("sqlite") else urls[::-1])
    await fill(source)
    async with source.write() as session:
        await session.execute(text("UPDATE instances SET seen_at = 1"))
        await session.execute(text("UPDATE catalog_state SET revision = 4711"))
    yield source, target
    await source.close()
    await target.close()


def nothing(_: str) -> None:
    return None


async def test_every_row_of_every_table(pair: tuple[Database, Database]) -> None:
    source, target = pair
    before = await all_figures(source)
    told: list[str] = []
    moved = await move(source, target, told.append)
    assert moved == before
    assert await all_figures(target) == before
    assert await all_figures(source) == before
    assert {each.rows for each in moved} == {1, 3}
    by_table = {each.table: each for each in moved}
    assert by_table["charges"].sums == {"total": 3 * 2**53 + 6, "cost": 3 * 2**53 + 6}
    assert by_table["ledger_lines"].sums == {"amount": 3 * 2**53 + 6}
    assert "Copying usage_events" in told


async def test_null_of_json_and_no_value_stay_two_things(
    sqlite_url: str, postgres_url: str
) -> None:
    source, target = Database(sqlite_url), Database(postgres_url)
    change = (
        "INSERT INTO catalog_changes (revision, at, author, action, kind, object, before, after)"
        " VALUES (1, '2026-01-01 00:00:00', 'a', 'b', 'c', 'd', NULL, 'null')"
    )
    async with source.write() as session:
        await session.execute(text(change))
    await move(source, target, nothing)
    async with target.read() as session:
        kept = "SELECT before IS NULL, after::text FROM catalog_changes"
        assert (await session.execute(text(kept))).one() == (True, "null")
    await source.close()
    await target.close()


async def test_what_comes_after_it(pair: tuple[Database, Database]) -> None:
    """New rows have new numbers, each changed key a new revision; the ledger takes no change."""
    source, target = pair
    revisions = text("SELECT revision FROM api_keys ORDER BY id")
    async with source.read() as session:
        before = (await session.scalars(revisions)).all()
    await move(source, target, nothing)
    provider = (
        "INSERT INTO providers (name, display_name, adapter_class) VALUES ('new', 'N', 'a.B')"
    )
    async with target.write() as session:
        await session.execute(text(provider))
        newest = await session.scalar(text("SELECT max(id) FROM providers"))
        assert newest == 4
        await session.execute(text("UPDATE api_keys SET name = 'changed' WHERE id = 1"))
        changed, *others = await session.scalars(revisions)
        assert changed > 4711
        assert others == before[1:]
    for table in ("ledger_lines", "audit_log"):
        with pytest.raises(Exception, match="append-only"):
            async with target.write() as session:
                await session.execute(text(f"DELETE FROM {table}"))


TAMPERS = {
    "an amount": "NEW.total := NEW.total + 1; RETURN NEW;",
    "a text": "NEW.project := 'another'; RETURN NEW;",
    "a row": "IF NEW.event_id = 'name-2' THEN RETURN NULL; END IF; RETURN NEW;",
}


@pytest.mark.parametrize("tamper", list(TAMPERS))
async def test_a_copy_that_differs_is_noticed_and_not_kept(
    tamper: str, sqlite_url: str, postgres_url: str
) -> None:

    source, target = Database(sqlite_url), Database(postgres_url)
    await fill(source)
    async with source.write() as session:
        await session.execute(text("UPDATE instances SET seen_at = 1"))
    async with target.write() as session:
        body = f"$$ BEGIN {TAMPERS[tamper]} END $$"
        await session.execute(
            text(f"CREATE FUNCTION tamper() RETURNS trigger LANGUAGE plpgsql AS {body}")
        )
        when = "BEFORE INSERT ON charges FOR EACH ROW EXECUTE FUNCTION tamper()"
        await session.execute(text(f"CREATE TRIGGER tamper {when}"))
    with pytest.raises(Moved, match="The copy of charges is not what it was made from"):
        await move(source, target, nothing)
    assert {each.rows for each in await all_figures(target)} <= {0, 1}
    await source.close()
    await target.close()


async def test_what_the_target_cannot_hold_is_said(sqlite_url: str, postgres_url: str) -> None:
    source, target = Database(sqlite_url), Database(postgres_url)
    async with source.write() as session:
        await session.execute(text("INSERT INTO key_uses VALUES ('k' || char(0), 1)"))
    with pytest.raises(DatabaseError, match="The target refuses rows of key_uses"):
        await move(source, target, nothing)
    await source.close()
    await target.close()


async def test_only_into_an_empty_database(pair: tuple[Database, Database]) -> None:
    source, target = pair
    await move(source, target, nothing)
    with pytest.raises(DatabaseError, match="The target is not empty"):
        await move(source, target, nothing)


async def test_not_while_servers_use_it(pair: tuple[Database, Database]) -> None:
    source, target = pair
    soon = "strftime('%s', 'now')" if source.dialect == "sqlite" else "extract(epoch FROM now())"
    async with source.write() as session:
        await session.execute(
            text(f"UPDATE instances SET seen_at = {soon} WHERE instance_id = 'name-1'")
        )
    with pytest.raises(DatabaseError, match="1 were heard of"):
        await move(source, target, nothing)


async def test_the_tables_are_made_where_there_are_none(
    tmp_path: Path, empty_postgres_url: str
) -> None:
    for url in (f"sqlite:///{tmp_path / 'new.db'}", empty_postgres_url):
        await prepare(url)
        await prepare(url)
        db = Database(url)
        assert {each.rows for each in await all_figures(db)} == {0, 1}
        async with db.write() as session:
            await session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        await db.close()
        with pytest.raises(DatabaseError, match="at 0001"):
            await prepare(url)
