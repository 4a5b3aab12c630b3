from __future__ import annotations

import asyncio
import time

import pytest
from tests.edge.harness import (
    PATIENCE,
    SERVED,
    House,
    chat_body,
    open_house,
    request,
    say_hello,
    text_answer,
)

from xrouter.domain.answer import ChatDelta
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import UpstreamTimeout
from xrouter.domain.ports import Allowance, Reply
from xrouter.edge.limits import DoorLimits

QUICK = DoorLimits(heartbeat=0.1)
PING = ": ping"


async def pinged_three_times(house: House, go_on: asyncio.Event) -> tuple[str, dict[str, str]]:
    """Ask for a stream, wait for three comments, then let the flow go on; the whole body."""
    wire = await house.connect()
    await wire.send(request("POST", "/v1/chat/completions", chat_body(stream=True)))
    status, headers = await wire.head()
    assert status == 200
    text = ""
    while text.count(PING) < 3:
        text += (await wire.piece()).decode()
    go_on.set()
    while piece := await wire.piece():
        text += piece.decode()
    wire.close()
    return text, headers


async def test_a_stream_that_has_not_begun_is_opened() -> None:
    go_on = asyncio.Event()

    async def script(request: ChatRequest, reply: Reply) -> None:
        reply.allow(Allowance(10, 9, 1))
        started = [reply.started]
        await go_on.wait()
        started.append(reply.started)
        assert started == [False, True]
        await say_hello(request, reply)

    async with open_house(limits=QUICK) as house:
        house.flow.script = script
        text, headers = await pinged_three_times(house, go_on)
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-ratelimit-limit-requests"] == "10"
    assert "x-xrouter-model" not in headers
    frames = text[:-2].split("\n\n")
    assert frames[:3] == [PING] * 3
    assert '"model":"acme/one"' in text
    assert frames[-1] == "data: [DONE]"


@pytest.mark.parametrize("method", ["fail", "refuse"])
async def test_an_error_after_the_opening_is_told_in_the_stream(method: str) -> None:
    go_on = asyncio.Event()

    async def script(_request: ChatRequest, reply: Reply) -> None:
        await go_on.wait()
        await getattr(reply, method)(UpstreamTimeout("Too slow."))

    async with open_house(limits=QUICK) as house:
        house.flow.script = script
        text, _ = await pinged_three_times(house, go_on)
    assert 'data: {"error":{"message":"Too slow."' in text
    assert text.endswith("data: [DONE]\n\n")


async def test_silence_in_the_middle() -> None:
    go_on = asyncio.Event()

    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        await reply.deltas([ChatDelta(text="a")])
        await go_on.wait()
        await reply.deltas([ChatDelta(text="b", finish_reason="stop")])
        await reply.end(None)

    async with open_house(limits=QUICK) as house:
        house.flow.script = script
        text, _ = await pinged_three_times(house, go_on)
    frames = text[:-2].split("\n\n")
    assert all(frame == PING or frame.startswith("data: ") for frame in frames)
    assert frames.index(PING) > 0


async def test_a_busy_stream_and_a_whole_answer_get_none() -> None:
    pauses: list[float] = []

    async def script(request: ChatRequest, reply: Reply) -> None:
        if not request.streaming:
            await asyncio.sleep(0.5)
            await reply.answer(text_answer(), SERVED)
            return
        await reply.start(SERVED)
        for _ in range(50):
            await reply.deltas([ChatDelta(text="a")])
            said_at = time.monotonic()
            await asyncio.sleep(0.01)
            pauses.append(time.monotonic() - said_at)
        await reply.end(None)

    async with open_house(limits=DoorLimits(heartbeat=0.3)) as house:
        house.flow.script = script
        body = (await house.chat(chat_body(stream=True))).body.decode()
        while max(pauses) > 0.2:  # the machine stood still, and the stream was not busy
            pauses.clear()
            body = (await house.chat(chat_body(stream=True))).body.decode()
        assert PING not in body
        whole = await house.chat(chat_body())
        assert (whole.status, whole.json["object"]) == (200, "chat.completion")


async def test_a_caller_that_does_not_read_is_not_pinged_without_end() -> None:
    """A heartbeat waits behind what was not taken yet, and ends with its stream."""
    stuck = asyncio.Event()

    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        for _ in range(100):
            (connection,) = house.connections
            if connection.flow.write_paused:
                break
            await reply.deltas([ChatDelta(text="x" * 65536)])
        stuck.set()
        await asyncio.Event().wait()

    async with open_house(limits=QUICK) as house:
        house.flow.script = script
        before = len(asyncio.all_tasks())
        wire = await house.connect(limit=1)
        await wire.send(request("POST", "/v1/chat/completions", chat_body(stream=True)))
        async with asyncio.timeout(PATIENCE):
            await stuck.wait()
        await asyncio.sleep(0.5)
        assert len(asyncio.all_tasks()) <= before + 3  # the request, its watcher, one heartbeat
        wire.reset()
        await house.until(lambda: len(asyncio.all_tasks()) <= before)
