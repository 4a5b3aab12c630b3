"""The adapter and our client against a real llama.cpp server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.llamacpp.asking import CHANCE, STEADY, USER, WAIT, Caller, said, text_of
from tests.llamacpp.conftest import KEY
from tests.llamacpp.server import CONTEXT, SLOTS, LlamaServer

from xrouter.domain.answer import ChatDelta, ToolCallDelta
from xrouter.domain.errors import (
    InvalidRequest,
    UpstreamDenied,
)
from xrouter.providers import factory
from xrouter.wire.client import Client
from xrouter.wire.types import WireRequest

pytestmark = [pytest.mark.real_llamacpp, pytest.mark.timeout(120, func_only=True)]

COLOURS = {"type": "string", "enum": ["red", "green", "тёмно-синий"]}
PAINT = {
    "type": "function",
    "function": {
        "name": "paint",
        "description": "Paints a wall.",
        "parameters": {
            "type": "object",
            "properties": {"colour": COLOURS},
            "required": ["colour"],
        },
    },
}


# --- is it there, what has it got


async def test_it_is_alive(caller: Caller) -> None:
    reply = await caller.ask(caller.adapter.probe())
    assert json.loads(reply.body) == {"status": "ok"}


async def test_it_is_recognised_among_all_providers(client: Client, server: LlamaServer) -> None:
    found = await identified(Caller(client, server.url), factory.identify(server.url))
    assert found.provider.name == "llamacpp"


async def identified(caller: Caller, questions: factory.Questions) -> factory.Identified:
    """Ask what is to be asked until the answer is known."""
    wire = next(questions)
    while True:
        reply = await caller.send(wire)
        try:
            wire = questions.send(reply)
        except StopIteration as found:
            answer: factory.Identified = found.value
            return answer


async def test_the_model_is_found_with_the_context_of_a_slot(caller: Caller) -> None:
    wire = caller.adapter.discover()
    assert wire is not None
    (found,) = caller.adapter.decode_models(await caller.ask(wire))
    assert (found.name, found.kind, found.context_length) == ("tiny", "chat", CONTEXT)
    assert found.versions[0].upstream == "tiny"


async def test_tokens_are_counted_by_the_model_s_own_vocabulary(caller: Caller) -> None:
    assert await caller.count("hi", "Привет, мир", "🙂", "") == [2, 11, 4, 0]


# --- keys


@pytest.mark.parametrize("key", [None, "sk-another"])
async def test_without_the_right_key_nothing_is_answered(
    client: Client, locked: LlamaServer, key: str | None
) -> None:
    caller = Caller(client, locked.url, key)
    with pytest.raises(UpstreamDenied) as denied:
        await caller.chat()
    assert denied.value.status == 502
    assert denied.value.upstream_status == 401
    with pytest.raises(UpstreamDenied):
        await caller.open()


async def test_a_wrong_key_shows_when_the_endpoint_is_probed(
    client: Client, locked: LlamaServer
) -> None:
    wrong, right = Caller(client, locked.url, "sk-another"), Caller(client, locked.url, KEY)
    with pytest.raises(UpstreamDenied):
        await wrong.ask(wrong.adapter.probe())
    await right.ask(right.adapter.probe())
    assert said(await right.chat(max_tokens=3, **STEADY))


# --- chat


async def test_an_answer_is_cut_at_the_limit(caller: Caller) -> None:
    answer = await caller.chat(max_tokens=5, **STEADY)
    assert len(said(answer)) == 5
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer.usage.prompt_tokens > len(USER["content"])
    assert answer.meta is not None
    assert answer.meta.model == "tiny"


async def test_an_answer_ends_by_itself(caller: Caller) -> None:
    answer = await caller.chat(**CHANCE)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens < CONTEXT // 2


async def test_an_answer_ends_at_a_stop_sequence(caller: Caller) -> None:
    whole = said(await caller.chat(max_tokens=40, **STEADY))
    stop = whole[10:13]
    answer = await caller.chat(max_tokens=40, stop=[stop], **STEADY)
    assert said(answer) == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


async def test_roles_and_parts_reach_the_model(caller: Caller) -> None:
    """More is said to it, so more tokens are counted."""
    plain = await caller.chat(max_tokens=1)
    parts = [{"type": "text", "text": "Привет!"}, {"type": "text", "text": "How are you?"}]
    history = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "Fine.", "reasoning_content": None, "name": None},
        USER,
    ]
    longer = await caller.chat(max_tokens=1, messages=history)
    assert plain.usage is not None
    assert longer.usage is not None
    assert longer.usage.prompt_tokens > plain.usage.prompt_tokens + len("Be brief.Fine.")


async def test_a_stream_says_the_same_as_a_whole_answer(caller: Caller) -> None:
    whole = await caller.chat(max_tokens=200, **STEADY)
    deltas = await caller.stream(max_tokens=200, **STEADY)
    assert text_of(deltas) == said(whole)
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["length"]
    (usage,) = [d.usage for d in deltas if d.usage]
    assert whole.usage is not None
    assert usage.prompt_tokens == whole.usage.prompt_tokens
    assert usage.completion_tokens == 200
    assert len([d for d in deltas if d.text]) > 20


async def test_several_alternatives_are_streamed_side_by_side(caller: Caller) -> None:
    deltas = await caller.stream(n=2, max_tokens=30, **STEADY)
    for choice in (0, 1):
        ends = [d.finish_reason for d in deltas if d.choice == choice and d.finish_reason]
        assert ends == ["length"]
        assert len(text_of(deltas, choice)) == 30
    usage = [d.usage for d in deltas if d.usage][-1]
    assert usage.completion_tokens == 60


async def test_the_tokens_of_all_alternatives_are_counted(caller: Caller) -> None:
    """The server counts those of the first in a whole answer: the others are estimated."""
    whole = await caller.chat(n=2, max_tokens=30, **STEADY)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 60
    assert whole.usage.estimated
    uneven = await caller.chat(n=2, max_tokens=300, **CHANCE)
    lengths = [len(choice.message.content or "") for choice in uneven.choices]
    assert lengths[0] != lengths[1]
    assert uneven.usage is not None
    ends = len(lengths)  # the mark of the end is a token that says nothing
    assert sum(lengths) <= uneven.usage.completion_tokens <= sum(lengths) + ends


async def test_more_alternatives_than_slots_are_the_caller_s_mistake(caller: Caller) -> None:
    with pytest.raises(InvalidRequest, match=f"<= {SLOTS}"):
        await caller.chat(n=SLOTS + 1)


@pytest.mark.parametrize("given", [{}, {"top_logprobs": 0}, {"top_logprobs": 2}])
async def test_likelihoods_are_told(caller: Caller, given: dict[str, int]) -> None:
    answer = await caller.chat(max_tokens=4, logprobs=True, **given, **STEADY)
    tokens = answer.choices[0].logprobs["content"]
    assert "".join(token["token"] for token in tokens) == said(answer)
    expected = given.get("top_logprobs", 0)
    assert {len(token["top_logprobs"]) for token in tokens} == {expected}


@pytest.mark.parametrize("given", [{}, {"top_logprobs": 0}, {"top_logprobs": 2}])
async def test_streamed_likelihoods_are_told(caller: Caller, given: dict[str, int]) -> None:
    deltas = await caller.stream(max_tokens=4, logprobs=True, **given, **STEADY)
    tokens = [token for d in deltas if d.logprobs for token in d.logprobs["content"]]
    assert "".join(token["token"] for token in tokens) == text_of(deltas)
    expected = given.get("top_logprobs", 0)
    assert {len(token["top_logprobs"]) for token in tokens} == {expected}


async def test_what_the_server_ignores_is_listed(caller: Caller) -> None:
    exchange = await caller.exchange(user="somebody", store=True, max_tokens=1)
    assert exchange.dropped == ("store", "user")
    await caller.ask(exchange.wire)


# --- answers of a given form


async def test_an_answer_follows_a_schema(caller: Caller) -> None:
    schema = {"type": "object", "properties": {"colour": COLOURS}, "required": ["colour"]}
    form = {"type": "json_schema", "json_schema": {"name": "wall", "schema": schema}}
    answer = await caller.chat(response_format=form, max_tokens=200, **CHANCE)
    assert json.loads(said(answer))["colour"] in COLOURS["enum"]
    assert answer.choices[0].finish_reason == "stop"


async def test_a_demanded_tool_is_called(caller: Caller) -> None:
    answer = await caller.chat(tools=[PAINT], tool_choice="required", **CHANCE)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls or []
    assert len({call.id for call in calls}) == len(calls) > 0
    for call in calls:
        assert call.function is not None
        assert call.function.name == "paint"
        assert json.loads(call.function.arguments)["colour"] in COLOURS["enum"]


async def test_a_streamed_call_comes_in_pieces(caller: Caller) -> None:
    deltas = await caller.stream(tools=[PAINT], tool_choice="required", **CHANCE)
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["tool_calls"]
    calls = joined(deltas)
    assert sorted(calls) == list(range(len(calls)))
    for first, arguments in calls.values():
        assert first.id
        assert first.name == "paint"
        assert json.loads(arguments)["colour"] in COLOURS["enum"]


async def test_one_call_where_one_is_asked_for(caller: Caller) -> None:
    """The server lets the model call as often as it likes: with some seeds it does."""
    asked: dict[str, Any] = {"tools": [PAINT, WAIT], "tool_choice": "required", "temperature": 1}
    for seed in range(50):
        asked["seed"] = seed
        answer = await caller.chat(**asked)
        if len(answer.choices[0].message.tool_calls or []) > 1:
            break
    asked["parallel_tool_calls"] = False
    answer = await caller.chat(**asked)
    (call,) = answer.choices[0].message.tool_calls or []
    streamed = joined(await caller.stream(**asked))
    ((first, arguments),) = streamed.values()
    assert call.function is not None
    assert (first.name, arguments) == (call.function.name, call.function.arguments)


async def test_a_call_without_arguments_has_an_empty_object(caller: Caller) -> None:
    deltas = await caller.stream(tools=[WAIT], tool_choice="required", **CHANCE)
    calls = joined(deltas)
    assert calls
    assert [json.loads(arguments) for _, arguments in calls.values()] == [{}] * len(calls)


def joined(deltas: list[ChatDelta]) -> dict[int, tuple[ToolCallDelta, str]]:
    """Of each call its first piece and its arguments."""
    calls: dict[int, tuple[ToolCallDelta, str]] = {}
    for piece in (p for delta in deltas for p in delta.tool_calls or []):
        first, before = calls.get(piece.index, (piece, ""))
        calls[piece.index] = first, before + piece.arguments
    return calls


async def test_a_named_tool_is_the_one_called(caller: Caller) -> None:
    """The server itself does not know how to be told."""
    choice = {"type": "function", "function": {"name": "paint"}}
    answer = await caller.chat(tools=[WAIT, PAINT], tool_choice=choice, **CHANCE)
    calls = answer.choices[0].message.tool_calls or []
    assert {call.function.name for call in calls if call.function} == {"paint"}


async def test_the_result_of_a_tool_is_read(caller: Caller) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "wait", "arguments": "{}"}}
    history = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "It is later now."},
    ]
    answer = await caller.chat(messages=history, tools=[WAIT], max_tokens=3, **STEADY)
    assert said(answer)


# --- connections and slots


async def test_connections_that_the_server_gives_up_are_not_noticed(caller: Caller) -> None:
    """It closes each after a hundred requests."""
    for _ in range(250):
        assert len(said(await caller.chat(max_tokens=1, **STEADY))) == 1


async def test_more_callers_than_slots_wait_for_their_turn(caller: Caller) -> None:
    asked = (caller.stream(max_tokens=50, **STEADY) for _ in range(4 * SLOTS))
    texts = [text_of(deltas) for deltas in await asyncio.gather(*asked)]
    assert {len(text) for text in texts} == {50}


async def test_a_caller_who_leaves_frees_the_slot(caller: Caller) -> None:
    stream = await caller.open(**STEADY)
    stream.close()
    wire = WireRequest("GET", caller.adapter.base_url.removesuffix("/v1") + "/slots")
    slots = json.loads((await caller.ask(wire)).body)
    while any(slot["is_processing"] for slot in slots):
        slots = json.loads((await caller.ask(wire)).body)
    last = max(slots, key=lambda slot: slot.get("id_task", -1))
    assert last["next_token"][0]["n_decoded"] < CONTEXT // 2
