"""Whatever is in a body, a simulator answers as its provider would, and never breaks."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from xrouter.sandbox.kit import Charge, SandboxRequest, Simulator
from xrouter.sandbox.llamacpp import LlamaCppSimulator
from xrouter.sandbox.openai import OpenAISimulator

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RICH: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "be"},
        {"role": "user", "content": [{"type": "text", "text": "call f"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
        {"role": "user", "content": "and f again [[think:2]]"},
    ],
    "tools": [TOOL],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [TOOL]},
    },
    "functions": [{"name": "g", "parameters": {"type": "object"}}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
    "stream": True,
    "stream_options": {"include_usage": True},
    "stop": ["x"],
    "n": 2,
    "logprobs": True,
    "top_logprobs": 2,
    "max_tokens": 20,
}
SIMPLE: dict[str, Any] = {
    name: RICH[name] for name in ("model", "messages", "stop", "n", "logprobs", "response_format")
}
NATIVE: dict[str, Any] = {
    "prompt": ["a", {"prompt_string": "b"}],
    "stop": ["x"],
    "n_predict": 4,
    "n": 2,
    "input": ["a", [1, 2]],
    "model": "text-embedding-3-small",
    "dimensions": 8,
    "encoding_format": "base64",
    "tokens": [1, 2],
    "content": "text",
    "with_pieces": True,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(-2, 2) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "name", "role", "function"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A rich body with one of its values, at any depth, replaced or removed."""
    body = copy.deepcopy(draw(st.sampled_from([RICH, SIMPLE, NATIVE])))
    place: Any = body
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
            break
        place = place[key]
    if draw(st.booleans()):
        place[key] = draw(JSON)
    else:
        del place[key]
    return body


def answered(simulator: Simulator, path: str, body: Any) -> int:
    request = SandboxRequest(
        method="POST",
        path=path,
        query={},
        headers={"authorization": "Bearer sk-sandbox"},
        body=msgspec.json.encode(body),
        origin="http://sandbox",
    )
    response = asyncio.run(simulator.handle(request))
    if response.frames is None:
        msgspec.json.decode(response.body)
    if response.on_close is not None:
        response.on_close(1)
    return response.status


@settings(max_examples=200, deadline=None)
@given(spoilt())
def test_openai(body: Any) -> None:
    bill: list[Charge] = []
    simulator = OpenAISimulator(bill)
    for path in ("/v1/chat/completions", "/v1/embeddings"):
        before = len(bill)
        status = answered(simulator, path, body)
        assert status in (200, 400, 403, 404)
        assert len(bill) - before == (status == 200)


@settings(max_examples=200, deadline=None)
@given(spoilt())
def test_llamacpp(body: Any) -> None:
    simulator = LlamaCppSimulator([])
    for path in (
        *("/v1/chat/completions", "/v1/chat/completions/input_tokens", "/completion"),
        *("/v1/embeddings", "/embedding", "/tokenize", "/detokenize", "/apply-template"),
    ):
        assert answered(simulator, path, body) in (200, 400, 500, 501)
