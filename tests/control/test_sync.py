from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from tests.control.conftest import Api
from tests.control.fakes import OTHER, AcmeServer, OtherAdapter, adapters, described

from xrouter.control.db.engine import Database
from xrouter.control.publish.build import build_snapshot
from xrouter.control.server import Services
from xrouter.domain.abilities import Abilities
from xrouter.stores.vault import Vault

SYNC = "/models/sync"


async def models(api: Api) -> dict[str, Any]:
    return {m["model_id"]: m for m in (await api.ask("GET", "/models"))["data"]}


def counts(answer: Any) -> tuple[int, int, int, int]:
    return (answer["added"], answer["updated"], answer["unchanged"], answer["vanished"])


async def test_sync_fills_the_table_and_is_idempotent(api: Api) -> None:
    await api.acme()
    first = await api.ask("POST", SYNC)
    assert (counts(first), first["failed"]) == ((2, 0, 0, 0), [])
    before = await models(api)
    two = before["acme/two"]
    assert (two["display_name"], two["context_length"], two["origin"]) == ("Two", 32000, "shipped")
    assert [(v["label"], v["upstream"], v["channel"]) for v in two["versions"]] == [
        ("v2", "two@v2", "latest"),
        ("v1", "two@v1", None),
    ]
    assert counts(await api.ask("POST", SYNC, json={"provider": "acme"})) == (0, 0, 2, 0)
    assert await models(api) == before


async def test_a_sync_that_changes_nothing_does_not_raise_the_revision(api: Api) -> None:
    await api.acme()
    await api.ask("POST", SYNC)
    before = (await api.ask("GET", "/state"))["revision"]
    await api.ask("POST", SYNC)
    assert (await api.ask("GET", "/state"))["revision"] == before


async def test_what_a_model_can_do_follows_the_list_and_the_operator_stands_above_it(
    api: Api, acme_models: list[Any], db: Database, vault: Vault
) -> None:
    able = Abilities(features={"vision": "refused", "tools": "emulated"}, max_output=100)
    acme_models[0] = replace(described("one"), abilities=able, prices={"input": "0.1"})
    await api.acme()
    await api.ask("POST", SYNC)
    row = (await models(api))["acme/one"]
    assert row["listed"] == {
        "features": {"vision": "refused", "tools": "emulated"},
        "max_output": 100,
        "prices": {"input": "0.1"},
    }
    edit = {"capabilities": {"features": {"tools": "refused"}}}
    await api.ask("PATCH", "/models/acme/one", json=edit)
    acme_models[0] = replace(described("one"), abilities=Abilities(max_output=200))
    assert counts(await api.ask("POST", SYNC)) == (0, 1, 1, 0)
    row = (await models(api))["acme/one"]
    assert row["listed"] == {"max_output": 200}
    assert row["capabilities"] == edit["capabilities"]
    published = (await build_snapshot(db, vault, adapters())).models
    assert published["acme/one"].abilities == Abilities(
        features={"tools": "refused", "vision": "native", "seed": "dropped"}, max_output=200
    )
    assert published["acme/two"].abilities.features["tools"] == "native"


async def test_capabilities_have_names(api: Api) -> None:
    await api.acme()
    await api.ask("POST", SYNC)
    for wrong in ({"features": {"flying": "native"}}, {"features": {"tools": "maybe"}}, {"x": 1}):
        error = await api.error(
            "PATCH", "/models/acme/one", json={"capabilities": wrong}, status=400
        )
        assert error["param"].startswith("capabilities.")


async def test_what_the_operator_edited_stands(api: Api, acme_models: list[Any]) -> None:
    await api.acme()
    await api.ask("POST", SYNC)
    edit: dict[str, Any] = {
        "display_name": "Mine",
        "is_available": False,
        "context_length": 1,
        "capabilities": {"features": {"tools": "refused"}},
        "adapter_class": OTHER,
        "versions": [{"label": "pin", "upstream": "one@pin", "channel": "latest"}],
    }
    edited = await api.ask("PATCH", "/models/acme/one", json=edit)
    acme_models[0] = described("one", 9999, "v9", "v1")
    await api.ask("POST", SYNC)
    after = (await models(api))["acme/one"]
    for field in ("display_name", "is_available", "context_length", "capabilities"):
        assert after[field] == edit[field], field
    assert after["adapter_class"] == OTHER
    assert after["versions"][0] == edited["versions"][0]
    assert [(v["label"], v["channel"]) for v in after["versions"]] == [
        ("pin", "latest"),
        ("v9", None),
        ("v1", None),
    ]
    assert counts(await api.ask("POST", SYNC)) == (0, 0, 2, 0)


