"""Routes, prices and rates through the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace
from sqlalchemy import text
from tests.control.conftest import ADMIN, Api

from xrouter.control.db.engine import Database
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
        ({"targets": [{"model": "acme/none"}]}, "targets[0].model"),
        ({"targets": [{"model": "acme/one"}, {"model": "acme/one:7"}]}, "targets[1].model"),
        ({"targets": [{"model": "acme/one", "endpoint": "x"}]}, "targets[0].endpoint"),
        ({"targets": [{"model": "route/bot"}]}, "targets[0].model"),
        ({"targets": [{"model": "auto"}]}, "targets[0].model"),
        ({"targets": [{"model": "acme/one", "weight": -1}]}, "targets[0].weight"),
        ({"targets": [{"model": "acme/one", "weight": 1001}]}, "targets[0].weight"),
        ({"targets": [{"model": "acme/one", "share": 1}]}, "targets[0].share"),
        ({"targets": []}, "targets"),
        ({"aliases": ["acme/one"]}, "aliases[0]"),
        ({"aliases": ["a", "a"]}, "aliases[1]"),
        ({"aliases": ["route/other"]}, "aliases[0]"),
        ({"name": "Bot"}, "name"),
        ({"policy": {"strategy": "luck"}}, "policy.strategy"),
        ({"policy": {"strategy": "weighted", "options": {"x": 1}}}, "policy.options.x"),
        ({"policy": {"fallbacks": ["no/such"]}}, "policy.fallbacks[0]"),
        ({"policy": {"on_overflow": ["acme/one", "acme/x"]}}, "policy.on_overflow[1]"),
        ({"policy": {"on_refusal": ["route/no"]}}, "policy.on_refusal[0]"),
        ({"policy": {"countries": ["RU", "ru"]}}, "policy.countries[1]"),
        ({"policy": {"luck": 1}}, "policy.luck"),
        ({"policy": {"max_attempts": 0}}, "policy.max_attempts"),
        ({"policy": {"cache": {"ttl": 5, "scop": "key"}}}, "policy.cache.scop"),
        ({"policy": {"patience": {"idle": -1}}}, "policy.patience.idle"),
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


async def test_rates_of_no_sense_are_refused(api: Api) -> None:
    rate = {"currency": "USD", "day": "2026-01-01", "rubles": "80"}
    for given, place in (
        ([rate | {"currency": "RUB"}], "rates[0].currency"),
        ([rate, rate | {"rubles": "0"}], "rates[1].rubles"),
        ([rate | {"rubles": 80.5}], "rates[0].rubles"),
        ([rate, rate | {"rubles": "81"}], "rates"),
        ([], "rates"),
    ):
        refused = await api.error("PUT", "/rates", json={"rates": given}, status=400)
        assert refused["param"] == place
    assert (await api.ask("GET", "/rates"))["data"] == []


async def test_what_is_done_with_money_is_remembered(api: Api) -> None:
    rate = {"currency": "USD", "day": "2026-01-01", "rubles": "80"}
    for rubles in ("80", "81", "81"):
        await api.ask("PUT", "/rates", json={"rates": [rate | {"rubles": rubles}]})
    later = PRICE | {"effective_from": "2036-01-01T00:00:00Z"}
    made = await api.ask("POST", "/prices", json=later, status=201)
    await api.ask("POST", "/prices", json=later, status=201)
    await api.ask("DELETE", f"/prices/{made['id']}")
    changes = (await api.ask("GET", "/changes"))["data"][:4]
    assert [(c["kind"], c["object"], c["action"]) for c in changes] == [
        ("prices", "acme/one", "delete"),
        ("prices", "acme/one", "create"),
        ("rates", "2026-01-01", "update"),
        ("rates", "2026-01-01", "update"),
    ]
    assert {c["author"] for c in changes} == {"admin"}


async def test_a_price_that_holds_or_has_held_stays(api: Api) -> None:
    made = await api.ask("POST", "/prices", json=PRICE, status=201)
    refused = await api.error("DELETE", f"/prices/{made['id']}", status=409)
    assert refused["code"] == "price_has_begun"
    assert "POST" in refused["hint"]
    later = PRICE | {"effective_from": "2036-01-01T00:00:00Z"}
    planned = await api.ask("POST", "/prices", json=later, status=201)
    path = f"/prices/{planned['id']}"
    assert await api.ask("DELETE", path) == {"id": str(planned["id"]), "deleted": True}
    assert (await api.ask("GET", "/prices?model=acme/one"))["data"] == [made]
    assert (await api.error("DELETE", path, status=404))["code"] == "price_not_found"


async def test_a_price_is_of_a_version_that_there_is(api: Api) -> None:
    made = await api.ask("POST", "/prices", json=PRICE | {"version": "default"}, status=201)
    assert made["version"] == "default"
    await api.ask("POST", "/prices", json=PRICE, status=201)
    assert len((await api.ask("GET", "/prices"))["data"]) == 2
    again = await api.ask("POST", "/prices", json=PRICE | {"output": "4"}, status=201)
    assert (again["output"], again["version"]) == ("4", None)
    assert len((await api.ask("GET", "/prices"))["data"]) == 2
    refused = await api.error("POST", "/prices", json=PRICE | {"version": "9"}, status=400)
    assert (refused["param"], "default" in refused["hint"]) == ("version", True)


async def _route(api: Api, name: str, *targets: str, status: int = 201, **more: Any) -> Any:
    given = {"name": name, "targets": [{"model": target} for target in targets], **more}
    return await api.ask("POST", "/routes", json=given, status=status)


async def test_routes_do_not_lead_in_circles(api: Api) -> None:
    await _route(api, "a", "acme/one", aliases=["first"])
    await _route(api, "b", "acme/one", "first")
    await _route(api, "c", "route/b")
    targets = [{"model": "acme/one"}, {"model": "route/c"}]
    refused = await api.error("PATCH", "/routes/a", json={"targets": targets}, status=400)
    assert refused["param"] == "targets[1].model"
    assert "leads back to 'route/a'" in refused["message"]
    assert len((await api.ask("GET", "/routes/a"))["targets"]) == 1


async def test_routes_do_not_lead_too_deep_into_each_other(api: Api) -> None:
    await _route(api, "r0", "acme/one")
    for number in range(1, 5):
        await _route(api, f"r{number}", f"route/r{number - 1}")
    refused = await _route(api, "r5", "route/r4", status=400)
    assert refused["error"]["param"] == "targets"
    await _route(api, "below", "acme/one")
    targets = [{"model": "route/below"}]
    refused = await api.error("PATCH", "/routes/r0", json={"targets": targets}, status=400)
    assert refused["param"] == "targets"


async def test_a_name_means_one_thing(api: Api) -> None:
    await _route(api, "a", "acme/one", aliases=["auto"])
    refused = await _route(api, "b", "acme/one", aliases=["fast", "auto"], status=400)
    assert refused["error"]["param"] == "aliases[1]"
    assert "'a'" in refused["error"]["message"]
    await _route(api, "b", "acme/one", aliases=["fast"])
    refused = await api.error("PATCH", "/routes/b", json={"aliases": ["acme/two"]}, status=400)
    assert refused["param"] == "aliases[0]"
    refused = await api.error("PATCH", "/routes/b", json={"aliases": None}, status=400)
    assert refused["param"] == "aliases"


async def test_a_route_has_no_endpoints_of_its_own(api: Api) -> None:
    await _route(api, "a", "acme/one")
    targets = [{"model": "route/a", "endpoint": "primary"}]
    refused = await api.error("POST", "/routes", json={"name": "b", "targets": targets}, status=400)
    assert refused["param"] == "targets[0].endpoint"
    targets = [{"model": "acme/one:default", "endpoint": "primary"}]
    made = await api.ask("POST", "/routes", json={"name": "b", "targets": targets}, status=201)
    assert made["targets"][0]["endpoint"] == "primary"


async def test_routes_come_in_pages(api: Api) -> None:
    for name in "cab":
        await _route(api, name, "acme/one")
    page = await api.ask("GET", "/routes?limit=2")
    assert ([route["name"] for route in page["data"]], page["next"]) == (["a", "b"], "b")
    page = await api.ask("GET", "/routes?limit=2&after=b")
    assert ([route["name"] for route in page["data"]], page["next"]) == (["c"], None)


async def test_other_broken_routes_are_nobodys_fault(api: Api, db: Database) -> None:
    """A stranger's row does not keep others from being changed."""
    await _route(api, "a", "acme/one")
    async with db.write() as session:
        await session.execute(text("UPDATE route_targets SET model = 'acme/gone'"))
    await _route(api, "b", "acme/one")
    refused = await api.error("PATCH", "/routes/a", json={"display_name": "A"}, status=400)
    assert refused["param"] == "targets[0].model"
    repaired = {"targets": [{"model": "acme/two"}]}
    await api.ask("PATCH", "/routes/a", json=repaired)


