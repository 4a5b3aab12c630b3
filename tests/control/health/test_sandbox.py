"""Every provider that there is, against its simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from tests.control.conftest import Api
from tests.control.health.parts import Clock, Watch

from xrouter.app import registration
from xrouter.control.catalog.adapters import supported
from xrouter.control.db.engine import Database
from xrouter.control.health.events import Events
from xrouter.control.health.prober import ProberOptions
from xrouter.control.server import Services
from xrouter.providers import factory
from xrouter.sandbox.application import Sandbox
from xrouter.sandbox.server import running
from xrouter.stores.vault import Vault
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

TOKENS = ProberOptions(token_every_s=300.0, patience_s=30.0, spread=0.0)


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """What is tested here has to do with the providers."""
    return sqlite_url


@pytest.fixture
def services(db: Database, vault: Vault, wire_client: Client, tokens: TokenBook) -> Services:
    return Services(db, vault, supported(), wire_client, tokens)


@pytest.fixture
async def sandbox() -> AsyncIterator[str]:
    async with running() as url:
        yield url


@pytest.fixture
async def http(sandbox: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sandbox) as session:
        yield session


@pytest.fixture
async def providers(api: Api, sandbox: str) -> dict[str, Any]:
    """All that the sandbox simulates, with their models."""
    given = registration.configured(Sandbox().environment(sandbox))
    known = factory.providers()
    for name, fields in given.items():
        kind = known[name]
        body = registration._endpoint(fields, kind.adapter_class, kind.default_base_url)
        await api.ask("POST", "/providers", json={"name": name} | body, status=201)
        await api.ask("POST", "/models/sync", json={"provider": name, "live": True})
    return dict(given)


@pytest.fixture
def watch(
    db: Database,
    vault: Vault,
    clock: Clock,
    events: Events,
    wire_client: Client,
    tokens: TokenBook,
) -> Watch:
    return Watch(db, vault, supported(), wire_client, tokens, events, TOKENS, clock)


async def test_all_answer_both_questions(
    watch: Watch, health: Api, providers: dict[str, Any], http: aiohttp.ClientSession
) -> None:
    await watch.turns(1)
    checks = await watch.checks()
    assert {(row.kind, row.error_code) for row in checks} == {("list", None), ("token", None)}
    assert len(checks) == 2 * len(providers) >= 14
    assert all((row.model is not None) == (row.kind == "token") for row in checks)
    listed = (await health.ask("GET", "/health"))["data"]
    assert {each["provider"]: each["state"] for each in listed} == dict.fromkeys(
        providers, "healthy"
    )
    await watch.turns(1)
    assert len(await watch.checks()) == 3 * len(providers)
    async with http.get("/_sandbox/bill") as reply:
        assert (await reply.json())["charges"]


@pytest.mark.parametrize(
    "fault,cause",
    [
        ({"kind": "server_error", "status": 500}, "upstream_error"),
        ({"kind": "refuse"}, "upstream_unreachable"),
        ({"kind": "html_error"}, "upstream_error"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["kind"],
)
async def test_failures_of_all_of_them(
    watch: Watch,
    providers: dict[str, Any],
    http: aiohttp.ClientSession,
    fault: dict[str, Any],
    cause: str,
) -> None:
    await watch.turns(1)
    async with http.post("/_sandbox/faults", json=fault | {"times": None}) as reply:
        assert reply.status == 201
    await watch.turns(3)
    found = {row.provider: (row.state, row.cause) for row in await watch.incidents()}
    assert found == dict.fromkeys(providers, ("down", cause))
    async with http.delete("/_sandbox/faults"):
        pass
    await watch.turns(2)
    assert set((await watch.states()).values()) == {"healthy"}


@pytest.mark.usefixtures("providers")
async def test_one_that_is_busy_is_there(watch: Watch, http: aiohttp.ClientSession) -> None:
    async with http.post("/_sandbox/faults", json={"kind": "rate_limited", "times": None}):
        pass
    await watch.turns(4)
    assert await watch.states() == {}


@pytest.mark.usefixtures("providers")
async def test_one_that_lists_but_does_not_answer(
    watch: Watch, http: aiohttp.ClientSession
) -> None:
    """Its list is fine all the time; after a first failure it is asked for a token more often."""
    fault = {"kind": "server_error", "provider": "openai", "match": {"path": "chat/completions"}}
    async with http.post("/_sandbox/faults", json=fault | {"times": None}):
        pass
    await watch.turns(3)
    (incident,) = await watch.incidents()
    assert (incident.provider, incident.cause) == ("openai", "upstream_error")
    async with http.delete("/_sandbox/faults"):
        pass
    await watch.turns(2)
    assert list((await watch.states()).values()) == ["healthy"]


@pytest.mark.usefixtures("providers")
async def test_one_that_hangs(watch: Watch, http: aiohttp.ClientSession) -> None:
    watch.prober._checker._timeout_s = 0.05
    fault = {"kind": "hang_before_headers", "provider": "openai", "times": None}
    async with http.post("/_sandbox/faults", json=fault):
        pass
    await watch.turns(1)
    hung = [row for row in await watch.checks() if row.error_code == "upstream_timeout"]
    assert {row.kind for row in hung} == {"list", "token"}
