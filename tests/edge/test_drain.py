"""Leaving: what is running may end, then it is cut and told why."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

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

ROOT = Path(__file__).parents[2]
LONG = 60.0


class Gate:
    """A flow that begins, waits, and ends when it is let."""

    def __init__(self, house: House) -> None:
        self.opened = asyncio.Event()
        house.flow.script = self.script

    async def script(self, request: ChatRequest, reply: Reply) -> None:
        if not request.streaming:
            await self.opened.wait()
            await reply.answer(text_answer(), SERVED)
            return
        await reply.start(SERVED)
        await reply.deltas([ChatDelta(text="a")])
        await self.opened.wait()
        await reply.deltas([ChatDelta(text="b", finish_reason="stop")])
        await reply.end(None)


async def begin(house: House, *, streaming: bool) -> Wire:
    wire = await house.connect()
    running = house.door.running
    await wire.send(request("POST", "/v1/chat/completions", chat_body(stream=streaming)))
    await house.until(lambda: house.door.running == running + 1)
    return wire


async def gone(house: House) -> None:
    assert house.running is not None
    async with asyncio.timeout(PATIENCE):
        await asyncio.shield(house.running)


async def test_what_is_running_ends_in_peace() -> None:
    async with open_house(grace=LONG) as house:
        gate = Gate(house)
        wires = [await begin(house, streaming=n % 2 == 0) for n in range(20)]
        house.server.stop()
        await house.until(lambda: not house.server.accepts)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*house.address)
        gate.opened.set()
        for number, wire in enumerate(wires):
            answer = await wire.answer()
            assert answer.status == 200
            assert answer.chunks if number % 2 == 0 else answer.json["choices"]
            assert await wire.rest() == b""
            wire.close()
        await gone(house)
        assert house.flow.reasons == []


async def test_while_others_look_away_new_requests_are_still_answered() -> None:
    async with open_house(grace=LONG, drain_delay=LONG) as house:
        gate = Gate(house)
        wire = await begin(house, streaming=True)
        house.server.stop()
        ready = await house.call("GET", "/health/ready")
        assert (ready.status, ready.json["status"]) == (503, "draining")
        gate.opened.set()
        assert (await house.chat(chat_body())).status == 200
        assert (await wire.answer()).chunks
        wire.close()
        house.server.stop()
        await gone(house)


@pytest.mark.parametrize("streaming", [True, False])
async def test_after_the_grace_it_is_cut_and_told(
    streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house(grace=0.2) as house:
        Gate(house)
        wire = await begin(house, streaming=streaming)
        house.server.stop()
        answer = await wire.answer()
        error = answer.chunks[-1]["error"] if streaming else answer.error
        assert answer.status == (200 if streaming else 503)
        assert (error["code"], error["type"]) == ("server_shutdown", "service_unavailable_error")
        assert answer.whole
        wire.close()
        await gone(house)
        assert house.flow.reasons == ["server_shutdown"]
        assert caplog.text == ""


async def test_a_second_signal_ends_the_grace() -> None:
    async with open_house(grace=LONG) as house:
        Gate(house)
        wire = await begin(house, streaming=True)
        house.server.stop()
        await house.until(lambda: not house.server.accepts)
        house.server.stop()
        assert (await wire.answer()).chunks[-1]["error"]["code"] == "server_shutdown"
        wire.close()
        await gone(house)


async def test_a_request_that_is_half_sent_is_cut_as_well() -> None:
    async with open_house(grace=0.2) as house:
        wire = await house.connect()
        await wire.send(request("POST", "/v1/chat/completions", b"", {"content-length": "100"}))
        await house.until(lambda: house.door.running == 1)
        house.server.stop()
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (503, "server_shutdown")
        wire.close()
        await gone(house)


async def test_idle_connections_and_deaf_callers_hold_nobody_up() -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        while True:
            await reply.deltas([ChatDelta(text="x" * 65536)])

    async with open_house(grace=0.2) as house:
        house.flow.script = script
        idle, silent = [await house.connect() for _ in range(2)]
        deaf = await house.connect(limit=1)
        await idle.send(request("GET", "/v1/models"))
        await idle.answer()
        await deaf.send(request("POST", "/v1/chat/completions", chat_body(stream=True)))
        await house.until(lambda: house.door.running == 1)
        house.server.stop()
        await gone(house)
        assert house.flow.reasons == ["server_shutdown"]
        for wire in (idle, silent, deaf):
            wire.close()


SCRIPT = """
import asyncio, sys
from tests.edge.harness import ScriptedFlow, make_door, SERVED
from xrouter.app.accept import entrance
from xrouter.edge import run
from xrouter.domain.answer import ChatDelta

flow = ScriptedFlow()

async def script(request, reply):
    await reply.start(SERVED)
    await reply.deltas([ChatDelta(text="a")])
    await asyncio.Event().wait()

flow.script = script

class Server(run.DoorServer):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.address[1], flush=True)

Server(make_door(flow), run.RunOptions(port=0, grace=float(sys.argv[1])), entrance).run()
print("done", flow.reasons, flush=True)
"""


async def refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return True
    writer.close()
    return False


@pytest.mark.parametrize(
    "number,signals", [(signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGTERM, 2)]
)
async def test_signals_end_the_process_in_order(number: signal.Signals, signals: int) -> None:
    grace = "0.3" if signals == 1 else "600"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, grace,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            port = int(await process.stdout.readline())
            wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
            await wire.send(request("POST", "/v1/chat/completions", chat_body(stream=True)))
            await wire.head()
            began = time.monotonic()
            process.send_signal(number)
            if signals > 1:
                while not await refuses(port):  # it has not seen the first
                    await asyncio.sleep(0.01)
                process.send_signal(number)
            body = (await wire.rest()).decode()
            wire.close()
            assert '"code":"server_shutdown"' in body
            assert time.monotonic() - began < PATIENCE
            assert await process.wait() == 0
            assert b"done ['server_shutdown']" in await process.stdout.read()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