async def test_versions_follow_the_list(api: Api, acme_models: list[Any]) -> None:
    await api.acme()
    await api.ask("POST", SYNC)
    acme_models[1] = described("two", 32000, "v3", "v2")
    assert counts(await api.ask("POST", SYNC)) == (0, 1, 1, 0)
    found = (await models(api))["acme/two"]["versions"]
    assert {v["label"]: (v["channel"], v["status"]) for v in found} == {
        "v3": ("latest", "active"),
        "v2": (None, "active"),
        "v1": (None, "retired"),
    }
    acme_models[1] = described("two", 32000, "v2", "v1")
    assert counts(await api.ask("POST", SYNC)) == (0, 1, 1, 0)
    found = (await models(api))["acme/two"]["versions"]
    assert {v["label"]: v["status"] for v in found} == {
        "v3": "retired",
        "v2": "active",
        "v1": "active",
    }


async def test_the_vanished_are_marked_and_kept(api: Api, acme_models: list[Any]) -> None:
    await api.acme()
    await api.acme_model("by-hand")
    await api.ask("POST", SYNC)
    gone = acme_models.pop()
    assert counts(await api.ask("POST", SYNC)) == (0, 0, 1, 1)
    found = await models(api)
    since = found["acme/two"]["vanished_at"]
    assert since is not None
    assert found["acme/two"]["is_available"] is True
    assert found["acme/by-hand"]["vanished_at"] is None
    revision = (await api.ask("GET", "/state"))["revision"]
    assert counts(await api.ask("POST", SYNC)) == (0, 0, 2, 0), "it has vanished already"
    assert (await api.ask("GET", "/state"))["revision"] == revision
    assert (await models(api))["acme/two"]["vanished_at"] == since
    acme_models.append(gone)
    assert counts(await api.ask("POST", SYNC)) == (0, 1, 1, 0)
    assert (await models(api))["acme/two"]["vanished_at"] is None


async def test_a_provider_nobody_registered(api: Api) -> None:
    assert counts(await api.ask("POST", SYNC)) == (0, 0, 0, 0)
    error = await api.error("POST", SYNC, json={"provider": "acme"}, status=404)
    assert error["code"] == "provider_not_found"


async def test_the_live_list_is_merged(api: Api, acme_server: AcmeServer) -> None:
    acme_server.models = ["two", "three", "not a name"]
    await api.acme(base_url=acme_server.url, credential={"api_key": acme_server.key})
    answer = await api.ask("POST", SYNC, json={"live": True})
    assert (counts(answer), answer["failed"]) == ((3, 0, 0, 0), [])
    found = await models(api)
    assert {model_id: m["origin"] for model_id, m in found.items()} == {
        "acme/one": "shipped",
        "acme/two": "shipped",
        "acme/three": "live",
    }
    assert found["acme/two"]["context_length"] == 32000

    acme_server.models = []
    assert counts(await api.ask("POST", SYNC)) == (0, 0, 2, 0)
    assert counts(await api.ask("POST", SYNC, json={"live": True})) == (0, 0, 2, 1)
    assert (await models(api))["acme/three"]["vanished_at"] is not None


