from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.control.conftest import Api
from tests.control.fakes import ACME, OTHER, AcmeServer

from xrouter.control.db import schema
from xrouter.control.db.engine import Database


async def test_a_provider_is_registered_with_its_primary_endpoint(
    api: Api, changes: list[None]
) -> None:
    made = await api.acme(
        display_name="Акме", options={"scope": "x"}, timeouts={"connect": 2}, ca_bundle="/ca.pem"
    )
    assert made["adapter_class"] == ACME
    assert made["display_name"] == "Акме"
    (endpoint,) = made["endpoints"]
    assert endpoint["name"] == "primary"
    assert endpoint["base_url"] == "https://acme.test"
    assert endpoint["credential_fields"] == ["api_key"]
    assert endpoint["options"] == {"scope": "x"}
    assert endpoint["timeouts"] == {"connect": 2}
    assert endpoint["ca_bundle"] == "/ca.pem"
    assert "credential" not in endpoint
    assert len(changes) == 1
    listed = await api.ask("GET", "/providers")
    assert listed == {"data": [made], "next": None}
    assert await api.ask("GET", "/providers/acme") == made


async def test_a_provider_exists_once(api: Api) -> None:
    await api.acme()
    given = {"name": "acme", "base_url": "https://x.test", "credential": {"api_key": "k"}}
    error = await api.error("POST", "/providers", json=given, status=409)
    assert (error["code"], error["param"]) == ("already_exists", "name")
    assert "/endpoints" in error["hint"]


async def test_an_adapter_class_must_be_a_supported_one(api: Api) -> None:
    given: dict[str, Any] = {
        "name": "mine",
        "base_url": "http://localhost:1/v1",
        "credential": {"api_key": "k"},
        "adapter_class": OTHER,
    }
    made = await api.ask("POST", "/providers", json=given, status=201)
    assert made["adapter_class"] == OTHER
    given |= {"name": "x", "adapter_class": "os.system"}
    error = await api.error("POST", "/providers", json=given, status=400)
    assert (error["param"], error["code"]) == ("adapter_class", "unknown_adapter_class")
    assert ACME in error["hint"]


async def test_an_unknown_address_is_asked_who_it_is(api: Api, acme_server: AcmeServer) -> None:
    given: dict[str, Any] = {
        "name": "mine",
        "base_url": acme_server.url,
        "credential": {"api_key": "k"},
        "options": {"more": "yes"},
    }
    made = await api.ask("POST", "/providers", json=given, status=201)
    assert made["adapter_class"] == ACME
    (endpoint,) = made["endpoints"]
    assert endpoint["base_url"] == acme_server.url + "/found"
    assert endpoint["options"] == {"scope": "home", "more": "yes"}

    given |= {"name": "nobody", "base_url": acme_server.url + "/elsewhere"}
    error = await api.error("POST", "/providers", json=given, status=400)
    assert error["param"] == "base_url"
    given |= {"base_url": "http://127.0.0.1:9"}
    error = await api.error("POST", "/providers", json=given, status=502)
    assert error["code"] == "upstream_unreachable"
    assert [p["name"] for p in (await api.ask("GET", "/providers"))["data"]] == ["mine"]


async def test_a_known_provider_has_a_home_and_models(api: Api) -> None:
    given: dict[str, Any] = {"name": "homely", "credential": {"api_key": "k"}}
    made = await api.ask("POST", "/providers", json=given, status=201)
    assert made["endpoints"][0]["base_url"] == "https://homely.test/v1"
    assert made["endpoints"][0]["options"] == {}
    await api.ask("POST", "/models/sync")
    assert [m["model_id"] for m in (await api.ask("GET", "/models"))["data"]] == ["homely/home"]
    for name in ("acme", "nobody"):
        error = await api.error("POST", "/providers", json={**given, "name": name}, status=400)
        assert (error["param"], error["code"]) == ("base_url", "missing_required_parameter")


