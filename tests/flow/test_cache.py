"""Answers that are kept: of one tenant, replayed as they were asked for, made once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.flow.harness import SILENCE_S, Leap, Recorder, Rig

from xrouter.domain.answer import (
    AnswerMessage,
    AnswerMeta,
    ChatAnswer,
    ChatDelta,
    Choice,
    ToolCallDelta,
    Usage,
)
from xrouter.domain.catalog import Timeouts
from xrouter.domain.chat import FunctionCall, ToolCall
from xrouter.domain.errors import InvalidRequest, UpstreamFailed, UpstreamTimeout
from xrouter.domain.routes import Cache, Policy, Route, RouteTarget
from xrouter.flow import cache
from xrouter.flow.fold import deltas_of, folded

OPENAI = "openai/gpt-4o-mini"
KEEP = Policy(cache=Cache(ttl=60))


def asked(rig: Rig) -> int:
    return len(rig.asked(rig.first, "ompletion"))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("then", [True, False])
async def test_an_answer_is_kept_and_replayed_as_it_is_asked_for(
    rig: Rig, first: bool, then: bool
) -> None:
    rig.use(policy=KEEP)
    one = await rig.chat(OPENAI, "What is kept?", stream=first)
    two = await rig.chat(OPENAI, "What is kept?", stream=then)
    assert asked(rig) == 1
    assert (one.text, one.finish) == (two.text, two.finish)
    assert two.served is not None
    assert (two.served.cached, two.served.attempts, two.served.endpoint) == (True, 0, "at-1")
    assert [event.cached for event in rig.journal.events] == [False, True]
    assert [event.tokens_out > 0 for event in rig.journal.events] == [True, False]
    assert two.calls == (["start", "deltas", "end"] if then else ["answer"])


async def test_only_the_same_request_of_the_same_model_meets_it(rig: Rig) -> None:
    rig.use(policy=KEEP)
    await rig.chat(OPENAI, "One")
    await rig.chat(OPENAI, "Two")
    await rig.chat(OPENAI, "One", temperature=0.5)
    await rig.chat("gigachat/GigaChat-2-Max", "One")
    assert [event.cached for event in rig.journal.events] == [False] * 4


async def test_nothing_is_kept_unless_somebody_says_so(rig: Rig) -> None:
    for _ in range(2):
        await rig.chat(OPENAI)
    assert asked(rig) == 2
    for _ in range(2):
        await rig.chat(OPENAI, headers={b"x-xrouter-cache": b"30"})
    assert asked(rig) == 3
    rig.use(policy=KEEP)
    await rig.chat(OPENAI, headers={b"x-xrouter-cache": b"off"})
    assert asked(rig) == 4


@pytest.mark.parametrize("said", [b"0", b"-1", b"nan", b"soon", b"1e12", b""])
async def test_a_header_of_no_sense_is_refused(rig: Rig, said: bytes) -> None:
    reply = await rig.chat(OPENAI, headers={b"x-xrouter-cache": said})
    assert isinstance(reply.error, InvalidRequest)
    assert reply.error.param == "x-xrouter-cache"


@pytest.mark.parametrize("stream", [True, False])
async def test_what_failed_or_was_refused_is_not_kept(rig: Rig, stream: bool) -> None:
    rig.use(standby=False, policy=Policy(cache=Cache(ttl=60), max_attempts=1))
    rig.fault("server_error", times=1)
    broken = await rig.chat(OPENAI, stream=stream)
    assert isinstance(broken.error, UpstreamFailed)
    assert (await rig.chat(OPENAI, stream=stream)).error is None
    for _ in range(2):
        reply = await rig.chat("gigachat/GigaChat-2-Max", "[[blacklist]]", stream=stream)
        assert reply.finish == "content_filter"
    assert not any(event.cached for event in rig.journal.events)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_same_request_at_the_same_time_is_made_once(rig: Rig, stream: bool) -> None:
    rig.use(policy=KEEP)
    rig.fault("slow_headers", delay_s=0.2)
    replies = await asyncio.gather(*(rig.chat(OPENAI, stream=stream) for _ in range(20)))
    assert asked(rig) == 1
    assert {reply.text for reply in replies} == {replies[0].text}


async def test_when_the_first_leaves_the_next_makes_it(rig: Rig) -> None:
    rig.use(policy=KEEP)
    reply = Recorder(hold_at="deltas")
    first = asyncio.create_task(rig.chat(OPENAI, stream=True, reply=reply))
    await reply.held.wait()
    second = asyncio.create_task(rig.chat(OPENAI, stream=True))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await second).error is None
    assert asked(rig) == 2


@pytest.mark.usefixtures("leaps")
@pytest.mark.parametrize("stream", [True, False])
async def test_those_who_wait_share_the_providers_failure(rig: Rig, stream: bool) -> None:
    policy = Policy(cache=Cache(ttl=60), max_attempts=1)
    rig.use(Timeouts(first_token=SILENCE_S, total=SILENCE_S), standby=False, policy=policy)
    rig.fault("hang_before_headers")
    replies = await asyncio.gather(*(rig.chat(OPENAI, stream=stream) for _ in range(5)))
    assert asked(rig) == 1
    assert {type(reply.error) for reply in replies} == {UpstreamTimeout}
    assert len({id(reply.error) for reply in replies}) == 5, "each has its own to reword"
    assert {reply.last_asked and reply.last_asked.endpoint for reply in replies} == {"at-1"}
    assert sorted(event.attempts for event in rig.journal.events) == [0, 0, 0, 0, 1]


async def test_those_who_wait_share_an_answer_that_is_not_kept(rig: Rig) -> None:
    rig.use(policy=KEEP)
    rig.fault("slow_headers", delay_s=0.1)
    giga = "gigachat/GigaChat-2-Max"
    replies = await asyncio.gather(*(rig.chat(giga, "[[blacklist]]") for _ in range(5)))
    assert {reply.finish for reply in replies} == {"content_filter"}
    assert len(rig.asked(rig.first)) == 1
    await rig.chat(giga, "[[blacklist]]")
    assert len(rig.asked(rig.first)) == 2


async def test_when_the_first_leaves_one_alone_takes_over(rig: Rig) -> None:
    rig.use(policy=KEEP)
    reply = Recorder(hold_at="deltas")
    first = asyncio.create_task(rig.chat(OPENAI, stream=True, reply=reply))
    await reply.held.wait()
    others = [asyncio.create_task(rig.chat(OPENAI, stream=True)) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    replies = await asyncio.gather(*others)
    assert {reply.error for reply in replies} == {None}
    assert asked(rig) == 2


async def test_nobody_waits_for_a_slow_reader_longer_than_its_own_try_could_take(
    rig: Rig, leaps: Leap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LONGEST_WAIT_S", 0.0)
    policy = Policy(cache=Cache(ttl=60), max_attempts=1)
    rig.use(Timeouts(total=SILENCE_S), standby=False, policy=policy)
    reply = Recorder(hold_at="deltas")
    first = asyncio.create_task(rig.chat(OPENAI, stream=True, reply=reply))
    await reply.held.wait()
    second = asyncio.create_task(rig.chat(OPENAI, stream=True))
    while not second.done():
        leaps()
        await asyncio.sleep(0.01)
    assert isinstance(second.result().error, UpstreamTimeout)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


ANY = Policy(strategy="round_robin", cache=Cache(ttl=60))


def use_route(rig: Rig, policy: Policy) -> None:
    targets = (RouteTarget(model=OPENAI), RouteTarget(model="llamacpp/qwen3-8b"))
    route = Route(name="any", policy=policy, targets=targets)
    now = rig.snapshots.current
    rig.snapshots.replace(structs.replace(now, routes={"route/any": route}))


async def answered(rig: Rig, **more: Any) -> list[str | None]:
    for _ in range(4):
        await rig.chat("route/any", **more)
    events = rig.journal.events[-4:]
    return [None if event.cached else event.provider for event in events]


async def test_a_route_that_spreads_its_requests_keeps_one_answer_for_all(rig: Rig) -> None:
    use_route(rig, ANY)
    assert await answered(rig) == ["openai", None, None, None]
    use_route(rig, structs.replace(ANY, strategy="weighted"))
    assert (await answered(rig, temperature=0.5))[1:] == [None] * 3


async def test_conditions_of_the_request_have_answers_of_their_own(rig: Rig) -> None:
    made = rig.snapshots.current.endpoints
    rig.endpoints(
        {
            provider: tuple(structs.replace(each, country=country) for each in made[provider])
            for provider, country in (("openai", "US"), ("llamacpp", "RU"))
        }
    )
    use_route(rig, ANY)
    assert await answered(rig) == ["openai", None, None, None]
    only = {b"x-xrouter-countries": b"RU"}
    assert await answered(rig, headers=only) == ["llamacpp", None, None, None]
    both = {b"x-xrouter-countries": b"RU,US"}
    assert (await answered(rig, headers=both))[1:] == [None] * 3
    assert [event.cached for event in rig.journal.events].count(False) == 3


async def test_what_rules_choose_is_not_answered_by_what_they_do_not(rig: Rig) -> None:
    rule = {"when": {"tag": "vip"}, "models": ["llamacpp/*"]}
    use_route(rig, structs.replace(ANY, strategy="rules", options={"rules": [rule]}))
    assert await answered(rig) == ["openai", None, None, None]
    assert await answered(rig, headers={b"x-xrouter-tags": b"vip"}) == [
        "llamacpp",
        None,
        None,
        None,
    ]


TEXTS = st.none() | st.text(max_size=5)


def answers() -> st.SearchStrategy[ChatAnswer]:
    call = st.builds(
        ToolCall,
        id=st.text(min_size=1, max_size=3),
        function=st.builds(FunctionCall, name=st.text(min_size=1, max_size=3)),
    )
    message = st.builds(
        AnswerMessage,
        content=TEXTS,
        reasoning=TEXTS,
        tool_calls=st.none() | st.lists(call, min_size=1, max_size=3),
        extra=st.none() | st.just({"a": [1]}),
    )
    choices = st.lists(message, min_size=1, max_size=3).map(
        lambda messages: [Choice(m, "stop", n) for n, m in enumerate(messages)]
    )
    usage = st.none() | st.builds(Usage, prompt_tokens=st.integers(0, 9))
    return st.builds(ChatAnswer, choices=choices, usage=usage, meta=st.just(AnswerMeta("m")))


@given(answers())
def test_folding_undoes_unfolding(answer: ChatAnswer) -> None:
    assert folded(deltas_of(answer)) == answer


def test_pieces_fold_into_what_they_say() -> None:
    pieces: list[dict[str, Any]] = [
        {"text": "a", "logprobs": {"content": [1]}, "extra": {"d": [1], "e": 1}},
        {"tool_calls": [ToolCallDelta(0, "c", "f", "{")]},
        {"tool_calls": [ToolCallDelta(0, arguments="}"), ToolCallDelta(1, "x", "g", "in", True)]},
        {"tool_calls": [ToolCallDelta(1, arguments="put")], "extra": {"d": [2], "e": 2}},
        {"text": "b", "logprobs": {"content": [2]}, "finish_reason": "tool_calls"},
    ]
    (choice,) = folded([ChatDelta(**piece) for piece in pieces]).choices
    assert choice.message == AnswerMessage(
        content="ab",
        tool_calls=[
            ToolCall("c", function=FunctionCall("f", "{}")),
            ToolCall("x", "custom", custom={"name": "g", "input": "input"}),
        ],
        extra={"d": [1, 2], "e": 2},
    )
    assert choice.logprobs == {"content": [1, 2]}
    assert choice.finish_reason == "tool_calls"
