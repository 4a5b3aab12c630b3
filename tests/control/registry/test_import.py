from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.control.conftest import Api
from tests.control.fakes import ACME
from tests.control.registry.conftest import PROVIDER, RegistryApi, joined, whole

from xrouter.control.db.engine import Database
from xrouter.control.server import Services
from xrouter.stores.vault import Vault

Json = dict[str, Any]


def actions(done: Json) -> list[tuple[str, str, str]]:
    return [(each["action"], each["kind"], each["object"]) for each in done["changed"]]


async def test_a_catalog_is_made_from_a_document(api: RegistryApi, changes: list[None]) -> None:
    done = await api.put(whole())
    assert actions(done) == [
        ("create", "provider", "acme"),
        ("create", "model", "acme/one"),
        ("create", "model", "acme/two"),
        ("create", "prices", "acme/one"),
        ("create", "route", "bot"),
        ("create", "route", "outer"),
    ]
    assert done["warnings"] == []
    assert len(changes) == 1
    found = await api.export()
    (provider,) = found["providers"]
    assert provider["endpoints"][0]["credential_fields"] == ["api_key"]
    assert (provider["country"], provider["endpoints"][0]["max_running"]) == ("RU", 4)
    one, two = found["models"]
    assert one["adapter_class"] == ACME
    assert [v["label"] for v in one["versions"]] == ["v2", "v1"]
    assert [v["upstream"] for v in two["versions"]] == ["two"]
    assert found["prices"][0]["prices"][0]["output"] == 200
    assert found["routes"][0]["targets"] == [
        {"model": "acme/one:latest", "endpoint": "primary", "weight": 3, "priority": 0}
    ]
    assert [target["model"] for target in found["routes"][1]["targets"]] == ["auto", "acme/two"]
    shown = await api.ask("GET", "/providers/acme")
    assert shown["endpoints"][0]["credential_fields"] == ["api_key"]
    assert shown["endpoints"][0]["is_enabled"]
    said = json.dumps([done, found, await api.ask("GET", "/changes")])
    assert "top-secret" not in said


async def test_an_export_imported_again_changes_nothing(api: RegistryApi) -> None:
    await api.put(whole())
    for secrets in ("none", "sealed"):
        found = await api.export(secrets)
        revision = await api.revision()
        for prune in (False, True):
            done = await api.put(found, prune=prune)
            assert (done["changed"], done["warnings"]) == ([], [])
        assert await api.export(secrets) == found
        assert await api.revision() == revision


async def test_an_export_makes_the_same_catalog_elsewhere(
    api: RegistryApi, services: Services, sqlite_template: Path, tmp_path: Path
) -> None:
    await api.put(whole())
    await api.ask("POST", "/providers", status=201, json=_other())
    await api.ask("DELETE", "/providers/acme", status=409)
    for route in ("outer", "bot"):
        await api.ask("DELETE", f"/routes/{route}")
    await api.ask("DELETE", "/providers/acme")
    await api.put(whole())
    found = await api.export("sealed")
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    (tmp_path / "elsewhere.db").write_bytes(sqlite_template.read_bytes())
    db = Database(url)
    async with joined(services, db) as client:
        there = RegistryApi(client)
        await there.put(found)
        assert _plain(await there.export()) == _plain(await api.export())
        assert (await there.put(await there.export()))["changed"] == []
    async with joined(services, db, Vault(b"x" * 32)) as client:
        there = RegistryApi(client)
        error = await there.refused(found)
        assert error["code"] == "sealed_elsewhere"
        shown = (await there.export())["providers"][0]["endpoints"][0]
        assert shown["credential_fields"] is None, "and what is there is left alone"
    await db.close()


def _other() -> Json:
    return {"name": "other", "base_url": "https://other.test", "credential": {"api_key": "k"}}


def _plain(found: Json) -> Json:
    return {part: rows for part, rows in found.items() if part != "format"}


