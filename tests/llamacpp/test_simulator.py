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
USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "wait", "arguments": "{}"}}
WAIT = {"type": "function", "function": {"name": "wait"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "one", "schema": {"enum": ["a"]}}}

BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {"messages": [USER]}),
    "no messages": (CHAT, {}),
    "no content": (CHAT, {"messages": [{"role": "user"}]}),
    "no role": (CHAT, {"messages": [{"content": "hi"}]}),
    "null name": (CHAT, {"messages": [USER | {"name": None}]}),
    "unknown part": (CHAT, {"messages": [{"role": "user", "content": [{"type": "smell"}]}]}),
    "image": (CHAT, {"messages": [{"role": "user", "content": [IMAGE]}]}),
    "two prefills": (CHAT, {"messages": [{"role": "assistant", "content": "a"}] * 2}),
    "developer": (CHAT, {"messages": [{"role": "developer", "content": "a"}, USER]}),
    "tool turn": (
        CHAT,
        {
            "messages": [
                USER,
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "done"},
            ]
        },
    ),
    "custom tool": (CHAT, {"messages": [USER], "tools": [{"type": "custom"}]}),
    "tools are no list": (CHAT, {"messages": [USER], "tools": {}}),
    "unknown choice": (CHAT, {"messages": [USER], "tools": [WAIT], "tool_choice": "perhaps"}),
    "tools and grammar": (CHAT, {"messages": [USER], "tools": [WAIT], "grammar": 'root ::= "a"'}),
    "grammar and schema": (CHAT, {"messages": [USER], "grammar": "x", "json_schema": {}}),
    "schema": (CHAT, {"messages": [USER], "response_format": SCHEMA}),
    "unknown format": (CHAT, {"messages": [USER], "response_format": {"type": "poem"}}),
    "likelihoods": (CHAT, {"messages": [USER], "logprobs": True, "top_logprobs": 2}),
    "only top likelihoods": (CHAT, {"messages": [USER], "top_logprobs": 2}),
    "streamed likelihoods of tools": (
        CHAT,
        {"messages": [USER], "logprobs": True, "tools": [WAIT], "stream": True},
    ),
    "two alternatives": (CHAT, {"messages": [USER], "n": 2}),
    "too many alternatives": (CHAT, {"messages": [USER], "n": 99}),
    "stream": (CHAT, {"messages": [USER], "stream": True}),
    "stream with usage": (
        CHAT,
        {"messages": [USER], "stream": True, "stream_options": {"include_usage": True}},
    ),
    "stream with likelihoods": (
        CHAT,
        {"messages": [USER], "stream": True, "logprobs": True, "top_logprobs": 1},
    ),
    "count": (CHAT + "/input_tokens", {"messages": [USER]}),
    "template": ("/apply-template", {"messages": [USER]}),
    "tokenize": ("/tokenize", {"content": "hi"}),
    "detokenize": ("/detokenize", {"tokens": []}),
    "embeddings": ("/v1/embeddings", {"input": "hi"}),
    "nothing there": ("/v1/nothing", {}),
}


@pytest.fixture
async def sandbox() -> AsyncIterator[str]:
    async with running() as url:
        yield f"{url}/llamacpp"


@pytest.mark.parametrize("what", BODIES)
async def test_it_answers_in_the_same_form(
    client: Client, server: LlamaServer, sandbox: str, what: str
) -> None:
    path, body = BODIES[what]
    limited = {"max_tokens": 4, "temperature": 0, "logit_bias": {"3": -100}} | body
    raw = json.dumps(limited).encode()

    async def asked(base: str) -> WireReply:
        headers = {"content-type": "application/json"}
        wire = WireRequest("POST", base + path, headers, raw)
        return await client.fetch(wire, Route(), timeout=60)

    real, simulated = await asked(server.url), await asked(sandbox)
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


def form_of(reply: WireReply) -> Any:
    """Status, server, and the shape of the body: names and types, an error's beginning."""
    head = (reply.status, reply.headers["server"], reply.headers["content-type"])
    if reply.headers["content-type"].startswith("text/event-stream"):
        frames = reply.body.decode().split("\n\n")
        return head, [shape_of(f.removeprefix("data: ")) for f in frames]
    return head, shape_of(reply.body.decode())


def shape_of(text: str) -> Any:
    """Of JSON its shape; other text is itself."""
    if not text.startswith(("{", "[{")):
        return text
    value = json.loads(text)
    if isinstance(value, dict) and isinstance(value.get("error"), dict):
        words = re.split(r'[:;,("\d]', str(value["error"]["message"]))[0]
        return value["error"] | {"message": words.strip()}
    return _shape(value)


def _shape(value: Any) -> Any:
    """A list is the shapes in it; lists of numbers may be empty."""
    if isinstance(value, dict):
        return {name: _shape(one) for name, one in sorted(value.items())}
    if isinstance(value, list):
        return sorted({json.dumps(_shape(one)) for one in value if not isinstance(one, int)})
    return "number" if isinstance(value, int | float) else type(value).__name__