async def test_saying_the_same_again_is_no_change(api: Api) -> None:
    await api.acme(options={"a": "b"})
    before = (await api.ask("GET", "/state"))["revision"]
    same = {
        "base_url": "https://acme.test",
        "credential": {"api_key": "k"},
        "options": {"a": "b"},
        "adapter_class": ACME,
    }
    await api.ask("PATCH", "/providers/acme/endpoints/primary", json=same)
    await api.ask("PATCH", "/providers/acme", json={"is_enabled": True})
    assert (await api.ask("GET", "/state"))["revision"] == before
    same["credential"] = {"api_key": "new"}
    await api.ask("PATCH", "/providers/acme/endpoints/primary", json=same)
    assert (await api.ask("GET", "/state"))["revision"] > before


async def test_the_adapter_says_what_is_missing_and_nothing_is_kept(api: Api) -> None:
    given = {"name": "acme", "base_url": "https://acme.test"}
    error = await api.error("POST", "/providers", json=given, status=400)
    assert error["param"] == "credential.api_key"
    assert (await api.ask("GET", "/providers"))["data"] == []


async def test_standbys_come_behind_and_can_be_changed_and_deleted(api: Api) -> None:
    await api.acme()
    given = {"base_url": "https://standby.test", "credential": {"api_key": "s"}}
    path = "/providers/acme/endpoints"
    first = await api.ask("POST", path, json=given, status=201)
    second = await api.ask("POST", path, json={**given, "name": "far"}, status=201)
    assert (first["name"], first["priority"]) == ("standby-1", 1)
    assert (second["name"], second["priority"]) == ("far", 2)
    error = await api.error("POST", path, json={**given, "name": "far"}, status=409)
    assert error["param"] == "name"

    changed = await api.ask("PATCH", path + "/far", json={"priority": 0, "is_enabled": False})
    assert (changed["priority"], changed["is_enabled"]) == (0, False)
    names = [e["name"] for e in (await api.ask("GET", "/providers/acme"))["endpoints"]]
    assert names == ["primary", "far", "standby-1"]

    assert await api.ask("DELETE", path + "/far") == {"id": "far", "deleted": True}
    error = await api.error("DELETE", path + "/far", status=404)
    assert error["code"] == "endpoint_not_found"
    error = await api.error("POST", "/providers/nobody/endpoints", json=given, status=404)
    assert error["code"] == "provider_not_found"


async def test_credentials_are_replaced_by_name(api: Api) -> None:
    await api.acme(credential={"api_key": "k", "folder_id": "f"})
    path = "/providers/acme/endpoints/primary"
    patch: dict[str, Any] = {"credential": {"folder_id": None, "extra": "e"}}
    assert (await api.ask("PATCH", path, json=patch))["credential_fields"] == ["api_key", "extra"]
    error = await api.error("PATCH", path, json={"credential": {"api_key": None}}, status=400)
    assert error["param"] == "credential.api_key"
    error = await api.error("PATCH", path, json={"base_url": None}, status=400)
    assert error["param"] == "base_url"
    patch = {"ca_bundle": None, "adapter_class": OTHER}
    assert (await api.ask("PATCH", path, json=patch))["adapter_class"] == OTHER


async def test_the_password_of_a_proxy_is_a_secret(api: Api) -> None:
    made = await api.acme(proxy="http://user:hidden@proxy.test:3128")
    (endpoint,) = made["endpoints"]
    assert endpoint["proxy"] == "http://proxy.test:3128"
    assert endpoint["credential_fields"] == ["api_key", "proxy_auth"]


async def test_secrets_are_not_in_the_database(
    api: Api, db: Database, request: pytest.FixtureRequest
) -> None:
    await api.acme(credential={"api_key": "canary-of-credential"})
    key = (await api.ask("POST", "/keys", json={"name": "n"}, status=201))["key"]
    await db.close()
    if db.dialect == "sqlite":
        folder = Path(request.getfixturevalue("tmp_path"))
        stored = b"".join(f.read_bytes() for f in folder.iterdir() if f.is_file())
        assert b"https://acme.test" in stored
    else:
        url = request.getfixturevalue("postgres_url")
        server = request.getfixturevalue("postgres")
        tables = ("provider_endpoints", "api_keys")
        stored = "".join(
            server.sql(
                f"SELECT t::text, credential_text FROM {t} t, "
                f"LATERAL (SELECT encode(t.{c}, 'escape') AS credential_text) s",
                url.rpartition("/")[2],
            )
            for t, c in zip(tables, ("credential", "mac"), strict=True)
        ).encode()
        assert b"https://acme.test" in stored
    assert b"canary-of-credential" not in stored
    assert key.encode() not in stored


