"""Policies of models and providers: typed after the domain's, their names looked up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest
from msgspec.structs import replace
from tests.control.conftest import ADMIN, Api

from xrouter.control.catalog.schemas import CacheIn, PatienceIn, PolicyFields
from xrouter.control.server import Services, create_app
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.routes import Cache, Patience, Policy
from xrouter.domain.secret import Secret

Json = dict[str, Any]
WHOLE: Json = {
    "strategy": "weighted",
    "options": {"seed": 3},
    "versions": ["latest", "beta"],
    "missing": "next",
    "fallbacks": ["acme/one", "acme/one:latest", "acme/one:default", "auto"],
    "on_overflow": ["route/bot"],
    "on_refusal": ["acme/one:rc"],
    "countries": ["RU", "KZ"],
    "max_price": 5_000_000_000,
    "max_attempts": 4,
    "borders": "both",
    "patience": {"first_token": 5.0, "min_speed": 10.0},
    "cache": {"ttl": 60.0, "scope": "key"},
}


def _options(given: Any) -> None:
    if given.keys() - {"seed"}:
        raise InvalidRequest("There is no such option.", param="policy.options.luck")


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Api]:
    known = {"priority": _options, "weighted": _options}
    app = create_app(replace(services, strategies=known), admin_token=Secret(ADMIN))
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://control.test", headers=headers
    ) as client:
        made = Api(client)
        await made.acme()
        await made.acme_model()
        route = {"name": "bot", "aliases": ["auto"], "targets": [{"model": "acme/one"}]}
        await made.ask("POST", "/routes", json=route, status=201)
        yield made


@pytest.mark.parametrize(
    "ours,theirs", [(PolicyFields, Policy), (CacheIn, Cache), (PatienceIn, Patience)]
)
def test_the_fields_are_the_domains(ours: Any, theirs: Any) -> None:
    assert tuple(ours.model_fields) == theirs.__struct_fields__


def test_the_defaults_are_the_domains() -> None:
    assert msgspec.convert(PolicyFields().model_dump(), Policy) == Policy()
    assert msgspec.convert(CacheIn(ttl=3).model_dump(), Cache) == Cache(ttl=3)


async def test_what_is_said_is_kept_and_nothing_else(api: Api) -> None:
    beta = {"label": "b", "upstream": "b", "channel": "beta"}
    assert (await api.acme_model("two", policy=WHOLE, versions=[beta]))["policy"] == WHOLE
    changed = await api.ask("PATCH", "/models/acme/one", json={"policy": {"versions": None}})
    assert changed["policy"] == {"versions": None}
    settings = {"approve_new_models": True, "sync_every": 600.0, "policy": WHOLE}
    changed = await api.ask("PATCH", "/providers/acme", json={"settings": settings})
    assert changed["settings"] == settings
    changed = await api.ask("PATCH", "/providers/acme", json={"settings": {}})
    assert changed["settings"] == {}


BAD: list[tuple[Json, str]] = [
    ({"strategy": "luck"}, "strategy"),
    ({"strategy": "weighted", "options": {"luck": 1}}, "options.luck"),
    ({"fallbacks": ["auto", "acme/none"]}, "fallbacks[1]"),
    ({"versions": ["latest", "bets"]}, "versions[1]"),
    ({"versions": ["default"]}, "versions[0]"),
    ({"fallbacks": ["acme/one:v9"]}, "fallbacks[0]"),
    ({"on_overflow": ["route/none"]}, "on_overflow[0]"),
    ({"on_refusal": ["none"]}, "on_refusal[0]"),
    ({"countries": ["Russia"]}, "countries[0]"),
    ({"max_price": 1.5}, "max_price"),
    ({"max_attempts": 0}, "max_attempts"),
    ({"borders": "closed"}, "borders"),
    ({"missing": "retry"}, "missing"),
    ({"patience": {"first": 1}}, "patience.first"),
    ({"cache": {}}, "cache.ttl"),
    ({"cache": {"ttl": 0}}, "cache.ttl"),
    ({"strategi": "weighted"}, "strategi"),
]


@pytest.mark.parametrize("policy,place", BAD, ids=[place for _, place in BAD])
async def test_what_makes_no_sense_is_refused_by_its_place(
    api: Api, policy: Json, place: str
) -> None:
    before = (await api.ask("GET", "/state"))["revision"]
    given: Json = {"model_id": "acme/two", "provider": "acme", "policy": policy}
    error = await api.error("POST", "/models", json=given, status=400)
    assert error["param"] == f"policy.{place}"
    error = await api.error("PATCH", "/models/acme/one", json={"policy": policy}, status=400)
    assert error["param"] == f"policy.{place}"
    settings = {"settings": {"policy": policy}}
    error = await api.error("PATCH", "/providers/acme", json=settings, status=400)
    assert error["param"] == f"settings.policy.{place}"
    given = {"name": "b", "base_url": "https://b.test", "credential": {"api_key": "k"}}
    given |= {"adapter_class": (await api.ask("GET", "/providers/acme"))["adapter_class"]}
    error = await api.error("POST", "/providers", json={**given, **settings}, status=400)
    assert error["param"] == f"settings.policy.{place}"
    assert (await api.ask("GET", "/state"))["revision"] == before


@pytest.mark.parametrize("chain", ["fallbacks", "on_overflow", "on_refusal"])
async def test_a_model_does_not_stand_in_for_itself(api: Api, chain: str) -> None:
    policy = {chain: ["auto", "acme/one"]}
    error = await api.error("PATCH", "/models/acme/one", json={"policy": policy}, status=400)
    assert error["param"] == f"policy.{chain}[1]"
    assert "'acme/one' is the model itself" in error["message"]
    await api.ask("PATCH", "/models/acme/one", json={"policy": {chain: ["acme/one:latest"]}})


async def test_two_models_may_stand_in_for_each_other(api: Api) -> None:
    await api.acme_model("two", policy={"fallbacks": ["acme/one"]})
    await api.ask("PATCH", "/models/acme/one", json={"policy": {"fallbacks": ["acme/two"]}})


async def test_a_fallback_is_of_the_same_kind(api: Api) -> None:
    policy = {"fallbacks": ["acme/one:latest"]}
    given = {"model_id": "acme/v", "provider": "acme", "kind": "embeddings"}
    error = await api.error("POST", "/models", json={**given, "policy": policy}, status=400)
    assert error["param"] == "policy.fallbacks[0]"
    assert "'acme/one:latest' is for chat, not for embeddings" in error["message"]
    await api.acme_model("v", policy=policy)
    error = await api.error("PATCH", "/models/acme/v", json={"kind": "embeddings"}, status=400)
    assert error["param"] == "policy.fallbacks[0]"
    await api.acme_model("w", kind="embeddings")
    error = await api.error(
        "PATCH", "/routes/bot", json={"policy": {"fallbacks": ["acme/w"]}}, status=400
    )
    assert "'acme/w' is for embeddings, not for chat" in error["message"]


async def test_a_successor_is_a_name_that_means_something(api: Api) -> None:
    version = {"label": "v1", "upstream": "v1"}
    gone: Json = {"versions": [version, {**version, "label": "v2", "successor": "acme/gone"}]}
    given: Json = {"model_id": "acme/two", "provider": "acme", **gone}
    error = await api.error("POST", "/models", json=given, status=400)
    assert error["param"] == "versions[1].successor"
    assert "there is no 'acme/gone'" in error["message"]
    error = await api.error("PATCH", "/models/acme/one", json=gone, status=400)
    assert error["param"] == "versions[1].successor"
    for name in ("acme/one", "acme/one:v2", "acme/one:latest", "auto", "route/bot"):
        good = [{**version, "successor": name}, {**version, "label": "v2"}]
        await api.ask("PATCH", "/models/acme/one", json={"versions": good})


async def test_a_successor_that_went_since_does_not_stop_a_change(api: Api) -> None:
    version = {"label": "v1", "upstream": "v1", "successor": "acme/two"}
    await api.acme_model("two")
    await api.ask("PATCH", "/models/acme/one", json={"versions": [version]})
    await api.ask("DELETE", "/models/acme/two")
    again = [{**version, "upstream": "other"}]
    await api.ask("PATCH", "/models/acme/one", json={"versions": again})


async def test_names_of_routes_and_of_models_are_apart(api: Api) -> None:
    given = {"name": "route", "base_url": "https://b.test", "credential": {"api_key": "k"}}
    assert (await api.error("POST", "/providers", json=given, status=400))["param"] == "name"
    changed = {"aliases": ["auto", "acme/two"]}
    await api.ask("PATCH", "/routes/bot", json=changed)
    given = {"model_id": "acme/two", "provider": "acme"}
    error = await api.error("POST", "/models", json=given, status=409)
    assert (error["param"], "bot" in error["message"]) == ("model_id", True)
