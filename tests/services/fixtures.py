"""Fixtures: a real PostgreSQL and a real Redis, one of each for each test process.

    postgres           the server: `stop` and `start` it, ask it with `sql`
    postgres_url       a database of this test alone, with the tables of the newest migration
    empty_postgres_url the same without tables
    databases          where those with tables come from
    redis              the server
    redis_url          its URL; empty at the start of each test

Where the server is not installed the tests are skipped, or fail where CI is set.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from itertools import count

import pytest
from tests.services.databases import Databases
from tests.services.postgres import Postgres
from tests.services.postgres import tools as postgres_tools
from tests.services.redis import Redis
from tests.services.redis import tool as redis_tool

from xrouter.control.db.migrate import upgrade

TEMPLATE = "xrouter_template"
_numbers = count(1)


def _absent(what: str) -> None:
    message = f"{what} is not installed: run tests/services/install.sh"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    tools = postgres_tools()
    if tools is None:
        _absent("PostgreSQL")
        return
    server = Postgres(tools)
    try:
        yield server
    finally:
        server.service.remove()


@pytest.fixture(scope="session")
def databases(postgres: Postgres) -> Databases:
    postgres.sql(f"CREATE DATABASE {TEMPLATE}")
    asyncio.run(upgrade(postgres.url(TEMPLATE)))
    return Databases(postgres, TEMPLATE)


@pytest.fixture
def postgres_url(postgres: Postgres, databases: Databases) -> Iterator[str]:
    name = databases.take()
    try:
        yield postgres.url(name)
    finally:
        databases.give_back(name)


@pytest.fixture
def empty_postgres_url(postgres: Postgres) -> Iterator[str]:
    name = f"xrouter_test_{next(_numbers)}"
    postgres.sql(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield postgres.url(name)
    finally:
        postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    tool = redis_tool()
    if tool is None:
        _absent("Redis")
        return
    server = Redis(tool)
    try:
        yield server
    finally:
        server.service.remove()


@pytest.fixture
def redis_url(redis: Redis) -> str:
    assert redis.ask("FLUSHALL") == "+OK"
    return redis.url
