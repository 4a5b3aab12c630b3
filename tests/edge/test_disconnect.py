"""Callers that leave: whatever is being done for them is cancelled, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.edge.harness import (
    PATIENCE,
    SERVED,
    House,
    Wire,
    chat_body,
    request,
    say_hello,
)

from xrouter.domain.answer import ChatDelta
from xrouter.domain.chat import ChatRequest
from xrouter.domain.ports import Reply
from xrouter.edge.disconnect import Cancellation


async def wait_for_ever(_request: ChatRequest, _reply: Reply) -> None:
    await asyncio.Event().wait()


async def stream_slowly(_request: ChatRequest, reply: Reply) -> None:
    await reply.start(SERVED)
    while True:
        await reply.deltas([ChatDelta(text="x")])
        await asyncio.sleep(0.01)


async def begin(house: House, *, streaming: bool) -> Wire:
    wire = await house.connect()
    await wire.send(request("POST", "/v1/chat/completions", chat_body(stream=streaming)))
    async with asyncio.timeout(PATIENCE):
        await house.flow.entered.wait()
    return wire


async def is_cancelled(house: House) -> None:
    async with asyncio.timeout(PATIENCE):
        await house.flow.cancelled.wait()
    await house.until(lambda: house.door.running == 0)
    assert house.flow.reasons == ["client_disconnected"]


LEAVING: dict[str, Callable[[Wire], None]] = {
    "close": Wire.close,
    "reset": Wire.reset,
    "half close": lambda wire: wire.writer.write_eof(),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("how", LEAVING)
async def test_a16_leaving_while_waiting(
    house: House, streaming: bool, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    house.flow.script = wait_for_ever
    wire = await begin(house, streaming=streaming)
    LEAVING[how](wire)
    await is_cancelled(house)
    wire.close()
    assert caplog.text == ""


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_leaving_in_the_middle_of_a_stream(
    house: House, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    house.flow.script = stream_slowly
    wire = await begin(house, streaming=True)
    await wire.head()
    await wire.piece()
    LEAVING[how](wire)
    await is_cancelled(house)
    assert caplog.text == ""


async def test_leaving_while_we_wait_for_room_to_write(house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        while True:
            await reply.deltas([ChatDelta(text="x" * 65536)])

    house.flow.script = script
    wire = await begin(house, streaming=True)
    await house.until(lambda: all(c.flow.write_paused for c in house.connections))
    wire.reset()
    await is_cancelled(house)


async def test_leaving_with_another_request_in_the_pipe(house: House) -> None:
    house.flow.script = wait_for_ever
    wire = await begin(house, streaming=False)
    await wire.send(request("POST", "/v1/chat/completions", chat_body()))
    await asyncio.sleep(0.05)
    wire.close()
    await is_cancelled(house)
    assert len(house.flow.requests) == 1


async def test_the_end_of_an_answer_is_not_a_leaving(house: House) -> None:
    """Work that the flow does after its last byte is not cut short."""
    after = asyncio.Event()

    async def script(request: ChatRequest, reply: Reply) -> None:
        await say_hello(request, reply)
        await asyncio.sleep(0.1)
        after.set()

    house.flow.script = script
    wire = await begin(house, streaming=True)
    assert (await wire.answer()).chunks
    wire.close()
    async with asyncio.timeout(PATIENCE):
        await after.wait()
    assert house.flow.reasons == []


async def test_a_flow_that_cleans_up_slowly_is_cancelled_only_once(house: House) -> None:
    cleaned = asyncio.Event()

    async def script(_request: ChatRequest, _reply: Reply) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            cleaned.set()

    house.flow.script = script
    wire = await begin(house, streaming=True)
    wire.close()
    async with asyncio.timeout(PATIENCE):
        await cleaned.wait()
    await is_cancelled(house)


async def test_a_cancellation_by_somebody_else_goes_on() -> None:
    entered = asyncio.Event()
    ours: list[bool] = []

    async def work() -> None:
        cancellation = Cancellation()
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ours.append(cancellation.is_ours())
            raise

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ours == [False]


async def test_both_at_once_goes_on_too() -> None:
    ours: list[bool] = []
    made: list[Cancellation] = []

    async def work() -> None:
        made.append(Cancellation())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ours.append(made[0].is_ours())

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    made[0].cancel("first")
    made[0].cancel("second")
    task.cancel()
    await task
    assert (ours, made[0].reason) == ([False], "first")


async def test_a_thousand_callers_leave_and_nothing_stays(house: House) -> None:
    before = len(asyncio.all_tasks())
    house.flow.script = wait_for_ever
    for _ in range(10):
        wires = [await house.connect() for _ in range(100)]
        for wire in wires:
            await wire.send(request("POST", "/v1/chat/completions", chat_body(stream=True)))
        await house.until(lambda: house.door.running == 100)
        for wire in wires:
            wire.close()
        await house.until(lambda: house.door.running == 0)
    await house.until(lambda: not house.server.server_state.connections)
    await house.until(lambda: len(asyncio.all_tasks()) <= before)
    house.flow.script = say_hello
    assert (await house.chat(chat_body())).status == 200
