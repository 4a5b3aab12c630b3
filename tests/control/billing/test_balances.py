from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest
from tests.control.conftest import ADMIN, Api

from xrouter.control.catalog.adapters import supported
from xrouter.control.server import Services, create_app
from xrouter.domain.secret import Secret
from xrouter.sandbox.server import running

PATH = "/billing/reconciliations/balance"


async def package(api: Api, left: int, *models: str, **more: Any) -> int:
    given = {"provider": "acme", "models": list(models), "bought": left, "paid": "10"}
    given |= {"expires_at": "2127-01-01T00:00:00Z", **more}
    made: int = (await api.ask("POST", "/billing/packages", json=given, status=201))["id"]
    return made


async def rows(api: Api, balance: dict[str, int], **more: Any) -> list[tuple[Any, ...]]:
    said = [{"usage": usage, "value": value} for usage, value in balance.items()]
    found = await api.ask("POST", PATH, json={"provider": "acme", "balance": said, **more})
    return [(r["usage"], r["packages"], r["ours"], r["theirs"], r["tokens"]) for r in found["data"]]


async def test_what_is_left_is_compared_by_the_providers_names(api: Api) -> None:
    await api.acme()
    for name in ("One-2-Max", "x", "Lite-2", "Lite", "gone"):
        await api.acme_model(name)
    one = await package(api, 100, "acme/One-2-Max")
    two = await package(api, 50, "acme/One-2-Max", "acme/x")
    lite = await package(api, 7, "acme/Lite-2", "acme/Lite")
    gone = await package(api, 5, "acme/gone")
    await package(api, 9, "acme/Lite", expires_at="2026-01-02T00:00:00Z", starts_at=0)
    await package(api, 9, "acme/Lite", starts_at="2126-01-01T00:00:00Z")
    assert await rows(api, {"One-Max": 150, "lite": 8, "other": 3}) == [
        ("One-Max", [one, two], 150, 150, 0),
        ("acme/gone", [gone], 5, 0, 5),
        ("lite", [lite], 7, 8, -1),
        ("other", [], 0, 3, -3),
    ]
    every = await package(api, 20)
    assert ("*", [every], 20, 11, 9) in await rows(api, {"One-Max": 150, "a": 8, "b": 3})


async def test_packages_are_those_of_the_endpoint(api: Api) -> None:
    await api.acme()
    standby = {"name": "standby", "base_url": "https://b.test", "credential": {"api_key": "b"}}
    await api.ask("POST", "/providers/acme/endpoints", json=standby, status=201)
    await api.acme_model("one")
    mine = await package(api, 4, "acme/one", endpoint="standby")
    assert await rows(api, {"one": 4}) == [("one", [], 0, 4, -4)]
    assert await rows(api, {"one": 4}, endpoint="standby") == [("one", [mine], 4, 4, 0)]
    error = await api.error("POST", PATH, json={"provider": "acme", "endpoint": "no"}, status=400)
    assert error["param"] == "endpoint"


async def test_who_cannot_be_asked(api: Api) -> None:
    await api.error("POST", PATH, json={"provider": "acme"}, status=404)
    await api.acme()
    error = await api.error("POST", PATH, json={"provider": "acme"}, status=409)
    assert error["code"] == "balance_not_told"


@pytest.fixture
async def real(services: Services) -> AsyncIterator[Api]:
    """With the adapters of the product."""
    app = create_app(
        msgspec.structs.replace(services, adapters=supported()), admin_token=Secret(ADMIN)
    )
    transport = httpx2.ASGITransport(app=app)
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://control.test", headers=headers
    ) as client:
        yield Api(client)


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_the_provider_itself_is_asked(real: Api) -> None:
    async with running() as url:
        given = {
            "name": "gigachat",
            "base_url": f"{url}/gigachat/api/v1",
            "credential": {"credentials": "YjJiLWRlbW86c2FuZGJveA=="},
            "options": {"scope": "GIGACHAT_API_B2B", "auth_url": f"{url}/gigachat/api/v2/oauth"},
        }
        await real.ask("POST", "/providers", json=given, status=201)
        await real.ask("POST", "/models/sync")
        mine = {"provider": "gigachat", "models": ["gigachat/GigaChat-2"], "bought": 5, "paid": "1"}
        mine |= {"expires_at": "2127-01-01T00:00:00Z"}
        await real.ask("POST", "/billing/packages", json=mine, status=201)
        found = await real.ask("POST", PATH, json={"provider": "gigachat"})
    told = {row["usage"]: row for row in found["data"]}
    assert told["GigaChat-2"]["ours"] == 5
    assert told["GigaChat-2"]["theirs"] > 5
    assert told["GigaChat-2"]["tokens"] == 5 - told["GigaChat-2"]["theirs"]
    assert told["GigaChat-2-Max"]["packages"] == []
