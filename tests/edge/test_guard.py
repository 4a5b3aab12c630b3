"""Callers that are slow on purpose."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.edge.harness import (
    PATIENCE,
    SERVED,
    House,
    Wire,
    chat_body,
    open_house,
    request,
    text_answer,
)

from xrouter.domain.answer import ChatDelta
from xrouter.domain.chat import ChatRequest
from xrouter.domain.ports import Reply
from xrouter.edge import guard
from xrouter.edge.limits import DoorLimits, GuardLimits

HALF = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX: "
QUICK = GuardLimits(head_timeout=0.5)


async def closed(wire: Wire) -> bytes:
    try:
        return await wire.rest()
    finally:
        wire.close()


@pytest.mark.parametrize("sent", [b"", b"P", HALF, b"\r\n\r\n"], ids=["", "P", "half", "blank"])
async def test_a09_a10_half_a_head_and_then_silence(sent: bytes) -> None:
    async with open_house(guard=QUICK) as house:
        wire = await house.connect()
        await wire.send(sent)
        assert await closed(wire) == b""
        assert (await house.chat(chat_body())).status == 200


async def trickle(wire: Wire, data: bytes) -> None:
    try:
        for _ in range(1000):
            await wire.send(data)
            await asyncio.sleep(0.05)
    except (ConnectionError, RuntimeError):
        pass  # uvloop has a RuntimeError for a transport that is closed


@pytest.mark.parametrize("data", [b"x", b"\r\n"], ids=["header", "blank lines"])
@pytest.mark.parametrize("after_a_request", [False, True])
async def test_a11_trickled_bytes_do_not_prolong_it(data: bytes, after_a_request: bool) -> None:
    async with open_house(guard=QUICK) as house:
        wire = await house.connect()
        if after_a_request:
            await wire.send(request("GET", "/v1/models"))
            await wire.answer()
        if data == b"x":
            await wire.send(HALF)
        trickling = asyncio.create_task(trickle(wire, data))
        assert await closed(wire) == b""
        async with asyncio.timeout(PATIENCE):
            await trickling


async def test_an_idle_connection_is_not_half_a_head() -> None:
    async with open_house(guard=GuardLimits(head_timeout=0.2)) as house:
        wire = await house.connect()
        for _ in range(2):
            await wire.send(request("GET", "/v1/models"))
            assert (await wire.answer()).status == 200
            await asyncio.sleep(1.5)  # longer than the deadline and a sweep
        await wire.send(request("GET", "/v1/models"))
        assert (await wire.answer()).status == 200
        wire.close()


async def test_a_long_answer_is_not_ended_by_half_a_head_behind_it() -> None:
    async with open_house(guard=GuardLimits(head_timeout=0.2)) as house:

        async def script(_request: ChatRequest, reply: Reply) -> None:
            await asyncio.sleep(1.5)  # longer than the deadline and a sweep
            await reply.answer(text_answer(), SERVED)

        house.flow.script = script
        wire = await house.connect()
        await wire.send(request("POST", "/v1/chat/completions", chat_body()) + HALF)
        assert (await wire.answer()).status == 200
        assert await closed(wire) == b""


@pytest.mark.parametrize("part", [0.0, 0.5])
async def test_a12_a_body_that_stops(part: float) -> None:
    async with open_house(limits=DoorLimits(body_timeout=0.3)) as house:
        data = request("POST", "/v1/chat/completions", chat_body())
        head, _, body = data.partition(b"\r\n\r\n")
        wire = await house.connect()
        await wire.send(head + b"\r\n\r\n" + body[: int(len(body) * part)])
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert await closed(wire) == b""
        assert house.flow.requests == []


async def test_a12_a_trickled_body() -> None:
    async with open_house(limits=DoorLimits(body_timeout=0.5)) as house:
        wire = await house.connect()
        await wire.send(request("POST", "/v1/chat/completions", b"", {"content-length": "9999"}))
        trickling = asyncio.create_task(trickle(wire, b" "))
        answer = await wire.answer()
        assert answer.status == 408
        await closed(wire)
        async with asyncio.timeout(PATIENCE):
            await trickling


async def flood(house: House) -> list[int]:
    """Let the flow stream as much as it may; the list counts the chunks that went out."""
    went: list[int] = []

    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        while True:
            await reply.deltas([ChatDelta(text="x" * 65536)])
            went.append(1)

    house.flow.script = script
    return went


async def test_a15_a_caller_that_never_reads() -> None:
    """The flow waits instead of filling memory, and is cancelled at the write deadline."""
    async with open_house(guard=GuardLimits(write_timeout=1.0)) as house:
        went = await flood(house)
        wire = await house.connect(limit=1)
        await wire.send(request("POST", "/v1/chat/completions", chat_body(stream=True)))
        async with asyncio.timeout(PATIENCE):
            await house.flow.cancelled.wait()
        assert house.flow.reasons == ["client_disconnected"]
        assert len(went) * 65536 < 16 << 20
        await house.until(lambda: not house.server.server_state.connections)
        wire.close()


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_a_caller_that_never_takes_the_end_of_its_answer(keep_alive: bool) -> None:
    """The flow is through, the answer is still in the buffer, the connection is closing."""
    async with open_house(guard=GuardLimits(write_timeout=1.0)) as house:

        async def script(_request: ChatRequest, reply: Reply) -> None:
            await reply.answer(text_answer("x" * (8 << 20)), SERVED)

        house.flow.script = script
        wire = await house.connect(limit=1)
        headers = {"connection": "keep-alive" if keep_alive else "close"}
        await wire.send(request("POST", "/v1/chat/completions", chat_body(), headers))
        await house.until(lambda: bool(house.flow.requests) and house.door.running == 0)
        await house.until(lambda: not house.server.server_state.connections)
        wire.close()


async def test_a_slow_caller_that_does_read_gets_everything() -> None:
    """It takes longer than the write deadline, but it never stops."""
    size = 12 << 20
    async with open_house(guard=GuardLimits(write_timeout=2.5)) as house:

        async def script(_request: ChatRequest, reply: Reply) -> None:
            await reply.answer(text_answer("x" * size), SERVED)

        house.flow.script = script
        wire = await house.connect(limit=65536)
        await wire.send(request("POST", "/v1/chat/completions", chat_body()))
        status, headers = await wire.head()
        left = int(headers["content-length"])
        began = time.monotonic()
        while left:
            piece = await wire.reader.read(min(left, 1 << 20))
            assert piece, "cut off"
            left -= len(piece)
            if left > 1 << 20:
                await asyncio.sleep(0.1)
        assert status == 200
        assert time.monotonic() - began > 2.5, "too fast to prove anything"
        wire.close()


async def test_a_body_that_never_comes_behind_an_early_answer() -> None:
    async with open_house(guard=GuardLimits(head_timeout=1.5)) as house:  # more than a sweep
        wire = await house.connect()
        await wire.send(b"GET /health/live HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
        assert (await wire.answer()).status == 200
        assert await closed(wire) == b""


async def test_trailers_are_not_kept() -> None:
    async with open_house() as house:
        wire = await house.connect()
        await wire.send(
            b"GET /health/live HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        await wire.send(b"1\r\nx\r\n0\r\n" + b"a: b\r\n" * 5000)
        assert (await wire.answer()).status == 200
        await house.until(lambda: bool(house.connections))
        assert [len(each.headers) for each in house.connections] == [0]
        wire.close()


@pytest.mark.parametrize(
    "behind",
    [
        b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n" * 20,
        b"GET http:///// HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=["too many", "bad"],
)
async def test_what_is_refused_behind_a_request_does_not_end_it(
    behind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More requests than may wait on a connection, or a bad one."""
    monkeypatch.setattr(guard, "_MOST_WAITING", 5)
    go_on = asyncio.Event()

    async def script(_request: ChatRequest, reply: Reply) -> None:
        await go_on.wait()
        await reply.answer(text_answer(), SERVED)

    async with open_house() as house:
        house.flow.script = script
        wire = await house.connect()
        await wire.send(request("POST", "/v1/chat/completions", chat_body()))
        await house.until(lambda: bool(house.flow.requests))
        await wire.send(behind)
        await house.until(lambda: house.connections[0]._deaf_since is not None)
        assert len(house.connections[0]._waiting) <= 5
        go_on.set()
        assert (await wire.answer()).status == 200
        wire.close()
