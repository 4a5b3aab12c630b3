"""Alternatives that take a call each: asked together, answered as one, counted as all."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.flow.harness import Recorder, Rig, until
from tests.flow.parts import MODEL, Exchange, use
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer, ChatDelta
from xrouter.domain.errors import XRouterError
from xrouter.domain.ports import Served
from xrouter.flow.yardstick import tokens_of
from xrouter.providers.base import ChatExchange

TEXT = "[[words:4]]"
PROMPT = tokens_of(len(TEXT))


class Choices(Recorder):
    """Keeps alternatives apart. charged: those whose usage was told."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[int, str] = {}
        self.finishes: dict[int, str] = {}
        self.charged: set[int] = set()

    @override
    async def deltas(self, deltas: list[ChatDelta]) -> None:
        for delta in deltas:
            self.texts[delta.choice] = self.texts.get(delta.choice, "") + (delta.text or "")
            if delta.usage:
                self.charged.add(delta.choice)
            if delta.finish_reason:
                self.finishes[delta.choice] = delta.finish_reason
        await super().deltas(deltas)

    @override
    async def answer(self, answer: ChatAnswer, served: Served) -> None:
        self.texts = {c.index: c.message.content or "" for c in answer.choices}
        await super().answer(answer, served)


async def test_several_calls_are_alternatives(rig: Rig) -> None:
    use(rig, several=True)
    reply = await rig.chat(MODEL, "[[words:4]]", n=3)
    assert reply.whole is not None
    assert [choice.index for choice in reply.whole.choices] == [0, 1, 2]
    assert len(rig.asked(rig.first)) == 3
    assert rig.event.tokens_out == sum(charge.tokens_out for charge in rig.first.bill)
    assert (rig.event.attempts, rig.event.tokens_estimated) == (1, False)
    assert reply.served is not None
    assert reply.served.attempts == 1


@pytest.mark.parametrize("width", [None, 1, 2])
async def test_several_streams_are_one(rig: Rig, width: int | None) -> None:
    use(rig, several=True, width=width)
    reply = Choices()
    await rig.chat(MODEL, "[[words:4]]", n=3, stream=True, reply=reply)
    assert reply.error is None
    assert reply.finishes == {0: "stop", 1: "stop", 2: "stop"}
    assert {len(text.split()) for text in reply.texts.values()} == {4}
    assert rig.event.tokens_out == sum(charge.tokens_out for charge in rig.first.bill)
    assert (rig.event.attempts, rig.event.tokens_estimated) == (1, False)
    assert reply.served is not None
    assert reply.served.attempts == 1


async def test_one_of_several_streams_that_breaks_is_told(rig: Rig) -> None:
    use(rig, several=True)
    rig.fault("cut", after=3, times=1)
    reply = await rig.chat(MODEL, "[[words:40]]", n=2, stream=True)
    assert reply.calls[-1] in ("fail", "refuse")
    assert reply.error is not None


async def test_leaving_closes_all_streams(rig: Rig) -> None:
    use(rig, several=True)
    reply = Recorder(hold_at="deltas")
    going = asyncio.create_task(
        rig.chat(MODEL, "[[words:500]] [[pause:0.05]]", n=3, stream=True, reply=reply)
    )
    await reply.held.wait()
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    async with asyncio.timeout(10):
        while not all(each["closed_by_client"] for each in rig.asked(rig.first)):
            await asyncio.sleep(0.01)
    event = rig.event
    assert (event.outcome, event.attempts, event.tokens_estimated) == ("cancelled", 1, True)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("mute", [1, 2, 3])
async def test_the_usage_of_a_copy_that_tells_none_is_estimated(
    rig: Rig, mute: int, stream: bool
) -> None:
    use(rig, several=True, mute=mute)
    reply = Choices()
    await rig.chat(MODEL, TEXT, n=3, stream=stream, reply=reply)
    charges = list(rig.first.bill)
    assert len({(charge.tokens_in, charge.tokens_out) for charge in charges}) == 1
    told_in, told_out = (3 - mute) * charges[0].tokens_in, (3 - mute) * charges[0].tokens_out
    estimated = sum(tokens_of(len(reply.texts[index])) for index in range(mute))
    event = rig.event
    assert (event.tokens_in, event.tokens_out) == (told_in + mute * PROMPT, told_out + estimated)
    assert event.tokens_estimated
    assert reply.usage is not None
    assert reply.usage.completion_tokens == event.tokens_out


@pytest.mark.parametrize("done", [0, 1])
async def test_who_leaves_has_all_copies_counted(rig: Rig, done: int) -> None:
    """done: how many have been told to their end; what these used is known."""
    text = "[[words:300]] [[pause:0.02]]"
    use(rig, several=True)
    if done:
        rig.fault("hang_mid_stream", after=3, times=2)
        text = TEXT
    reply = Choices()
    going = asyncio.create_task(rig.chat(MODEL, text, n=3, stream=True, reply=reply))
    await until(lambda: len(reply.texts) == 3 and len(reply.charged) == done, "all have spoken")
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    ends = [(rig.first.bill[0].tokens_in, rig.first.bill[0].tokens_out)] if done else []
    cut = [reply.texts[index] for index in reply.texts if index not in reply.charged]
    event = rig.event
    assert event.tokens_in == sum(end[0] for end in ends) + tokens_of(len(text)) * len(cut)
    assert event.tokens_out == sum(end[1] for end in ends) + sum(tokens_of(len(t)) for t in cut)
    assert event.tokens_estimated


async def test_who_leaves_whole_answers_has_their_prompts_counted(rig: Rig) -> None:
    use(rig, several=True)
    rig.fault("hang_before_headers")
    going = asyncio.create_task(rig.chat(MODEL, TEXT, n=3))
    await until(lambda: len(rig.asked(rig.first)) == 3, "all are asked for")
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    assert (rig.event.tokens_in, rig.event.tokens_out) == (3 * PROMPT, 0)
    assert (rig.event.attempts, rig.event.tokens_estimated) == (1, True)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refused_copy_costs_what_the_others_do(rig: Rig, stream: bool) -> None:
    """The refused one costs nothing; those that are on their way then may."""
    use(rig, several=True)
    rig.use(standby=False)
    rig.fault("rate_limited", times=1)
    rig.fault("hang_before_headers")
    reply = await rig.chat(MODEL, TEXT, n=3, stream=stream)
    assert reply.error is not None
    assert (rig.event.tokens_in, rig.event.tokens_estimated) == (2 * PROMPT, True)


@pytest.mark.parametrize("stream", [True, False])
async def test_another_way_for_all_copies_is_one_more_attempt(rig: Rig, stream: bool) -> None:
    def instead(exchange: Exchange, _: XRouterError) -> ChatExchange:
        body = msgspec.json.decode(exchange.wire.body)
        body.pop("temperature", None)
        exchange.wire.body = msgspec.json.encode(body)
        return exchange

    use(rig, several=True, instead=instead)
    reply = Choices()
    await rig.chat("openai/o4-mini", n=3, stream=stream, temperature=0.5, reply=reply)
    assert reply.error is None
    assert len(rig.asked(rig.first)) == 6
    assert rig.event.attempts == 2


async def test_copies_at_the_next_target_are_one_more_attempt(rig: Rig) -> None:
    use(rig, several=True)
    rig.fault("server_error")
    reply = await rig.chat(MODEL, TEXT, n=3)
    assert reply.served is not None
    assert (reply.served.endpoint, reply.served.attempts) == ("at-2", 2)
    assert rig.event.tokens_out == sum(charge.tokens_out for charge in rig.second.bill)
