"""Whatever is in a body, GigaChat and Yandex answer in their own shapes, and never break."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from tests.sandbox import yandex_caller
from tests.sandbox.spoilt import JSON, spoilt
from tests.sandbox.test_gigachat import CALLED, CLOCK, RESULT, WEATHER
from tests.sandbox.test_gigachat import Caller as GigaChatCaller
from tests.sandbox.yandex_caller import uri

from xrouter.sandbox.kit import SandboxResponse
from xrouter.sandbox.yandex.models import FOLDER

USER = {"role": "user", "content": "f [[think:2]] [[words:5]]"}
SCHEMA = {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string"}}}}
CHATS: list[dict[str, Any]] = [
    {
        "model": "GigaChat-3-Ultra",
        "messages": [{"role": "system", "content": "be"}, USER, CALLED, RESULT, USER],
        "functions": [CLOCK, WEATHER, {"name": "f", "parameters": SCHEMA}],
        "function_call": {"name": "f", "partial_arguments": {"x": []}},
        "response_format": {"type": "json_schema", "schema": SCHEMA},
        "reasoning_effort": "low",
        "temperature": 0.5,
        "max_tokens": 20,
        "stream": True,
    },
    {
        "model": "GigaChat",
        "messages": [USER],
        "response_format": {"type": "json_schema", "schema": SCHEMA},
    },
    {"model": "Embeddings", "input": ["a", "b"]},
]
CALL = {"functionCall": {"name": "f", "arguments": {"x": []}}}
FUNCTION_RESULT = {"functionResult": {"name": "f", "content": "x"}}
NATIVE: list[dict[str, Any]] = [
    {
        "modelUri": uri("yandexgpt"),
        "completionOptions": {
            "stream": True,
            "temperature": 0.3,
            "maxTokens": "20",
            "reasoningOptions": {"mode": "ENABLED_HIDDEN"},
        },
        "messages": [
            {"role": "system", "text": "be"},
            {"role": "user", "text": "f"},
            {"role": "assistant", "toolCallList": {"toolCalls": [CALL]}},
            {"role": "user", "toolResultList": {"toolResults": [FUNCTION_RESULT]}},
            {"role": "user", "text": "f [[think:2]] [[emoji]] [[rewrite]]"},
        ],
        "tools": [{"function": {"name": "f", "parameters": SCHEMA}}],
        "toolChoice": {"functionName": "f"},
        "jsonSchema": {"schema": SCHEMA},
        "parallelToolCalls": True,
    },
    {
        "modelUri": uri("yandexgpt"),
        "messages": [{"role": "user", "text": "a"}],
        "jsonSchema": {"schema": SCHEMA},
    },
    {"modelUri": uri("text-search-doc", "emb"), "text": "a", "dim": 256},
    {"modelUri": uri("yandexgpt"), "text": "a"},
]
TOOL_CALL = {"id": "f", "type": "function", "function": {"name": "f", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
COMPATIBLE: list[dict[str, Any]] = [
    {
        "model": uri("gemma-3-27b-it"),
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
            {"role": "tool", "tool_call_id": "f", "content": "x"},
            {"role": "user", "content": [{"type": "text", "text": "f"}, IMAGE]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "temperature": 0.5,
        "max_tokens": 20,
        "stream": True,
    },
    {
        "model": uri("yandexgpt"),
        "messages": [USER],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": SCHEMA},
        },
    },
    {"model": uri("text-search-doc", "emb"), "input": ["a"], "encoding_format": "float"},
]


def sound(response: SandboxResponse) -> None:
    """Answered or refused as the provider would; what was answered is JSON."""
    if response.on_close is not None:
        response.on_close(len(response.frames or [b""]))
    if response.frames is None:
        body = json.loads(response.body)
        assert response.status == 200 or "message" in body or "message" in body["error"]
        assert response.status < 500
    for frame in response.frames or []:
        data = frame.removeprefix(b"data: ")
        assert data == b"[DONE]\n\n" or json.loads(data)


@given(body=spoilt(CHATS) | JSON)
@settings(deadline=None, max_examples=200)
def test_gigachat(body: Any) -> None:
    async def run() -> None:
        caller = GigaChatCaller()
        await caller.login()
        for path in ("chat/completions", "embeddings", "tokens/count"):
            sound(await caller.call(f"/v1/{path}", msgspec.json.encode(body)))
        assert caller.simulator.slots.running("b2b-one") == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    "bodies, paths",
    [
        (
            NATIVE,
            [
                *("completion", "completionAsync", "tokenizeCompletion"),
                *("tokenize", "textEmbedding"),
            ],
        ),
        (COMPATIBLE, ["/v1/chat/completions", "/v1/embeddings"]),
        ([{"jwt": "a.b.c"}], ["/iam/v1/tokens", "/_accounts"]),
    ],
)
def test_yandex(bodies: list[dict[str, Any]], paths: list[str]) -> None:
    async def run(body: Any) -> None:
        caller = yandex_caller.Caller()
        for path in paths:
            full = path if path.startswith("/") else f"/foundationModels/v1/{path}"
            sound(await caller.native(full, msgspec.json.encode(body)))
        assert caller.simulator.slots.running(FOLDER) == 0

    @given(body=spoilt(bodies) | JSON)
    @settings(deadline=None, max_examples=200)
    def whatever(body: Any) -> None:
        asyncio.run(run(body))

    whatever()
