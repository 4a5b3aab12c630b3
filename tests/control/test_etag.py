"""Writes that go only where the caller has seen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.control.conftest import Api

from xrouter.control.kit.etag import etag

ROUTE: dict[str, Any] = {"name": "bot", "targets": [{"model": "acme/one"}]}
OBJECTS: dict[str, Any] = {
    "provider": ("/providers/acme", {"display_name": "B"}, {"display_name": "C"}),
    "endpoint": ("/providers/acme/endpoints/primary", {"priority": 7}, {"priority": 8}),
    "model": ("/models/acme/one", {"context_length": 7}, {"context_length": 8}),
    "route": ("/routes/bot", {"display_name": "B"}, {"display_name": "C"}),
    "organization": ("/organizations/alfa", {"margin": 7}, {"margin": 8}),
    "project": ("/projects/alfa-bot", {"name": "B"}, {"name": "C"}),
}


@pytest.fixture(autouse=True)
async def catalog(api: Api) -> None:
    await api.acme()
    await api.acme_model()
    await api.ask("POST", "/routes", json=ROUTE, status=201)
    await api.ask("POST", "/organizations", json={"slug": "alfa", "name": "A"}, status=201)
    project = {"slug": "alfa-bot", "name": "A"}
    await api.ask("POST", "/organizations/alfa/projects", json=project, status=201)


async def seen(api: Api, path: str) -> str:
    """The tag that a reading gives, in the body and in the header alike."""
    reply = await api.http.get("/control/v1" + path)
    tag: str = reply.json()["etag"]
    assert reply.headers["etag"] == f'"{tag}"'
    return tag


@pytest.mark.parametrize("kind", OBJECTS)
async def test_only_the_first_of_two_who_saw_the_same_writes(api: Api, kind: str) -> None:
    path, mine, theirs = OBJECTS[kind]
    tag = await seen(api, path)
    given = {"if-match": f'"{tag}"'}
    changed = await api.ask("PATCH", path, json=mine, headers=given)
    assert changed["etag"] != tag
    assert changed["etag"] == await seen(api, path)
    error = await api.error("PATCH", path, json=theirs, headers=given, status=412)
    assert (error["code"], error["param"]) == ("precondition_failed", "if-match")
    assert "again" in error["hint"]
    if kind != "endpoint":
        await api.error("DELETE", path, headers=given, status=412)
    assert await seen(api, path) == changed["etag"]
    await api.ask("PATCH", path, json=theirs, headers={"if-match": changed["etag"]})


@pytest.mark.parametrize("kind", OBJECTS)
async def test_the_same_content_has_the_same_tag(api: Api, kind: str) -> None:
    path, change, _ = OBJECTS[kind]
    tag = await seen(api, path)
    before = await api.ask("GET", path)
    await api.ask("PATCH", path, json=change)
    assert await seen(api, path) != tag
    field = next(iter(change))
    await api.ask("PATCH", path, json={field: before[field]})
    assert await seen(api, path) == tag


async def test_what_is_seen_is_deleted(api: Api) -> None:
    for path in ("/routes/bot", "/models/acme/one", "/providers/acme/endpoints/primary"):
        await api.error("DELETE", path, headers={"if-match": '"of-old"'}, status=412)
        tag = await seen(api, path)
        await api.ask("DELETE", path, headers={"if-match": f'"other", "{tag}"'})
    await api.ask("DELETE", "/providers/acme", headers={"if-match": "*"})


async def test_a_new_credential_is_another_content(api: Api) -> None:
    provider = await seen(api, "/providers/acme")
    path = "/providers/acme/endpoints/primary"
    tag = await seen(api, path)
    await api.ask("PATCH", path, json={"credential": {"api_key": "k"}})
    assert await seen(api, path) == tag
    changed = await api.ask("PATCH", path, json={"credential": {"api_key": "new"}})
    assert changed["etag"] != tag
    assert await seen(api, "/providers/acme") != provider


async def test_what_is_made_has_a_tag(api: Api) -> None:
    made = await api.acme_model("two")
    assert made["etag"] == await seen(api, "/models/acme/two")
    standby = {"base_url": "https://s.test", "credential": {"api_key": "s"}}
    made = await api.ask("POST", "/providers/acme/endpoints", json=standby, status=201)
    assert made["etag"] == await seen(api, "/providers/acme/endpoints/standby-1")
    await api.error("GET", "/providers/acme/endpoints/none", status=404)


@pytest.mark.parametrize("kind", OBJECTS)
async def test_of_many_at_once_one_writes(api: Api, kind: str) -> None:
    path, change, _ = OBJECTS[kind]
    given = {"if-match": await seen(api, path)}
    field, value = next(iter(change.items()))

    async def write(number: int) -> int:
        new = f"N{number}" if isinstance(value, str) else 100 + number
        url = "/control/v1" + path
        return (await api.http.patch(url, json={field: new}, headers=given)).status_code

    assert sorted(await asyncio.gather(*map(write, range(5)))) == [200, 412, 412, 412, 412]


def test_the_order_of_fields_is_no_content() -> None:
    assert etag({"a": 1, "b": [1, 2]}) == etag({"b": [1, 2], "a": 1})
    assert etag({"b": [1, 2]}) != etag({"b": [2, 1]})