async def test_without_secrets_an_endpoint_waits_for_them_switched_off(
    api: RegistryApi,
) -> None:
    given = whole()
    endpoint = {k: v for k, v in PROVIDER["endpoints"][0].items() if k != "credential"}
    given["providers"] = [PROVIDER | {"endpoints": [endpoint]}]
    done = await api.put(given)
    (warning,) = done["warnings"]
    assert "acme/primary" in warning
    assert "api_key" in warning
    found = (await api.export())["providers"][0]["endpoints"][0]
    assert (found["is_enabled"], found["credential_fields"]) == (False, [])


async def test_what_a_document_does_not_say_stays(api: RegistryApi) -> None:
    await api.put(whole())
    before = await api.export()
    done = await api.put({"models": [{"model_id": "acme/one", "provider": "acme", "kind": "chat"}]})
    assert done["changed"] == []
    done = await api.put(
        {"providers": [{"name": "acme", "adapter_class": ACME, "is_enabled": False}]}
    )
    assert [each["diff"] for each in done["changed"]] == [
        [{"path": "is_enabled", "old": True, "new": False}]
    ]
    after = await api.export()
    before["providers"][0]["is_enabled"] = False
    assert after == before


async def test_a_dry_run_tells_exactly_what_would_change(
    api: RegistryApi, changes: list[None]
) -> None:
    await api.put(whole())
    before, revision = await api.export(), await api.revision()
    changes.clear()
    given = whole()
    given["models"][0]["versions"][1]["status"] = "retired"
    given["routes"] = given["routes"][:1]
    told = await api.put(given, dry_run=True, prune=True)
    assert told["dry_run"]
    assert [
        (each["kind"], each["object"], each["action"], [d["path"] for d in each["diff"]])
        for each in told["changed"]
    ][:1] == [("model", "acme/one", "update", ["versions[v1].status"])]
    assert actions(told)[-1] == ("delete", "route", "outer")
    assert changes == []
    assert (await api.export(), await api.revision()) == (before, revision)
    done = await api.put(given, prune=True)
    assert done["changed"] == told["changed"]
    assert not done["dry_run"]


async def test_pruning_deletes_what_is_not_there(api: RegistryApi) -> None:
    await api.put(whole())
    second = {"name": "standby", "base_url": "https://b.test", "credential": {"api_key": "b"}}
    provider = PROVIDER | {"endpoints": [*PROVIDER["endpoints"], second]}
    await api.put({"providers": [provider]})
    done = await api.put({"providers": [PROVIDER]})
    assert done["changed"] == []
    done = await api.put({"providers": [PROVIDER]}, prune=True)
    assert actions(done) == [("update", "provider", "acme")]
    done = await api.put({"models": whole()["models"], "prices": [], "routes": []}, prune=True)
    assert actions(done) == [
        ("delete", "prices", "acme/one"),
        ("delete", "route", "bot"),
        ("delete", "route", "outer"),
    ]
    done = await api.put({"providers": [], "models": []}, prune=True)
    assert actions(done) == [
        ("delete", "provider", "acme"),
        ("delete", "model", "acme/one"),
        ("delete", "model", "acme/two"),
    ]
    assert _plain(await api.export()) == {
        "providers": [],
        "models": [],
        "prices": [],
        "routes": [],
        "rates": [],
        "limits": [],
        "releases": [],
    }


def _with(part: str, number: int, **more: Any) -> Json:
    given = whole()
    given[part][number] = given[part][number] | more
    return given


def _route(name: str, *targets: str) -> Json:
    return {"name": name, "targets": [{"model": target} for target in targets]}


