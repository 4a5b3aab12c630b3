"""Routes, prices and rates through the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace
from tests.control.conftest import ADMIN, Api

from xrouter.control.server import Services, create_app
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.secret import Secret

PRICE: dict[str, Any] = {
    "model": "acme/one", "effective_from": "2026-01-01T00:00:00Z", "input": "1.50",
    "output": "3", "source": "list of 2026-01-01",
}  # fmt: skip
BOT: dict[str, Any] = {
    "name": "bot", "aliases": ["auto"], "policy": {"strategy": "weighted"},
    "targets": [{"model": "acme/one", "weight": 3}, {"model": "acme/two", "priority": 1}],
}  # fmt: skip


def _only_even(options: Any) -> None:
    if options:
        raise InvalidRequest("no options", param="policy.options.x")


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Api]:
    known = {"priority": _only_even, "weighted": _only_even}
    app = create_app(replace(services, strategies=known), admin_token=Secret(ADMIN))
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://control.test", headers=headers
    ) as client:
        made = Api(client)
        provider = {"name": "acme", "base_url": "https://acme.test", "credential": {"api_key": "k"}}
        await made.ask("POST", "/providers", json=provider, status=201)
        for name in ("one", "two"):
            model = {"model_id": f"acme/{name}", "provider": "acme"}
            await made.ask("POST", "/models", json=model, status=201)
        yield made


async def test_a_route_lives_and_dies(api: Api) -> None:
    made = await api.ask("POST", "/routes", json=BOT, status=201)
    assert (made["model"], made["aliases"]) == ("route/bot", ["auto"])
    assert [t["priority"] for t in made["targets"]] == [0, 1]
    again = await api.ask("POST", "/routes", json=BOT, status=409)
    assert again["error"]["code"] == "already_exists"
    policy = {"strategy": "priority", "max_attempts": 2}
    changed = await api.ask("PATCH", "/routes/route/bot", json={"policy": policy})
    assert changed["policy"] == policy
    assert changed["targets"] == made["targets"]
    assert [r["name"] for r in (await api.ask("GET", "/routes"))["data"]] == ["bot"]
    in_use = await api.ask("DELETE", "/models/acme/two", status=409)
    assert (in_use["error"]["code"], "bot" in in_use["error"]["message"]) == ("in_use", True)
    assert await api.ask("DELETE", "/routes/bot") == {"id": "bot", "deleted": True}
    gone = await api.ask("GET", "/routes/bot", status=404)
    assert gone["error"]["code"] == "route_not_found"
    changes = (await api.ask("GET", "/changes?kind=route"))["data"]
    assert [(c["action"], c["author"]) for c in changes] == [
        ("delete", "admin"),
        ("update", "admin"),
        ("create", "admin"),
    ]


@pytest.mark.parametrize(
    "change,place",
    [
        ({"targets": [{"model": "acme/none"}]}, "routes[bot].targets[0].model"),
        ({"targets": [{"model": "acme/one:7"}]}, "routes[bot].targets[0].model"),
        ({"targets": [{"model": "acme/one", "endpoint": "x"}]}, "routes[bot].targets[0].endpoint"),
        ({"targets": [{"model": "route/bot"}]}, "routes[bot].targets"),
        ({"aliases": ["acme/one"]}, "routes[bot].aliases"),
        ({"policy": {"strategy": "luck"}}, "routes[bot].policy.strategy"),
        ({"policy": {"strategy": "weighted", "options": {"x": 1}}}, "routes[bot].policy.options.x"),
        ({"policy": {"fallbacks": ["no/such"]}}, "routes[bot].policy.fallbacks[0]"),
        ({"policy": {"luck": 1}}, "policy"),
        ({"targets": []}, "targets"),
    ],
)
async def test_a_route_of_no_sense_is_refused_before_it_is_written(
    api: Api, change: dict[str, Any], place: str
) -> None:
    refused = await api.ask("POST", "/routes", json=BOT | change, status=400)
    assert refused["error"]["param"] == place
    assert (await api.ask("GET", "/routes"))["data"] == []


async def test_prices_hold_from_their_moment_on(api: Api) -> None:
    made = await api.ask("POST", "/prices", json=PRICE, status=201)
    assert (made["input"], made["output"], made["in_force"]) == ("1.5", "3", True)
    later = PRICE | {"effective_from": "2036-01-01T00:00:00Z", "input": "0.000000001"}
    assert not (await api.ask("POST", "/prices", json=later, status=201))["in_force"]
    found = (await api.ask("GET", "/prices?model=acme/one"))["data"]
    assert [price["input"] for price in found] == ["1.5", "0.000000001"]
    assert (await api.ask("GET", "/prices?model=acme/two"))["data"] == []
    await api.ask("GET", "/prices?model=no/such", status=404)


@pytest.mark.parametrize("amount", [1.5, "1,5", "-1", "1e3", "0.0000000001", "", None])
async def test_money_is_decimal_text(api: Api, amount: Any) -> None:
    refused = await api.ask("POST", "/prices", json=PRICE | {"input": amount}, status=400)
    assert refused["error"]["param"] == "input"


async def test_rates_are_replaced_day_by_day(api: Api) -> None:
    rate = {"currency": "USD", "day": "2026-01-01", "rubles": "80.1234"}
    await api.ask("PUT", "/rates", json={"rates": [rate]})
    found = await api.ask("PUT", "/rates", json={"rates": [rate | {"rubles": "81"}]})
    assert found["data"] == [rate | {"rubles": "81"}]
