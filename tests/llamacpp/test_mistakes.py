"""Mistakes of the caller, told by a real llama.cpp server in its own ways."""

from __future__ import annotations

from typing import Any

import pytest
from tests.llamacpp.asking import STEADY, USER, WAIT, Caller, said
from tests.llamacpp.server import CONTEXT, SLOTS

from xrouter.domain.errors import ContextLengthExceeded, InvalidRequest, XRouterError
from xrouter.wire.types import WireRequest

pytestmark = [pytest.mark.real_llamacpp, pytest.mark.timeout(120, func_only=True)]


@pytest.mark.parametrize("way", ["chat", "open"])
async def test_a_prompt_that_does_not_fit(caller: Caller, way: str) -> None:
    long = [{"role": "user", "content": "слово " * CONTEXT}]
    with pytest.raises(ContextLengthExceeded, match="maximum context length is 2048 tokens") as e:
        await getattr(caller, way)(messages=long)
    assert e.value.param == "messages"


async def test_an_answer_that_fills_the_context_is_cut(caller: Caller) -> None:
    answer = await caller.chat(**STEADY)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens >= CONTEXT - 1


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
BROKEN_CALL = {"id": "c1", "type": "function", "function": {"name": "wait", "arguments": "{oops"}}


@pytest.mark.parametrize(
    "given",
    [
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        {"messages": [USER, {"role": "assistant", "tool_calls": [BROKEN_CALL]}, USER]},
        {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "odd"}}}},
        {"response_format": {"type": "poem"}},
        {"tools": [{"type": "custom", "custom": {"name": "free"}}]},
        {"tools": [WAIT], "tool_choice": "sometimes"},
        {"tools": [WAIT], "logprobs": True, "stream": True},
        {"grammar": 'root ::= "a"', "json_schema": {}},
        {"reasoning_format": "odd"},
        {"top_k": "many"},
    ],
    ids=", ".join,
)
async def test_a_mistake_of_the_caller_is_called_so(caller: Caller, given: dict[str, Any]) -> None:
    """Whatever status the server gave it."""
    with pytest.raises(InvalidRequest) as refused:
        await caller.chat(**given)
    assert refused.value.status == 400
    assert refused.value.message


@pytest.mark.parametrize(
    "given",
    [
        {"reasoning_format": "odd"},
        {"reasoning_format": 5},
        {"top_k": "many"},
        {"min_p": []},
        {"n": SLOTS + 1},
    ],
    ids=", ".join,
)
async def test_the_field_at_fault_is_named(caller: Caller, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await caller.chat(**given)
    assert [refused.value.param] == list(given)


async def test_null_is_no_reasoning_format(caller: Caller) -> None:
    assert said(await caller.chat(reasoning_format=None, max_tokens=1, **STEADY))


async def test_what_the_server_was_not_started_for(caller: Caller) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await caller.embed("hi")
    assert refused.value.code == "unsupported_operation"


async def test_a_missing_route_is_not_the_caller_s_401(caller: Caller) -> None:
    wire = WireRequest("GET", caller.adapter.base_url + "/nothing")
    with pytest.raises(XRouterError) as refused:
        await caller.ask(wire)
    assert refused.value.upstream_status == 404