async def test_what_the_live_list_told_stays_until_it_tells_otherwise(
    api: Api, acme_server: AcmeServer, acme_models: list[Any]
) -> None:
    acme_models[0] = replace(described("one"), abilities=Abilities(features={"tools": "emulated"}))
    acme_server.models = [{"name": "one", "max_output": 77}, {"name": "three", "max_output": 5}]
    await api.acme(base_url=acme_server.url, credential={"api_key": acme_server.key})
    await api.ask("POST", SYNC, json={"live": True})
    before = await models(api)
    said = {"max_output": 77, "features": {"tools": "emulated"}}
    assert before["acme/one"]["listed"] == said | {"live": {"max_output": 77}}
    revision = (await api.ask("GET", "/state"))["revision"]
    for live in (False, False, True):
        assert counts(await api.ask("POST", SYNC, json={"live": live}))[1] == 0
    assert await models(api) == before
    assert (await api.ask("GET", "/state"))["revision"] == revision

    acme_models[0] = replace(described("one"), abilities=Abilities(features={"seed": "refused"}))
    await api.ask("POST", SYNC)
    listed = (await models(api))["acme/one"]["listed"]
    assert (listed["features"], listed["max_output"]) == ({"seed": "refused"}, 77)
    acme_server.models = [{"name": "one", "max_output": 88}]
    await api.ask("POST", SYNC, json={"live": True})
    assert (await models(api))["acme/one"]["listed"]["max_output"] == 88


async def test_what_one_list_has_let_go_of_is_the_others(
    api: Api, acme_server: AcmeServer, acme_models: list[Any]
) -> None:
    acme_server.models = ["two"]
    await api.acme(base_url=acme_server.url, credential={"api_key": acme_server.key})
    await api.ask("POST", SYNC, json={"live": True})
    acme_models.pop()
    await api.ask("POST", SYNC, json={"live": True})
    assert (await models(api))["acme/two"]["origin"] == "live"
    before = await models(api)
    assert counts(await api.ask("POST", SYNC)) == (0, 0, 1, 0)
    assert await models(api) == before


async def test_a_live_list_that_fails_is_told_and_the_rest_is_done(
    api: Api, acme_server: AcmeServer
) -> None:
    await api.acme(base_url=acme_server.url, credential={"api_key": "wrong"})
    answer = await api.ask("POST", SYNC, json={"live": True})
    assert counts(answer) == (2, 0, 0, 0)
    assert answer["failed"] == [
        {"provider": "acme", "error": "Acme says 401.", "hint": "Look at the key."}
    ]


async def test_a_standby_is_asked_when_the_primary_does_not_answer(
    api: Api, acme_server: AcmeServer
) -> None:
    acme_server.models = ["three"]
    await api.acme(base_url="http://127.0.0.1:9")
    given = {"base_url": acme_server.url, "credential": {"api_key": acme_server.key}}
    await api.ask("POST", "/providers/acme/endpoints", json=given, status=201)
    answer = await api.ask("POST", SYNC, json={"live": True})
    assert (counts(answer), answer["failed"]) == ((3, 0, 0, 0), [])


async def test_a_token_that_is_refused_is_fetched_anew(api: Api, acme_server: AcmeServer) -> None:
    acme_server.models = ["three"]
    await api.acme(base_url=acme_server.url, options={"tokens": "yes"})
    answer = await api.ask("POST", SYNC, json={"live": True})
    assert (counts(answer), answer["failed"]) == ((3, 0, 0, 0), [])
    assert acme_server.seen == ["Bearer stale", f"Bearer {acme_server.key}"]
    assert acme_server.tokens_given == 2


async def test_a_provider_without_a_list_or_an_endpoint(api: Api, acme_server: AcmeServer) -> None:
    await api.acme(base_url=acme_server.url, options={"no_list": "yes"})
    answer = await api.ask("POST", SYNC, json={"live": True})
    assert (counts(answer), answer["failed"]) == ((2, 0, 0, 0), [])
    await api.ask("DELETE", "/providers/acme/endpoints/primary")
    answer = await api.ask("POST", SYNC, json={"live": True})
    assert counts(answer) == (0, 0, 2, 0)
    assert "no endpoint" in answer["failed"][0]["error"]


async def test_one_provider_that_fails_does_not_disturb_the_others(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"name": "other", "base_url": "https://o.test", "credential": {"api_key": "k"}}
    await api.ask("POST", "/providers", json=given, status=201)
    await api.acme()
    async with services.db.write() as session:
        await session.execute(
            text("UPDATE providers SET adapter_class = 'no.Such' WHERE name = 'acme'")
        )
    monkeypatch.setattr(OtherAdapter, "shipped", [described("x")])
    answer = await api.ask("POST", SYNC)
    assert counts(answer) == (1, 0, 0, 0)
    (failure,) = answer["failed"]
    assert failure["provider"] == "acme"
    assert "no.Such" in failure["error"]