BAD = {
    "unknown adapter": (_with("providers", 0, adapter_class="os.system"), "adapter_class"),
    "bad address": (
        _with("providers", 0, endpoints=[{"name": "primary", "base_url": "ftp://x"}]),
        "providers[0].endpoints[0].base_url",
    ),
    "name of another": (
        _with("models", 0, model_id="other/one"),
        "models[other/one].model_id",
    ),
    "no such provider": (_with("models", 0, provider="nobody"), "models[acme/one].provider"),
    "dangling": (
        {"routes": [_route("bot", "acme/nine")]},
        "routes[bot].targets[0].model",
    ),
    "dangling version": (
        {**whole(), "routes": [_route("bot", "acme/one:v9")]},
        "routes[bot].targets[0].model",
    ),
    "dangling endpoint": (
        {**whole(), "routes": [{"name": "x", "targets": [{"model": "acme/one", "endpoint": "q"}]}]},
        "routes[x].targets[0].endpoint",
    ),
    "dangling fallback": (
        _with("routes", 0, policy={"fallbacks": ["acme/two", "acme/nine"]}),
        "routes[bot].policy.fallbacks[1]",
    ),
    "circle": (
        {
            **whole(),
            "routes": [
                _route("a", "route/b"),
                _route("b", "route/c", "route/a"),
                _route("c", "acme/one"),
            ],
        },
        "routes[a].targets",
    ),
    "circle of one": ({**whole(), "routes": [_route("a", "route/a")]}, "routes[a].targets"),
    "alias taken": (
        _with("routes", 1, aliases=["auto"]),
        "routes[outer].aliases",
    ),
    "alias of a model": (_with("routes", 1, aliases=["acme/two"]), "routes[outer].aliases"),
    "two channels": (
        _with("models", 0, versions=[{"label": a, "upstream": a, "channel": "rc"} for a in "ab"]),
        "models[0].versions",
    ),
    "policy": (
        _with("routes", 0, policy={"max_attempts": "many"}),
        "routes[0].policy.max_attempts",
    ),
    "policy field": (_with("routes", 0, policy={"speed": 1}), "routes[0].policy.speed"),
    "prices of nothing": (
        {"prices": [{"model_id": "acme/nine", "prices": []}]},
        "prices[acme/nine].model_id",
    ),
    "format": ({"format": "other"}, "format"),
    "field": ({"routers": []}, "routers"),
    "sealed": (
        _with("providers", 0, endpoints=[{"name": "p", "base_url": "http://x", "sealed": "?"}]),
        "providers[0].endpoints[0].sealed",
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_document_that_makes_no_sense_changes_nothing(api: RegistryApi, name: str) -> None:
    given, param = BAD[name]
    error = await api.refused(given)
    assert param in error["param"]
    assert _plain(await api.export()) == {
        "providers": [],
        "models": [],
        "prices": [],
        "routes": [],
        "rates": [],
        "limits": [],
        "releases": [],
    }


async def test_pruning_must_not_leave_a_route_dangling(api: RegistryApi) -> None:
    await api.put(whole())
    error = await api.refused({"models": whole()["models"][:1]}, prune=True)
    assert error["param"] == "prices" or error["param"].startswith("routes[")
    assert "more" in error["hint"]
    assert len((await api.export())["models"]) == 2


async def test_an_endpoint_that_lacks_a_secret_of_many_is_refused(api: RegistryApi) -> None:
    endpoint = {"name": "primary", "base_url": "https://x.test", "credential": {"other": "k"}}
    error = await api.refused({"providers": [PROVIDER | {"endpoints": [endpoint]}]})
    assert error["param"] == "acme.endpoints[0].credential.api_key"


async def test_an_object_is_there_once(api: RegistryApi) -> None:
    given = whole()
    given["routes"].append(given["routes"][0])
    await api.error("PUT", "/registry", json=given, status=409)


async def test_a_version_that_moves_keeps_its_row(api: Api) -> None:
    """Channels change places in one import."""
    assert isinstance(api, RegistryApi)
    await api.put(whole())
    given = whole()["models"][:1]
    first, second = given[0]["versions"]
    given[0]["versions"] = [
        second | {"channel": "latest", "status": "active"},
        first | {"channel": "deprecated", "status": "deprecated"},
    ]
    await api.put({"models": given})
    found = (await api.export())["models"][0]["versions"]
    assert [(v["label"], v["channel"]) for v in found] == [("v1", "latest"), ("v2", "deprecated")]
