"""What the simulated llama.cpp server refuses, in the words and with the status of the real one."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from tests.sandbox.llamacpp_caller import CALL, CHAT, ROOT, TOOL, USER, ask, asked

from xrouter.sandbox.llamacpp_model import ALIAS, SLOTS

BROKEN = CALL | {"function": {"name": "look", "arguments": "{oops"}}
WRONG = "[json.exception.type_error.302] type must be"


def history(call: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [USER, {"role": "assistant", "tool_calls": [call]}, USER]}


def tool(parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


@pytest.mark.parametrize(
    "body,status,phrase",
    [
        ({}, 400, "'messages' is required"),
        ({"messages": 1}, 400, "array"),
        ({"messages": [{"role": "user"}]}, 400, "must contain 'content'"),
        ({"messages": ["hi"]}, 400, "must contain 'content'"),
        ({"messages": [USER | {"content": 5}]}, 400, "to be a string or an array"),
        ({"messages": None}, 400, "Expected 'messages' to be an array"),
        ([USER], 400, "'messages' is required"),
        (history(BROKEN), 500, "Failed to parse tool call arguments as JSON"),
        (history({"type": "function"}), 500, 'call function: {"type":"function"}'),
        (history(CALL | {"id": 5}), 500, "messages: [json.exception.type_error.302] type must be"),
        ({"messages": [USER | {"content": [{"type": "x"}]}]}, 400, "unsupported content[].type"),
        ({"messages": [USER | {"content": [{"type": "image_url"}]}]}, 500, "mmproj"),
        ({"messages": [USER | {"reasoning_content": None}]}, 500, "Failed to parse messages"),
        ({"messages": [{"role": "assistant", "content": "x"}] * 2}, 400, "2 or more assistant"),
        (asked(tools=[{"type": "custom"}]), 500, "Unsupported tool type"),
        (asked(tools=[TOOL], tool_choice="any"), 400, "Invalid tool_choice: any"),
        (asked(n=SLOTS + 1), 400, "Field 'n': Value must be between 1 <= value <= 4, but got 5"),
        (asked(top_logprobs=1), 400, "requires logprobs"),
        (asked(tools=[TOOL], logprobs=True, stream=True), 400, "not supported with tools"),
        (asked(tools=[TOOL], grammar="root ::= x"), 400, "grammar"),
        (asked(json_schema={}, grammar="root ::= x"), 500, "both json_schema and grammar"),
        (asked(response_format={"type": "xml"}), 400, "but got: xml"),
        (asked(chat_template_kwargs={"enable_thinking": "no"}), 400, "enable_thinking"),
        (asked(n="two"), 400, f"Field 'n': {WRONG} number, but is string"),
        (asked(max_tokens=[]), 400, f"Field 'max_tokens': {WRONG} number, but is array"),
        (asked(temperature={}), 400, f"Field 'temperature': {WRONG} number, but is object"),
        (asked(top_k="many"), 400, f"Field 'top_k': {WRONG} number, but is string"),
        (asked(max_tokens=-2), 400, "Value must be between -1 <= value <= 2147483647, but got -2"),
        (asked(stop=["a", 5]), 400, f"Field 'stop': {WRONG} string, but is number"),
        (asked(stream=1), 400, f"Field 'stream': {WRONG} boolean, but is number"),
        (asked(stream_options={"include_usage": "x"}), 400, "Field 'include_usage': "),
        (asked(reasoning_format="odd"), 500, "Unknown reasoning format: odd"),
        (asked(reasoning_format=None), 500, f"{WRONG} string, but is null"),
        (asked(json_schema="x"), 400, "Field 'json_schema': \"json_schema\": JSON schema conv"),
        (asked(json_schema={"items": {"type": "odd"}}), 400, "at #/items: unrecognized type odd"),
        (asked(tools=[tool({"$ref": "#/a"})]), 400, "at #: cannot resolve $ref #/a, a not found"),
    ],
)
async def test_refusals(http: aiohttp.ClientSession, body: Any, status: int, phrase: str) -> None:
    error = (await ask(http, CHAT, body, status))["error"]
    assert set(error) == {"code", "message", "type"}
    assert error["code"] == status
    assert error["type"] == ("invalid_request_error" if status == 400 else "server_error")
    assert phrase in error["message"]


async def test_broken_json_is_a_server_error(http: aiohttp.ClientSession) -> None:
    async with http.post(ROOT + CHAT, data=b"{") as reply:
        assert reply.status == 500
        assert "parse error" in (await reply.json())["error"]["message"]


async def test_what_is_no_object_has_no_fields(http: aiohttp.ClientSession) -> None:
    bodies: list[Any] = [[], 5, "x", True]
    for body in bodies:
        assert await ask(http, "/tokenize", body) == {"tokens": []}
        error = (await ask(http, CHAT, body, 400))["error"]
        assert error["message"] == "'messages' is required"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [USER | {"content": None}],
        [USER | {"content": []}],
        [USER, {"role": "assistant", "content": None}, USER],
        [USER, {"role": "assistant", "tool_calls": {"a": CALL}}, USER],
    ],
)
async def test_odd_histories_that_are_taken(
    http: aiohttp.ClientSession, messages: list[Any]
) -> None:
    answer = await ask(http, CHAT, {"messages": messages})
    assert answer["choices"][0]["message"]["content"].startswith(f"This is {ALIAS}.")
