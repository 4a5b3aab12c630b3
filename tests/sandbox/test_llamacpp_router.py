"""The simulated llama.cpp server of several models, with chat templates of all kinds."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from tests.sandbox.llamacpp_caller import BARE_TOOL, CALL, CHAT, TOOL, USER

from xrouter.sandbox.llamacpp_model import ROUTED

ROOT = "/llamacpp-router"
GEMMA_2, GEMMA_3, MISTRAL = "gemma-2-9b-it", "gemma-3-4b-it", "nemo-12b-instruct"
BARE, QWEN = "tinyllama-1.1b-chat", "qwen3-8b"
SYSTEM = {"role": "system", "content": "Be brief"}
SAID = {"role": "assistant", "content": "yo"}
NINE = CALL | {"id": "aB3aB3aB3"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def called(call: dict[str, Any]) -> list[dict[str, Any]]:
    result = {"role": "tool", "tool_call_id": call["id"], "content": "42"}
    return [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, result]


async def ask(http: aiohttp.ClientSession, path: str, body: Any, status: int = 200) -> Any:
    async with http.post(ROOT + path, json=body) as reply:
        assert reply.status == status, await reply.text()
        return await reply.json()


async def get(http: aiohttp.ClientSession, path: str, status: int = 200) -> Any:
    async with http.get(ROOT + path) as reply:
        assert reply.status == status
        return await reply.json()


async def test_its_models_and_itself(http: aiohttp.ClientSession) -> None:
    listed = (await get(http, "/v1/models"))["data"]
    assert [entry["id"] for entry in listed] == list(ROUTED)
    assert {entry["status"]["value"] for entry in listed} == {"loaded"}
    itself = await get(http, "/props")
    assert itself["role"] == "router"
    assert "chat_template" not in itself
    for name, model in ROUTED.items():
        props = await get(http, f"/props?model={name}")
        assert props["model_alias"] == name
        assert props["chat_template_caps"]["supports_tools"] is model.template.tools
        assert props["modalities"]["vision"] is (name == GEMMA_3)
        answer = await ask(http, CHAT, {"model": name, "messages": [USER]})
        assert answer["model"] == name
    assert "alternate" in (await get(http, f"/props?model={GEMMA_3}"))["chat_template"]
    assert "length 9" in (await get(http, f"/props?model={MISTRAL}"))["chat_template"]


@pytest.mark.parametrize("path", [CHAT, "/apply-template", "/tokenize"])
async def test_a_model_must_be_named_and_known(http: aiohttp.ClientSession, path: str) -> None:
    error = (await ask(http, path, {"messages": [USER]}, 400))["error"]
    assert error["message"] == "model name is missing from the request"
    error = (await ask(http, path, {"model": "x", "messages": [USER]}, 400))["error"]
    assert error["message"] == "model 'x' not found"
    assert "not found" in (await get(http, "/props?model=x", 400))["error"]["message"]
    assert "missing" in (await get(http, "/slots", 400))["error"]["message"]


@pytest.mark.parametrize(
    "model,messages,words",
    [
        (GEMMA_2, [USER, USER], "Conversation roles must alternate"),
        (GEMMA_2, [SYSTEM, USER, SAID, SYSTEM, USER], "Conversation roles must alternate"),
        (GEMMA_3, [SAID], "Conversation roles must alternate"),
        (GEMMA_3, [*called(CALL)[:2], USER, USER], "Conversation roles must alternate"),
        (MISTRAL, [USER, USER], "After the optional system message"),
        (MISTRAL, [SYSTEM, SYSTEM, USER], "After the optional system message"),
        (MISTRAL, [*called(NINE), USER], "After the optional system message"),
        (MISTRAL, called(CALL), "alphanumeric strings with length 9"),
    ],
)
async def test_orders_that_a_template_does_not_take(
    http: aiohttp.ClientSession, model: str, messages: list[Any], words: str
) -> None:
    for path in (CHAT, "/apply-template"):
        error = (await ask(http, path, {"model": model, "messages": messages}, 400))["error"]
        assert error["type"] == "invalid_request_error"
        assert "Jinja Exception: " + words in error["message"] or words in error["message"]
    assert await ask(http, CHAT, {"model": QWEN, "messages": messages})


@pytest.mark.parametrize(
    "model,messages,prompt",
    [
        (GEMMA_2, [SYSTEM, USER], "<|im_start|>user\nBe brief\nhi<|im_end|>\n"),
        (GEMMA_2, [SYSTEM], ""),
        (GEMMA_3, [SYSTEM, USER], "<|im_start|>user\nBe brief\n\nhi<|im_end|>\n"),
        (GEMMA_3, [SYSTEM], ""),
        (BARE, [*called(CALL)[1:2], USER], "<|im_start|>assistant\n<|im_end|>\n"),
    ],
)
async def test_prompts(
    http: aiohttp.ClientSession, model: str, messages: list[Any], prompt: str
) -> None:
    body = {"model": model, "messages": messages, "tools": [TOOL]}
    assert (await ask(http, "/apply-template", body))["prompt"].startswith(
        prompt + "<|im_start|>"
    ), "tools are not in it"


async def test_tools_are_ignored_where_the_template_knows_none(
    http: aiohttp.ClientSession,
) -> None:
    asked = {"messages": [{"role": "user", "content": "look"}], "tools": [TOOL]}
    for name, model in ROUTED.items():
        answer = await ask(http, CHAT, asked | {"model": name, "tool_choice": "required"})
        calls = answer["choices"][0]["message"].get("tool_calls", [])
        assert bool(calls) is model.template.tools
    assert await ask(http, CHAT, {"model": MISTRAL, "messages": called(NINE), "tools": [BARE_TOOL]})


async def test_only_a_model_with_a_projector_sees(http: aiohttp.ClientSession) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, IMAGE]}]
    assert await ask(http, CHAT, {"model": GEMMA_3, "messages": messages})
    error = (await ask(http, CHAT, {"model": GEMMA_2, "messages": messages}, 500))["error"]
    assert "mmproj" in error["message"]
    messages = [{"role": "user", "content": [{"type": "image_url"}]}]
    error = (await ask(http, CHAT, {"model": GEMMA_3, "messages": messages}, 400))["error"]
    assert "url" in error["message"]


ONE = {"type": "object", "properties": {"name": {"const": "look"}, "at": {"type": "string"}}}
OTHER = {"type": "object", "properties": {"name": {"const": "wait"}}}
SAY = {"type": "object", "properties": {"response": {"type": "string"}}}
CALLS = {
    "type": "object",
    "properties": {"calls": {"type": "array", "items": {"anyOf": [OTHER, ONE]}}},
}


@pytest.mark.parametrize(
    "text,expected",
    [
        ("please look", {"calls": [{"name": "look", "at": "sample"}]}),
        ("wait", {"calls": [{"name": "wait"}]}),
        ("hello", {"response": "This is gemma-3-4b-it. You said: hello"}),
        (
            "Tool result for look: 42",
            {"response": "This is gemma-3-4b-it. You said: Tool result for look: 42"},
        ),
    ],
)
async def test_of_alternatives_it_says_what_the_user_speaks_of(
    http: aiohttp.ClientSession, text: str, expected: Any
) -> None:
    schema = {"anyOf": [CALLS, SAY]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    body = {"model": GEMMA_3, "messages": [{"role": "user", "content": text}]}
    answer = await ask(http, CHAT, body | {"response_format": form})
    assert json.loads(answer["choices"][0]["message"]["content"]) == expected