async def test_a_provider_is_changed_and_its_models_follow(api: Api) -> None:
    await api.acme()
    await api.acme_model("one")
    await api.acme_model("two", adapter_class=OTHER)
    changed = await api.ask(
        "PATCH",
        "/providers/acme",
        json={"adapter_class": OTHER, "display_name": "A", "is_enabled": False},
    )
    assert (changed["adapter_class"], changed["display_name"]) == (OTHER, "A")
    assert changed["is_enabled"] is False
    models = (await api.ask("GET", "/models"))["data"]
    assert [m["adapter_class"] for m in models] == [OTHER, OTHER]
    error = await api.error("PATCH", "/providers/acme", json={"adapter_class": "a.B"}, status=400)
    assert error["code"] == "unknown_adapter_class"
    await api.error("PATCH", "/providers/nobody", json={}, status=404)


async def test_deleting_a_provider_deletes_what_hangs_on_it(api: Api) -> None:
    await api.acme()
    await api.acme_model()
    await api.ask("DELETE", "/providers/acme")
    assert (await api.ask("GET", "/models"))["data"] == []
    await api.error("DELETE", "/providers/acme", status=404)


async def test_a_model_has_a_version_from_the_start(api: Api) -> None:
    await api.acme()
    made = await api.acme_model("deep/er:7b")
    assert made["model_id"] == "acme/deep/er:7b"
    assert (made["display_name"], made["kind"], made["origin"]) == (
        "deep/er:7b",
        "chat",
        "operator",
    )
    assert [(v["label"], v["upstream"]) for v in made["versions"]] == [("default", "deep/er:7b")]
    assert await api.ask("GET", "/models/acme/deep/er:7b") == made


async def test_models_are_changed_switched_off_and_deleted(api: Api) -> None:
    await api.acme()
    await api.acme_model(context_length=1000)
    path = "/models/acme/one"
    patch: dict[str, Any] = {
        "is_available": False,
        "display_name": "One",
        "context_length": None,
        "capabilities": {"features": {"vision": "native"}},
        "access_group": "staff",
        "limits": {"rpm": 5},
    }
    changed = await api.ask("PATCH", path, json=patch)
    assert {name: changed[name] for name in patch} == patch
    assert changed["updated_at"] > changed["created_at"]
    versions = [
        {"label": "v2", "upstream": "one@2", "channel": "latest"},
        {"label": "v1", "upstream": "one@1", "channel": "deprecated", "status": "deprecated"},
    ]
    changed = await api.ask("PATCH", path, json={"versions": versions})
    assert [(v["label"], v["channel"]) for v in changed["versions"]] == [
        ("v2", "latest"),
        ("v1", "deprecated"),
    ]
    changed = await api.ask("PATCH", path, json={"versions": versions[::-1]})
    assert [v["label"] for v in changed["versions"]] == ["v1", "v2"]
    assert await api.ask("DELETE", path) == {"id": "acme/one", "deleted": True}
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        error = await api.error(method, path, json=body, status=404)
        assert error["code"] == "model_not_found"


async def test_a_model_exists_once_and_needs_a_provider(api: Api) -> None:
    await api.acme()
    await api.acme_model()
    given = {"model_id": "acme/one", "provider": "acme"}
    error = await api.error("POST", "/models", json=given, status=409)
    assert error["param"] == "model_id"
    given = {"model_id": "nobody/one", "provider": "nobody"}
    error = await api.error("POST", "/models", json=given, status=404)
    assert error["code"] == "provider_not_found"


