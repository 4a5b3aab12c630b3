from __future__ import annotations

import asyncpg
import pytest
from tests.services.databases import Databases
from tests.services.postgres import Postgres
from tests.services.redis import Redis

EVERYTHING = "SELECT schema_to_xml('public', true, false, '')"


async def test_postgres_answers_and_each_test_has_its_database(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SELECT revision FROM catalog_state") == 0
    finally:
        await connection.close()


async def test_an_empty_database_has_no_tables(postgres: Postgres, empty_postgres_url: str) -> None:
    name = empty_postgres_url.rpartition("/")[2]
    assert postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == "0"


CHANGES = (
    "INSERT INTO providers (name, display_name, adapter_class) VALUES ('p', 'P', 'a.B')",
    "DELETE FROM catalog_state",
    "UPDATE alembic_version SET version_num = 'mine'",
    "DROP TABLE alembic_version CASCADE",
    "CREATE TABLE mine (n int)",
    "ALTER TABLE usage_events ADD COLUMN mine int",
    "DROP INDEX ix_incidents_provider_started_at",
    "ALTER TABLE providers DISABLE TRIGGER USER",
    "ALTER DATABASE {name} SET default_transaction_read_only = on",
)


@pytest.mark.parametrize("change", CHANGES)
def test_a_database_that_was_used_is_as_new(
    postgres: Postgres, databases: Databases, change: str
) -> None:
    first = databases.take()
    ids = "SELECT last_value FROM providers_id_seq"
    before = [postgres.sql(sql, first).replace(first, "") for sql in (EVERYTHING, ids)]
    postgres.sql(change.format(name=first), first)
    databases.give_back(first)
    second = databases.take()
    after = [postgres.sql(sql, second).replace(second, "") for sql in (EVERYTHING, ids)]
    assert after == before
    postgres.sql(CHANGES[0], second)
    assert postgres.sql("SELECT id FROM providers", second) == "1"
    assert postgres.sql("SELECT revision FROM catalog_state", second) == "1"
    databases.give_back(second)
    assert second == first or "providers (" not in change


def test_postgres_can_be_stopped_and_started(postgres: Postgres) -> None:
    port = postgres.service.port
    postgres.stop()
    postgres.start()
    assert postgres.service.port == port
    assert postgres.sql("SELECT 2 + 2") == "4"


def test_redis_answers(redis: Redis, redis_url: str) -> None:
    assert redis_url.endswith(f":{redis.service.port}/0")
    assert redis.ask("SET a 1") == "+OK"
    assert redis.ask("DBSIZE") == ":1"


def test_redis_is_empty_for_each_test(redis: Redis, redis_url: str) -> None:
    assert redis_url
    assert redis.ask("DBSIZE") == ":0"
