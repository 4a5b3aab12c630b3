from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.edge.harness import (
    House,
    KeptResponses,
    OneKey,
    OneSnapshot,
    ScriptedFlow,
    chat_body,
    open_house,
)

from xrouter.edge.asgi import Receive, Scope, Send
from xrouter.edge.health import Health
from xrouter.edge.openapi import merge
from xrouter.edge.server import Door


async def test_health(house: House) -> None:
    assert (await house.call("GET", "/health/live")).json == {"status": "live"}
    ready = await house.call("GET", "/health/ready")
    assert ready.status == 200
    assert ready.json["status"] == "ready"
    assert ready.json["revision"] == 7
    house.door.health.draining = True
    leaving = await house.call("GET", "/health/ready")
    assert (leaving.status, leaving.json["status"]) == (503, "draining")


async def test_without_a_catalog_it_is_not_ready() -> None:
    health = Health(OneSnapshot(revision=-1), lambda: {"database": "away"})
    assert health.readiness().ready is False
    assert health.readiness().status == "starting"
    assert health.readiness().facts == {"database": "away"}


async def test_metrics(house: House) -> None:
    answer = await house.call("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.body == b"xrouter_up 1\n"


async def test_the_openapi_document(house: House) -> None:
    spec = (await house.call("GET", "/openapi.json")).json
    assert spec["openapi"] == "3.1.0"
    chat = spec["paths"]["/v1/chat/completions"]["post"]
    assert chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith(
        "/ChatRequest"
    )
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert spec["paths"]["/v1/models/{id}"]["get"]["parameters"][0]["name"] == "id"
    schemas = spec["components"]["schemas"]
    assert "xrouter.fields" not in schemas["ChatRequest"]["properties"]
    assert schemas["ChatRequest"]["required"] == ["model", "messages"]
    for ref in _refs(spec):
        assert ref.removeprefix("#/components/schemas/") in schemas


def _refs(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for value in node.values() for ref in _refs(value)]
    return [ref for value in node for ref in _refs(value)] if isinstance(node, list) else []


def test_documents_are_merged_and_ours_stays() -> None:
    ours: dict[str, Any] = {
        "info": {"title": "x"}, "paths": {"/a": 1}, "components": {"schemas": {"A": 1}}
    }  # fmt: skip
    other = {
        "info": {"title": "y"},
        "paths": {"/a": 2, "/b": 2},
        "components": {"schemas": {"A": 2, "B": 2}, "securitySchemes": {"S": 2}},
        "tags": [{"name": "t"}],
    }
    assert merge(ours, other) == {
        "info": {"title": "x"},
        "paths": {"/a": 1, "/b": 2},
        "components": {"schemas": {"A": 1, "B": 2}, "securitySchemes": {"S": 2}},
        "tags": [{"name": "t"}],
    }


async def test_the_reader_of_the_document_needs_no_other_host(house: House) -> None:
    page = await house.call("GET", "/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert b"<script>" not in page.body
    assert b"http" not in page.body.replace(b"http-equiv", b"")
    script = await house.call("GET", "/docs/app.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert b"://" not in script.body
    assert b"innerHTML" not in script.body
    style = await house.call("GET", "/docs/app.css")
    assert style.headers["content-type"].startswith("text/css")


async def other_app(scope: Scope, _receive: Receive, send: Send) -> None:
    body = json.dumps({"other": scope["path"]}).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


async def test_the_control_plane_gets_what_is_its_own() -> None:
    spec: dict[str, Any] = {"paths": {"/control/keys": {}}, "components": {}}
    async with open_house(fallback=other_app, other_openapi=lambda: spec) as house:
        other = await house.call("POST", "/control/v1/keys")
        assert other.json == {"other": "/control/v1/keys"}
        assert other.headers["x-request-id"].startswith("req_")
        for nowhere in ("/v1/nothing", "/nothing", "/controls", "//v1/chat/completions"):
            assert (await house.call("GET", nowhere)).status == 404
        assert (await house.chat(chat_body())).json["choices"]
        paths = (await house.call("GET", "/openapi.json")).json["paths"]
        assert {"/control/keys", "/v1/models"} <= paths.keys()


async def test_what_the_process_needs_lives_as_long_as_the_door() -> None:
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        seen.append("start")
        yield
        seen.append("stop")

    async with open_house(lifespan=lifespan) as house:
        assert seen == ["start"]
        assert (await house.chat(chat_body())).status == 200
    assert seen == ["start", "stop"]


@pytest.mark.parametrize("at", ["startup", "shutdown"])
async def test_a_start_or_stop_that_fails_is_told_to_the_server(at: str) -> None:
    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        if at == "startup":
            raise OSError("no disk")
        yield
        raise OSError("no disk")

    snapshots = OneSnapshot()
    door = Door(
        ScriptedFlow(),
        snapshots,
        OneKey(),
        bytes,
        Health(snapshots),
        responses=KeptResponses(),
        lifespan=lifespan,
    )
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "lifespan.any"}

    async def send(message: Any) -> None:
        sent.append(message)

    await door({"type": "lifespan"}, receive, send)
    assert sent[-1] == {"type": f"lifespan.{at}.failed", "message": "no disk"}