async def test_models_are_listed_by_provider_switch_and_page(api: Api) -> None:
    await api.acme()
    given = {"name": "other", "base_url": "https://o.test", "credential": {"api_key": "k"}}
    await api.ask("POST", "/providers", json=given, status=201)
    for name in ("c", "a", "b"):
        await api.acme_model(name, is_available=name != "b")
    given = {"model_id": "other/x", "provider": "other"}
    await api.ask("POST", "/models", json=given, status=201)

    async def ids(**query: Any) -> list[str]:
        page = await api.ask("GET", "/models", params=query)
        return [m["model_id"] for m in page["data"]]

    assert await ids() == ["acme/a", "acme/b", "acme/c", "other/x"]
    assert await ids(provider="other") == ["other/x"]
    assert await ids(provider="acme", available=True) == ["acme/a", "acme/c"]
    assert await ids(available=False) == ["acme/b"]
    page = await api.ask("GET", "/models", params={"limit": 3})
    assert page["next"] == "acme/c"
    assert await ids(limit=3, after=page["next"]) == ["other/x"]
    assert (await api.ask("GET", "/models", params={"limit": 4}))["next"] is None
    error = await api.error("GET", "/models", params={"limit": 0}, status=400)
    assert error["param"] == "limit"


async def test_adapters_are_listed(api: Api) -> None:
    found = (await api.ask("GET", "/adapters"))["data"]
    assert found == [
        {"adapter_class": ACME, "provider": "acme", "models": 2},
        {"adapter_class": OTHER, "provider": "other", "models": 0},
    ]


async def test_the_state_is_shown(api: Api) -> None:
    before = await api.ask("GET", "/state")
    assert before["revision"] == 0
    assert before["versions"]["schema"] == schema.HEAD
    assert before["versions"]["database"].split()[0] in ("sqlite", "postgresql")
    await api.acme()
    await api.acme_model("a")
    await api.acme_model("b", is_available=False)
    key = await api.ask("POST", "/keys", json={"name": "n"}, status=201)
    await api.ask("POST", "/keys", json={"name": "n"}, status=201)
    await api.ask("POST", f"/keys/{key['key_id']}/revoke")
    after = await api.ask("GET", "/state")
    assert after["revision"] > 0
    assert after["counts"] == {
        "providers": 1,
        "endpoints": 1,
        "models": 2,
        "models_available": 1,
        "keys": 1,
    }


async def test_providers_and_endpoints_say_where_and_how_much(api: Api) -> None:
    settings = {"approve_new_models": True, "sync_every": 3600.0}
    made = await api.acme(
        country="RU", settings=settings, max_running=4, max_waiting=9, timeouts={"min_speed": 5.0}
    )
    assert (made["country"], made["settings"]) == ("RU", settings)
    (endpoint,) = made["endpoints"]
    assert (endpoint["max_running"], endpoint["max_waiting"]) == (4, 9)
    assert (endpoint["country"], endpoint["timeouts"]) == (None, {"min_speed": 5.0})
    path = "/providers/acme/endpoints/primary"
    patch = {"max_running": None, "max_waiting": 0, "country": "KZ"}
    changed = await api.ask("PATCH", path, json=patch)
    assert {name: changed[name] for name in patch} == patch
    changed = await api.ask("PATCH", "/providers/acme", json={"country": None})
    assert changed["country"] is None
    for bad, place in (({"country": "Kz"}, "country"), ({"max_running": -1}, "max_running")):
        assert (await api.error("PATCH", path, json=bad, status=400))["param"] == place
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"country": "RUS"}, "country"),
        ({"settings": {"x": 1}}, "settings.x"),
    ]
    for said, place in wrong:
        error = await api.error("PATCH", "/providers/acme", json=said, status=400)
        assert error["param"] == place


async def test_a_version_names_its_successor(api: Api) -> None:
    await api.acme()
    await api.acme_model("two")
    versions = [{"label": "v1", "upstream": "v1", "successor": "acme/two"}]
    made = await api.acme_model(versions=versions)
    assert made["versions"][0]["successor"] == "acme/two"


async def test_providers_come_in_parts(api: Api) -> None:
    for name in ("a", "b", "c"):
        await api.acme(name=name, adapter_class=ACME)
    first = await api.ask("GET", "/providers?limit=2")
    assert ([p["name"] for p in first["data"]], first["next"]) == (["a", "b"], "b")
    second = await api.ask("GET", "/providers?limit=2&after=b")
    assert ([p["name"] for p in second["data"]], second["next"]) == (["c"], None)
    error = await api.error("GET", "/providers?colour=red", status=400)
    assert error["code"] == "unknown_parameter"
