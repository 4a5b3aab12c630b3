"""The sandbox's llama.cpp answers as the real one does: status, type of error, shape of frames.

What a real server says depends on its model; so what is compared is the form.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.llamacpp.server import LlamaServer

from xrouter.sandbox.server import running
from xrouter.wire.client import Client
from xrouter.wire.types import Route, WireReply, WireRequest

pytestmark = [pytest.mark.real_llamacpp, pytest.mark.timeout(120, func_only=True)]

CHAT = "/v1/chat/completions"
NATIVE = "/completion"
USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant"}
CALL = {"id": "c1", "type": "function", "function": {"name": "wait", "arguments": "{}"}}
WAIT = {"type": "function", "function": {"name": "wait"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "one", "schema": {"enum": ["a"]}}}
COUNTED = {"stream": True, "stream_options": {"include_usage": True}}

Body = dict[str, Any]


def called(**changes: Any) -> list[Body]:
    """A history with a call of a tool."""
    return [USER, ASSISTANT | {"tool_calls": [CALL | changes]}, USER]


def function(**fields: Any) -> list[Body]:
    return called(function=fields)


def formed(schema: Any) -> Body:
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    }


def part(**fields: Any) -> list[Body]:
    return [{"role": "user", "content": [fields]}]


HISTORIES: dict[str, Any] = {
    "no message": [],
    "messages are an object": {},
    "messages are text": "hi",
    "messages are null": None,
    "message is text": ["hi"],
    "message is null": [None],
    "no content": [{"role": "user"}],
    "null content": [{"role": "user", "content": None}],
    "empty content": [{"role": "user", "content": []}],
    "content is a number": [{"role": "user", "content": 5}],
    "content is an object": [{"role": "user", "content": {}}],
    "no role": [{"content": "hi"}],
    "role is a number": [{"role": 5, "content": "hi"}],
    "role is null": [{"role": None, "content": "hi"}],
    "unknown role": [{"role": "poet", "content": "hi"}],
    "null name": [USER | {"name": None}],
    "name is a number": [USER | {"name": 5}],
    "null id of a call": [USER | {"tool_call_id": None}],
    "null reasoning": [USER, ASSISTANT | {"content": "a", "reasoning_content": None}, USER],
    "developer": [{"role": "developer", "content": "a"}, USER],
    "unknown part": part(type="smell"),
    "part is text": [{"role": "user", "content": ["a"]}],
    "part without type": part(text="a"),
    "part without text": part(type="text"),
    "part with null text": part(type="text", text=None),
    "image": [{"role": "user", "content": [IMAGE]}],
    "prefill": [USER, ASSISTANT | {"content": "so"}],
    "null prefill": [USER, ASSISTANT | {"content": None}],
    "prefill of a call": [USER, ASSISTANT | {"tool_calls": [CALL]}],
    "two prefills": [ASSISTANT | {"content": "a"}] * 2,
    "assistant says nothing": [USER, ASSISTANT, USER],
    "assistant says null": [USER, ASSISTANT | {"content": None}, USER],
    "tool turn": [
        USER,
        ASSISTANT | {"tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ],
    "no calls": [USER, ASSISTANT | {"tool_calls": []}, USER],
    "calls are an object": [USER, ASSISTANT | {"tool_calls": {"a": CALL}}, USER],
    "calls are text": [USER, ASSISTANT | {"tool_calls": "x"}, USER],
    "call without type": [USER, ASSISTANT | {"tool_calls": [{"id": "c"}]}, USER],
    "call of a custom tool": called(type="custom"),
    "call without function": [USER, ASSISTANT | {"tool_calls": [{"type": "function"}]}, USER],
    "call with null function": called(function=None),
    "call with null id": called(id=None),
    "call without name": function(arguments="{}"),
    "call with a number as name": function(name=5, arguments="{}"),
    "call without arguments": function(name="wait"),
    "call with null arguments": function(name="wait", arguments=None),
    "call with broken arguments": function(name="wait", arguments="{oops"),
    "call with empty arguments": function(name="wait", arguments=""),
    "call with an object of arguments": function(name="wait", arguments={}),
}

FIELDS: dict[str, list[Any]] = {
    "n": ["two", 1.5, True, 0, -1, [], {}, 99, None],
    "n_cmpl": ["x", 99],
    "max_tokens": ["x", 1.5, True, 0, -5, []],
    "max_completion_tokens": ["x", 1.7],
    "n_predict": ["x"],
    "temperature": ["x", True, -1, 5],
    "top_p": ["x", 5],
    "top_k": ["many", 1.5, -3],
    "min_p": [{}],
    "seed": ["x", 1.5, -1],
    "presence_penalty": ["x", 9],
    "sse_ping_interval": ["x"],
    "stop": [5, {}, [5], [True], ["a", None], [[]], None],
    "stream": ["yes", 1, [], None],
    "stream_options": ["x", [], {"include_usage": "x"}, {"include_usage": None}],
    "logprobs": ["x", 2, 1.5, False],
    "n_probs": ["x", 2],
    "model": [5, []],
    "cache_prompt": ["x"],
    "ignore_eos": [0],
    "reasoning_format": ["odd", 5, [], None, "none", "auto", "deepseek"],
    "chat_template_kwargs": ["x", {"enable_thinking": "x"}, {"enable_thinking": False}],
    "parallel_tool_calls": ["x"],
    "tool_choice": ["perhaps", 5, {}],
    "tools": ["x", {}, ["x"], [{}], [{"type": "custom"}], [{"type": "function"}], []],
    "response_format": ["x", {}, {"type": 5}, {"type": "poem"}, {"type": "json_schema"}, SCHEMA],
    "json_schema": ["x", 5, {"type": "odd"}, {"enum": ["a"]}],
    "unknown": ["x"],
}

TOOLS: list[Any] = [
    {},
    {"name": 5},
    {"name": "a", "description": 5},
    {"name": "a", "parameters": 5},
    {"name": "a", "parameters": {"type": "odd"}},
]

SCHEMAS: list[Any] = [
    5,
    [],
    {"type": "odd"},
    {"type": 5},
    {"type": []},
    {"type": ["string", "odd"]},
    {"enum": []},
    {"enum": 5},
    {"enum": ["a"], "type": "odd"},
    {"const": 1, "type": "odd"},
    {"properties": 5},
    {"properties": {"a": True}},
    {"properties": {"a": {"properties": {"b": {"type": "odd"}}}}},
    {"type": "object", "additionalProperties": {"type": "odd"}},
    {"type": "object", "additionalProperties": 5},
    {"type": "string", "properties": 5},
    {"type": "array", "items": {"type": "odd"}},
    {"type": "array", "items": [{"type": "odd"}]},
    {"type": "array", "items": {}, "minItems": "x"},
    {"prefixItems": [{"type": "odd"}]},
    {"anyOf": []},
    {"anyOf": 5},
    {"anyOf": [{"type": "string"}, {"type": "odd"}]},
    {"allOf": [{"type": "odd"}]},
    {"$ref": 5},
    {"$ref": "#"},
    {"$ref": "#/x"},
    {"$ref": "http://h/x"},
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": "odd"}}},
    {"$defs": {"a": {"type": "odd"}}},
    {"type": "string", "minLength": "x"},
    {"type": "string", "maxLength": -1},
    {"type": "string", "pattern": 5},
    {"type": "integer", "minimum": "x"},
    {"type": "number", "minimum": "x"},
]

BODIES: dict[str, tuple[str, Body]] = {
    "chat": (CHAT, {"messages": [USER]}),
    "no messages": (CHAT, {}),
    "tools and grammar": (CHAT, {"messages": [USER], "tools": [WAIT], "grammar": 'root ::= "a"'}),
    "grammar and schema": (CHAT, {"messages": [USER], "grammar": "x", "json_schema": {}}),
    "likelihoods": (CHAT, {"messages": [USER], "logprobs": True}),
    "two likelihoods": (CHAT, {"messages": [USER], "logprobs": True, "top_logprobs": 2}),
    "no likelihoods": (CHAT, {"messages": [USER], "logprobs": True, "top_logprobs": 0}),
    "less than none": (CHAT, {"messages": [USER], "logprobs": True, "top_logprobs": -1}),
    "odd likelihoods": (CHAT, {"messages": [USER], "logprobs": True, "top_logprobs": "x"}),
    "only top likelihoods": (CHAT, {"messages": [USER], "top_logprobs": 2}),
    "top likelihoods of a number": (CHAT, {"messages": [USER], "logprobs": 5, "top_logprobs": 2}),
    "streamed likelihoods of tools": (
        CHAT,
        {"messages": [USER], "logprobs": True, "tools": [WAIT], "stream": True},
    ),
    "two alternatives": (CHAT, {"messages": [USER], "n": 2}),
    "its own name of them": (CHAT, {"messages": [USER], "n": "x", "n_cmpl": 2}),
    "two limits": (CHAT, {"messages": [USER], "max_completion_tokens": 2, "max_tokens": "x"}),
    "stream": (CHAT, {"messages": [USER], "stream": True}),
    "stream with usage": (CHAT, {"messages": [USER]} | COUNTED),
    "two streamed alternatives": (CHAT, {"messages": [USER], "n": 2, "stream": True}),
    "two streamed alternatives with usage": (CHAT, {"messages": [USER], "n": 2} | COUNTED),
    "stream with likelihoods": (
        CHAT,
        {"messages": [USER], "stream": True, "logprobs": True, "top_logprobs": 1},
    ),
    "stream without likelihoods": (
        CHAT,
        {"messages": [USER], "stream": True, "logprobs": True, "top_logprobs": 0},
    ),
    "schema of a tool that may not be called": (
        CHAT,
        {
            "messages": [USER],
            "tool_choice": "none",
            "tools": [{"type": "function", "function": {"name": "a", "parameters": 5}}],
        },
    ),
    "count": (CHAT + "/input_tokens", {"messages": [USER]}),
    "count with a wrong field": (CHAT + "/input_tokens", {"messages": [USER], "n": "x"}),
    "count of a wrong format": (
        CHAT + "/input_tokens",
        {"messages": [USER], "reasoning_format": "odd"},
    ),
    "template": ("/apply-template", {"messages": [USER]}),
    "template with a wrong field": ("/apply-template", {"messages": [USER], "stream": "x"}),
    "completion without prompt": (NATIVE, {}),
    "completion of nothing": (NATIVE, {"prompt": []}),
    "completion of null": (NATIVE, {"prompt": None}),
    "completion of a number": (NATIVE, {"prompt": 5}),
    "completion with a wrong field": (NATIVE, {"prompt": "a", "n": "x"}),
    "completion with a wrong schema": (NATIVE, {"prompt": "a", "json_schema": {"type": "odd"}}),
    "tokenize": ("/tokenize", {"content": "hi"}),
    "detokenize": ("/detokenize", {"tokens": []}),
    "embeddings": ("/v1/embeddings", {"input": "hi"}),
    "nothing there": ("/v1/nothing", {}),
}
BODIES |= {name: (CHAT, {"messages": given}) for name, given in HISTORIES.items()}
BODIES |= {
    f"{name}={json.dumps(value)}": (CHAT, {"messages": [USER], name: value})
    for name, values in FIELDS.items()
    for value in values
}
BODIES |= {
    f"tool {json.dumps(given)}": (
        CHAT,
        {"messages": [USER], "tools": [{"type": "function", "function": given}]},
    )
    for given in TOOLS
}
BODIES |= {
    f"schema {json.dumps(given)}": (CHAT, {"messages": [USER]} | formed(given)) for given in SCHEMAS
}


@pytest.fixture
async def sandbox() -> AsyncIterator[str]:
    async with running() as url:
        yield f"{url}/llamacpp"


async def asked(client: Client, base: str, path: str, body: bytes) -> WireReply:
    wire = WireRequest("POST", base + path, {"content-type": "application/json"}, body)
    return await client.fetch(wire, Route(), timeout=60)


@pytest.mark.parametrize("what", BODIES)
async def test_it_answers_in_the_same_form(
    client: Client, server: LlamaServer, sandbox: str, what: str
) -> None:
    path, body = BODIES[what]
    limited = {"max_tokens": 4, "temperature": 0, "logit_bias": {"3": -100}} | body
    raw = json.dumps(limited).encode()
    real, simulated = [await asked(client, base, path, raw) for base in (server.url, sandbox)]
    same = TOLD if body.keys() & {"json_schema", "response_format"} else TOLD | COUNTS
    assert form_of(simulated, same) == form_of(real, same)


@pytest.mark.parametrize("body", ["{", "", "[]", "[1]", '"x"', "5", "null", "true", '{"messages":'])
@pytest.mark.parametrize("path", [CHAT, "/apply-template", "/tokenize", "/detokenize"])
async def test_it_takes_what_is_no_object_in_the_same_way(
    client: Client, server: LlamaServer, sandbox: str, path: str, body: str
) -> None:
    real, simulated = [
        await asked(client, base, path, body.encode()) for base in (server.url, sandbox)
    ]
    assert form_of(simulated) == form_of(real)


@pytest.mark.parametrize("path", ["/health", "/v1/health", "/v1/chat/completions"])
async def test_it_is_looked_at_in_the_same_way(
    client: Client, server: LlamaServer, sandbox: str, path: str
) -> None:
    forms = [
        form_of(await client.fetch(WireRequest("GET", base + path), Route(), timeout=60))
        for base in (server.url, sandbox)
    ]
    assert forms[0] == forms[1]


TOLD = frozenset({"index", "object", "role"})
COUNTS = frozenset({"finish_reason", "completion_tokens"})
"""Fields whose values are the same whatever the model says; these if it may say what it likes."""


def form_of(reply: WireReply, same: frozenset[str] = TOLD) -> Any:
    """Status, server, and the shape of the body: names and types, an error's words."""
    head = (reply.status, reply.headers["server"], reply.headers["content-type"])
    if reply.headers["content-type"].startswith("text/event-stream"):
        frames = _renumbered(reply.body.decode()).split("\n\n")
        return head, [shape_of(f.removeprefix("data: "), same) for f in frames]
    return head, shape_of(reply.body.decode(), same)


def _renumbered(frames: str) -> str:
    """Which alternative speaks first depends on which slots were free: the first one is 0."""
    ranks: dict[str, int] = {}
    return re.sub(
        r'"index":(\d+)', lambda found: f'"index":{ranks.setdefault(found[1], len(ranks))}', frames
    )


def shape_of(text: str, same: frozenset[str]) -> Any:
    """Of JSON its shape; other text is itself."""
    if not text.startswith(("{", "[{")):
        return text
    value = json.loads(text)
    if isinstance(value, dict) and isinstance(value.get("error"), dict):
        words = str(value["error"]["message"]).partition("parse error at")[0]
        return value["error"] | {"message": re.sub(r"-?\d+", "N", words)}
    return _shape(value, same)


def _shape(value: Any, same: frozenset[str]) -> Any:
    """Lists are the shapes in them, in order; lists of numbers may be empty."""
    if isinstance(value, dict):
        return {k: v if k in same else _shape(v, same) for k, v in sorted(value.items())}
    if isinstance(value, list):
        return [_shape(one, same) for one in value if not isinstance(one, int)]
    return "number" if isinstance(value, int | float) else type(value).__name__
