"""What the simulated OpenAI refuses, in its own words."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

CHAT = "/openai/v1/chat/completions"
EMBEDDINGS = "/openai/v1/embeddings"
SMALL = "text-embedding-3-small"
KEY = {"authorization": "Bearer sk-sandbox-1"}
WEATHER = {"type": "function", "function": {"name": "get_weather"}}


def asked(text: str = "Привет 👋 мир", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]} | more


async def refused(http: aiohttp.ClientSession, body: Any, path: str = CHAT) -> dict[str, Any]:
    async with http.post(path, json=body, headers=KEY) as reply:
        answer = await reply.json()
        assert reply.status >= 400, answer
        assert list(answer["error"]) == ["message", "type", "param", "code"]
        assert reply.headers["x-request-id"].startswith("req_")
        return {"status": reply.status, **answer["error"]}


def messages(*given: dict[str, Any]) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": list(given)}


CALLED = {
    "role": "assistant",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
USER = {"role": "user", "content": "hi"}
OPEN_SCHEMA = {"name": "s", "strict": True, "schema": {"type": "object", "properties": {}}}


@pytest.mark.parametrize("body,status,code,param,phrase",
    [
        ({"messages": [USER]}, 400, None, None, "model parameter"),
        (asked(model="gpt-9"), 404, "model_not_found", None, "`gpt-9` does not exist"),
        (asked(model=7), 400, "invalid_type", "model", "expected a string"),
        ({"model": "gpt-4o"}, 400, "missing_required_parameter", "messages", "'messages'"),
        (messages(), 400, "empty_array", "messages", "empty array"),
        (asked(foo=1), 400, None, None, "Unrecognized request argument supplied: foo"),
        (asked(foo=1, top_k=2), 400, None, None, "arguments supplied: foo, top_k"),
        (asked(reasoning_effort="low"), 400, None, None, "supplied: reasoning_effort"),
        (asked(temperature=3), 400, "decimal_above_max_value", "temperature", "<= 2"),
        (asked(temperature="hot"), 400, "invalid_type", "temperature", "got a string"),
        (asked(top_p=-0.1), 400, "decimal_below_min_value", "top_p", ">= 0"),
        (asked(n=0), 400, "integer_below_min_value", "n", ">= 1"),
        (asked(n=129), 400, "integer_above_max_value", "n", "<= 128"),
        (asked(stop=["a"] * 5), 400, "array_above_max_length", "stop", "length 4"),
        (asked(top_logprobs=2), 400, None, "top_logprobs", "'logprobs'"),
        (asked(logprobs=True, top_logprobs=21), 400, "integer_above_max_value", "top_logprobs", "20"),  # noqa: E501 - one row
        (asked(stream_options={}), 400, None, "stream_options", "when 'stream' is enabled"),
        (asked(tool_choice="auto"), 400, None, "tool_choice", "only allowed when 'tools'"),
        (asked(service_tier="gold"), 400, None, "service_tier", "Invalid service_tier"),
        (asked(verbosity="loud"), 400, "invalid_value", "verbosity", "'medium'"),
        (asked(model="o3", max_tokens=5), 400, "unsupported_parameter", "max_tokens", "Use 'max_completion_tokens' instead"),  # noqa: E501 - one row
        (asked(model="o3", temperature=0.2), 400, "unsupported_value", "temperature", "0.2"),
        (asked(model="o3", logprobs=True), 400, "unsupported_parameter", "logprobs", "logprobs"),
        (asked(response_format={"type": "json_object"}), 400, None, "messages", "word 'json'"),
        (asked(response_format={"type": "xml"}), 400, "invalid_value", "response_format.type", "'xml'"),  # noqa: E501 - one row
        (asked(response_format={"type": "json_schema", "json_schema": OPEN_SCHEMA}), 400, None, "response_format", "additionalProperties"),  # noqa: E501 - one row
        (asked(tools=[{"type": "function", "name": "f"}]), 400, "missing_required_parameter", "tools[0].function", "tools[0]"),  # noqa: E501 - one row
        (asked(tools=[{"type": "function", "function": {"name": "погода"}}]), 400, "invalid_value", "tools[0].function.name", "pattern"),  # noqa: E501 - one row
        (asked(tools=[WEATHER] * 129), 400, "array_above_max_length", "tools", "128"),
        (messages({"role": "bot", "content": "x"}), 400, "invalid_value", "messages[0].role", "'developer'"),  # noqa: E501 - one row
        (messages({"role": "user", "content": None}), 400, None, "messages[0].content", "got null"),
        (messages({"role": "user", "content": [{"type": "x"}]}), 400, "invalid_value", "messages[0].content[0].type", "'image_url'"),  # noqa: E501 - one row
        (messages(USER | {"reasoning_content": "x"}), 400, "unknown_parameter", "messages[0].reasoning_content", "Unknown parameter"),  # noqa: E501 - one row
        (messages(USER, {"role": "tool", "tool_call_id": "c", "content": "x"}), 400, None, "messages.[1].role", "'tool_calls'"),  # noqa: E501 - one row
        (messages(USER, CALLED, USER), 400, None, "messages.[2].role", "c1"),
        (messages(USER, CALLED, {"role": "tool", "tool_call_id": "c2", "content": "x"}), 400, None, "messages.[2].tool_call_id", "c2"),  # noqa: E501 - one row
        (asked("слово " * 9000, model="gpt-4"), 400, "context_length_exceeded", "messages", "maximum context length is 8192 tokens"),  # noqa: E501 - one row
        (asked(model="gpt-4", max_tokens=9000), 400, "context_length_exceeded", "messages", "9000 in the completion"),  # noqa: E501 - one row
        (asked(model="text-embedding-3-small"), 404, None, "model", "not a chat model"),
    ],
)  # fmt: skip
async def test_refusals(
    http: aiohttp.ClientSession,
    body: dict[str, Any],
    *,
    status: int,
    code: str | None,
    param: str | None,
    phrase: str,
) -> None:
    error = await refused(http, body)
    assert (error["status"], error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert phrase in error["message"]


async def test_keys(http: aiohttp.ClientSession) -> None:
    async with http.post(CHAT, json=asked()) as reply:
        assert reply.status == 401
        error = (await reply.json())["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", None)
    assert error["message"].startswith("You didn't provide an API key")
    wrong = {"authorization": "Bearer sk-proj-abcdefghijkl"}
    async with http.get("/openai/v1/models", headers=wrong) as reply:
        assert reply.status == 401
        error = (await reply.json())["error"]
    assert error["code"] == "invalid_api_key"
    assert "sk-pr***kl" in error["message"]
    assert "abcdefgh" not in error["message"]


async def test_a_key_without_quota(http: aiohttp.ClientSession) -> None:
    broke = {"authorization": "Bearer sk-sandbox-no-quota"}
    async with http.post(CHAT, json=asked(), headers=broke) as reply:
        assert reply.status == 429
        error = (await reply.json())["error"]
    assert error["type"] == error["code"] == "insufficient_quota"
    async with http.get("/openai/v1/models", headers=broke) as reply:
        assert reply.status == 200


async def test_broken_bodies_and_places(http: aiohttp.ClientSession) -> None:
    async with http.post(CHAT, data=b"{", headers=KEY) as reply:
        assert reply.status == 400
        assert "could not parse the JSON body" in (await reply.json())["error"]["message"]
    async with http.get(CHAT, headers=KEY) as reply:
        assert reply.status == 405
        assert (await reply.json())["error"]["code"] == "method_not_supported"
    error = await refused(http, {}, "/openai/v1/x")
    assert (error["status"], error["code"]) == (404, "unknown_url")
    assert "POST /v1/x" in error["message"]


@pytest.mark.parametrize(
    "body,param",
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1, "a"]}, "input[0]"),
        ({"input": "a", "dimensions": 1537}, "dimensions"),
        ({"input": "a", "model": "text-embedding-ada-002", "dimensions": 8}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a " * 9000}, "input"),
        ({"input": ["a"] * 2049}, "input"),
    ],
)
async def test_embeddings_refused(
    http: aiohttp.ClientSession, body: dict[str, Any], param: str
) -> None:
    error = await refused(http, {"model": SMALL} | body, EMBEDDINGS)
    assert (error["status"], error["param"]) == (400, param)
