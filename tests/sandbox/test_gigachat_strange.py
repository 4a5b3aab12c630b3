"""Whatever is in a body, the simulated GigaChat answers in its own shapes, and never breaks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from tests.sandbox.spoilt import JSON, spoilt
from tests.sandbox.test_gigachat import CLOCK, WEATHER, Caller
from tests.sandbox.test_gigachat_files import upload
from tests.sandbox.test_gigachat_v2 import SCHEMA, TOOLS, called, result, user

from xrouter.sandbox.kit import SandboxResponse

USER = {"role": "user", "content": "get_time [[think:2]]"}
CALLED = {
    "role": "assistant",
    "content": "",
    "function_call": {"name": "get_time", "arguments": {}},
}
RESULT = {"role": "function", "name": "get_time", "content": "{}"}
FIRST: list[dict[str, Any]] = [
    {
        "model": "GigaChat-3-Ultra",
        "messages": [{"role": "system", "content": "be"}, USER, CALLED, RESULT, USER],
        "functions": [CLOCK, WEATHER],
        "function_call": {"name": "get_time", "partial_arguments": {}},
        "response_format": {"type": "json_schema", "schema": SCHEMA},
        "reasoning_effort": "low",
        "stream": True,
    },
    {"model": "GigaChat-2-Max", "messages": [USER | {"attachments": ["FILE"]}]},
    {"name": "f", "parameters": SCHEMA},
    {"paths": {"/a": {"get": {"operationId": "a", "parameters": [{"name": "b"}]}}}},
    {"model": "GigaFilter", "messages": [USER], "input": "text"},
]
SECOND: list[dict[str, Any]] = [
    {
        "model": "GigaChat-3-Ultra",
        "messages": [user("get_time"), called("a", "b"), result("a", "b"), user("get_time")],
        "tools": [*TOOLS, {"web_search": {"type": "x"}}],
        "tool_config": {"mode": "any", "functions_names_any": ["get_time"]},
        "model_options": {
            "temperature": 0.5,
            "parallel_tool_calls": True,
            "reasoning": {"effort": "low"},
            "response_format": {"type": "json_schema", "schema": SCHEMA},
        },
        "stream": True,
    },
    {
        "model": "GigaChat-3-Ultra",
        "messages": [
            {"role": "user", "content": [{"text": "draw"}, {"files": [{"id": "FILE"}]}]},
        ],
        "tools": [{"image_generate": {}}],
        "tool_config": {"mode": "forced", "tool_name": "image_generate"},
    },
]
PATHS = ("chat/completions", "functions/validate", "functions/convert", "ai/check", "filter/check")


def sound(response: SandboxResponse) -> None:
    """Answered, or refused as GigaChat would; what was answered is JSON."""
    if response.on_close is not None:
        response.on_close(len(response.frames or [b""]))
    if response.frames is None:
        body = json.loads(response.body)
        assert response.status == 200 or list(body) == ["status", "message"]
        assert response.status < 500
    for frame in response.frames or []:
        data = frame.partition(b"data: ")[2]
        assert data == b"[DONE]\n\n" or json.loads(data)


@pytest.mark.parametrize(
    "bodies, paths",
    [(FIRST, [f"/v1/{path}" for path in PATHS]), (SECOND, ["/v2/chat/completions"])],
    ids=["first", "second"],
)
def test_bodies(bodies: list[dict[str, Any]], paths: list[str]) -> None:
    async def run(body: Any) -> None:
        caller = Caller()
        await caller.login()
        raw = msgspec.json.encode(body).replace(b"FILE", (await upload(caller)).encode())
        for path in paths:
            sound(await caller.call(path, raw))
        assert caller.simulator.slots.running("b2b-one") == 0

    @given(body=spoilt(bodies) | JSON)
    @settings(deadline=None, max_examples=300)
    def whatever(body: Any) -> None:
        asyncio.run(run(body))

    whatever()