async def test_saying_the_same_of_a_route_is_no_change(api: Api) -> None:
    made = await api.ask("POST", "/routes", json=BOT, status=201)
    before = (await api.ask("GET", "/state"))["revision"]
    same = {field: made[field] for field in ("aliases", "policy", "targets", "display_name")}
    assert await api.ask("PATCH", "/routes/bot", json=same) == made
    assert (await api.ask("GET", "/state"))["revision"] == before


async def test_a_route_is_not_led_back_to_itself_by_its_policy(api: Api) -> None:
    led = {"name": "outer", "targets": [{"model": "route/bot"}]}
    await api.ask("POST", "/routes", json=BOT, status=201)
    await api.ask("POST", "/routes", json=led, status=201)
    for name in ("route/bot", "auto", "route/outer"):
        policy = {"policy": {"fallbacks": [name]}}
        error = await api.error("PATCH", "/routes/bot", json=policy, status=400)
        assert error["param"] == "policy.fallbacks[0]"
        assert f"'{name}' leads back to 'route/bot'" in error["message"]
    apart = {**led, "targets": [{"model": "acme/one"}]}
    await api.ask("PATCH", "/routes/outer", json={"targets": apart["targets"]})
    both = {"fallbacks": ["route/outer"]}, {"fallbacks": ["route/bot"]}
    for name, chain in zip(("bot", "outer"), both, strict=True):
        await api.ask("PATCH", f"/routes/{name}", json={"policy": chain})
    error = await api.error(
        "PATCH", "/routes/outer", json={"targets": led["targets"], "policy": {}}, status=400
    )
    assert error["param"] == "targets"
    expected = "'route/bot' falls back to 'route/outer', which would lead back to it"
    assert expected in error["message"]


async def test_prices_come_in_parts(api: Api) -> None:
    for model in ("acme/one", "acme/two"):
        for year in (2025, 2026):
            begins = {"model": model, "effective_from": f"{year}-01-01T00:00:00Z"}
            await api.ask("POST", "/prices", json=PRICE | begins, status=201)
    whole = await api.ask("GET", "/prices")
    assert whole["next"] is None
    parts = [await api.ask("GET", "/prices?limit=3")]
    parts.append(await api.ask("GET", f"/prices?limit=3&after={parts[0]['next']}"))
    assert [len(part["data"]) for part in parts] == [3, 1]
    assert [price for part in parts for price in part["data"]] == whole["data"]
    assert parts[1]["next"] is None
    one = await api.ask("GET", "/prices?limit=1&model=acme/two")
    assert ([p["model"] for p in one["data"]], one["next"]) == (
        ["acme/two"],
        str(whole["data"][2]["id"]),
    )
    assert (await api.ask("GET", "/prices?after=999999"))["data"] == []
    await api.ask("GET", "/prices?limit=0", status=400)
