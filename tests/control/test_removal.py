"""Nothing goes that somebody refers to."""

from __future__ import annotations

from typing import Any

import pytest
from tests.control.conftest import Api

Json = dict[str, Any]


@pytest.fixture(autouse=True)
async def catalog(api: Api) -> None:
    await api.acme()
    given = {"name": "other", "base_url": "https://o.test", "credential": {"api_key": "k"}}
    await api.ask("POST", "/providers", json=given, status=201)
    versions = [
        {"label": "v2", "upstream": "v2", "channel": "latest"},
        {"label": "v1", "upstream": "v1", "channel": "beta"},
    ]
    for name in ("one", "two", "three"):
        await api.acme_model(name, versions=versions)
    given = {"model_id": "other/x", "provider": "other"}
    await api.ask("POST", "/models", json=given, status=201)


async def route(api: Api, name: str, *targets: str, **more: Any) -> None:
    given = {"name": name, "targets": [{"model": target} for target in targets], **more}
    await api.ask("POST", "/routes", json=given, status=201)


async def missed(api: Api, path: str, *users: str, **change: Any) -> None:
    """It cannot go, and the error names those who would miss it."""
    method = "PATCH" if change else "DELETE"
    error = await api.error(method, path, status=409, **({"json": change} if change else {}))
    assert error["code"] == "in_use"
    assert f": {', '.join(users)}." in error["message"]
    assert error["hint"]


@pytest.mark.parametrize("name", ["acme/one", "acme/one:v1", "acme/one:latest", "acme/one:rc"])
async def test_a_model_that_a_route_leads_to(api: Api, name: str) -> None:
    await route(api, "b", "acme/two", name)
    await route(api, "a", "acme/two", name)
    await missed(api, "/models/acme/one", "route/a", "route/b")
    await missed(api, "/providers/acme", "route/a", "route/b")
    await api.ask("DELETE", "/routes/a")
    await api.ask("PATCH", "/routes/b", json={"targets": [{"model": "acme/two"}]})
    await api.ask("DELETE", "/models/acme/one")


@pytest.mark.parametrize("chain", ["fallbacks", "on_overflow", "on_refusal"])
async def test_a_model_that_policies_name(api: Api, chain: str) -> None:
    await route(api, "a", "acme/two", policy={chain: ["acme/one:v1"]})
    await api.ask("PATCH", "/models/other/x", json={"policy": {chain: ["acme/one"]}})
    settings = {"settings": {"policy": {chain: ["acme/one:latest"]}}}
    await api.ask("PATCH", "/providers/other", json=settings)
    await missed(api, "/models/acme/one", "other/x", "route/a", "the provider other")


async def test_of_many_users_the_first_are_named(api: Api) -> None:
    for name in "gfedcba":
        await route(api, name, "acme/one")
    named = [f"route/{name}" for name in "abcd"]
    await missed(api, "/models/acme/one", *named, "route/e and 2 more")


async def test_those_who_go_together_do_not_miss_each_other(api: Api) -> None:
    await api.ask("PATCH", "/models/acme/one", json={"policy": {"fallbacks": ["acme/two"]}})
    await api.ask("PATCH", "/models/acme/two", json={"policy": {"fallbacks": ["acme/two:v1"]}})
    settings = {"settings": {"policy": {"fallbacks": ["acme/three"]}}}
    await api.ask("PATCH", "/providers/acme", json=settings)
    await missed(api, "/models/acme/two", "acme/one")
    await missed(api, "/models/acme/three", "the provider acme")
    await api.ask("DELETE", "/providers/acme")


async def test_a_longer_id_is_no_version_of_a_shorter_one(api: Api) -> None:
    await api.acme_model("one:free")
    await route(api, "a", "acme/one:free")
    await api.ask("DELETE", "/models/acme/one")
    await missed(api, "/models/acme/one:free", "route/a")


async def test_a_route_and_its_aliases(api: Api) -> None:
    await route(api, "inner", "acme/one", aliases=["auto", "fast"])
    await route(api, "outer", "auto")
    await api.ask("PATCH", "/models/acme/two", json={"policy": {"fallbacks": ["route/inner"]}})
    await missed(api, "/routes/inner", "acme/two", "route/outer")
    error = await api.error("DELETE", "/routes/inner", status=409)
    assert "The names 'auto' and 'route/inner' cannot go" in error["message"]
    await api.ask("PATCH", "/routes/outer", json={"targets": [{"model": "acme/one"}]})
    error = await api.error("DELETE", "/routes/inner", status=409)
    assert "The name 'route/inner' cannot go" in error["message"], "not one that nobody needs"
    await api.ask("PATCH", "/routes/outer", json={"targets": [{"model": "auto"}]})
    await missed(api, "/routes/inner", "route/outer", aliases=["fast"])
    await api.ask("PATCH", "/routes/inner", json={"aliases": ["auto"]})
    await api.ask("DELETE", "/routes/outer")
    await api.ask("PATCH", "/models/acme/two", json={"policy": {}})
    await api.ask("DELETE", "/routes/inner")


async def test_a_version_that_is_named(api: Api) -> None:
    await route(api, "a", "acme/one:v1")
    await route(api, "b", "acme/two:beta", "acme/one:latest")
    new = [{"label": "v3", "upstream": "v3"}]
    await missed(api, "/models/acme/one", "route/a", versions=new)
    await missed(api, "/models/acme/two", "route/b", versions=new)
    kept = [*new, {"label": "v1", "upstream": "v1"}]
    changed = await api.ask("PATCH", "/models/acme/one", json={"versions": kept})
    assert [version["label"] for version in changed["versions"]] == ["v3", "v1"]


async def test_an_endpoint_that_a_route_names(api: Api) -> None:
    given = {"name": "far", "base_url": "https://f.test", "credential": {"api_key": "s"}}
    for provider in ("acme", "other"):
        await api.ask("POST", f"/providers/{provider}/endpoints", json=given, status=201)
    target = {"model": "acme/one", "endpoint": "far"}
    await api.ask("POST", "/routes", json={"name": "a", "targets": [target]}, status=201)
    await missed(api, "/providers/acme/endpoints/far", "route/a")
    await api.ask("DELETE", "/providers/other/endpoints/far")
    await api.ask("DELETE", "/providers/acme/endpoints/primary")
