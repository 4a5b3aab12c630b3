from __future__ import annotations

import asyncpg
from tests.services.postgres import Postgres
from tests.services.redis import Redis


async def test_postgres_answers_and_each_test_has_its_database(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SELECT revision FROM catalog_state") == 0
    finally:
        await connection.close()


async def test_an_empty_database_has_no_tables(postgres: Postgres, empty_postgres_url: str) -> None:
    name = empty_postgres_url.rpartition("/")[2]
    assert postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == "0"


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
