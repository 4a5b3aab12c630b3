"""Models of all kinds behind one simulated server: what clients send works with each of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.llamacpp.asking import WAIT, Caller, said, text_of

from xrouter.domain.errors import ContextLengthExceeded, InvalidRequest, ModelNotFound
from xrouter.sandbox.llamacpp_model import CONTEXT, ROUTED
from xrouter.sandbox.server import running
from xrouter.wire.client import Client

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
PAINT = {
    "type": "function",
    "function": {
        "name": "paint",
        "parameters": {"type": "object", "properties": {"colour": {"enum": ["red"]}}},
    },
}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with running() as origin:
        yield f"{origin}/llamacpp-router"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    made = Client()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(params=ROUTED)
def caller(request: pytest.FixtureRequest, client: Client, url: str) -> Caller:
    return Caller(client, url, model=request.param)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def test_a_conversation_with_tools(caller: Caller) -> None:
    """The tool is called, its result is read, and the talk goes on."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief"},
        user("please"),
        user("paint"),
    ]
    (choice,) = (await caller.chat(messages=messages, tools=[WAIT, PAINT])).choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.function is not None
    assert (call.function.name, json.loads(call.function.arguments)) == ("paint", {"colour": "red"})
    function = {"name": call.function.name, "arguments": call.function.arguments}
    messages += [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call.id, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call.id, "content": "It is red now."},
    ]
    answer = await caller.chat(messages=messages, tools=[WAIT, PAINT])
    assert "It is red now." in said(answer)
    messages += [{"role": "assistant", "content": said(answer)}, user("thanks")]
    messages.append({"role": "developer", "content": "Be kind"})
    deltas = await caller.stream(messages=messages, tools=[WAIT, PAINT])
    assert text_of(deltas).endswith("You said: thanks")
    assert await caller.count_chat(messages=messages, tools=[WAIT, PAINT]) > 0


async def test_a_streamed_call(caller: Caller) -> None:
    deltas = await caller.stream(messages=[user("wait")], tools=[WAIT, PAINT])
    pieces = [piece for delta in deltas for piece in delta.tool_calls or ()]
    assert [piece.name for piece in pieces if piece.name] == ["wait"]
    assert "".join(piece.arguments for piece in pieces) == "{}"
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["tool_calls"]
    assert [delta.usage for delta in deltas if delta.usage]
    assert not text_of(deltas)


async def test_only_some_models_see(caller: Caller) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "look"}, IMAGE]}]
    if ROUTED[caller.target.version.upstream].vision:
        assert said(await caller.chat(messages=messages))
        return
    with pytest.raises(InvalidRequest) as refused:
        await caller.chat(messages=messages)
    assert refused.value.param == "messages[0].content[1]"


async def test_tokens_of_a_chat_are_those_that_are_charged(caller: Caller) -> None:
    messages = [user("a"), user("b c")]
    answer = await caller.chat(messages=messages)
    assert answer.usage is not None
    assert await caller.count_chat(messages=messages) == answer.usage.prompt_tokens
    assert await caller.count("one", "", "one two") == [1, 0, 2]


async def test_a_prompt_that_does_not_fit(caller: Caller) -> None:
    with pytest.raises(ContextLengthExceeded):
        await caller.chat(messages=[user("a " * CONTEXT)], tools=[WAIT])


async def test_a_model_that_is_not_there(client: Client, url: str) -> None:
    """Whether its template is asked for first or not."""
    unknown = Caller(client, url, model="gamma")
    for tools in (None, [WAIT]):
        with pytest.raises(ModelNotFound):
            await unknown.chat(messages=[user("hi")], tools=tools)
