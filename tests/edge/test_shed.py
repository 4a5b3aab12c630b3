from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.edge.harness import (
    SERVED,
    Answer,
    House,
    chat_body,
    open_house,
    request,
    say_hello,
)

from xrouter.domain.answer import ChatDelta
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.ports import Reply
from xrouter.edge import visit as visits
from xrouter.edge.asgi import Receive, Scope, Send
from xrouter.edge.limits import DoorLimits
from xrouter.edge.routes import Route
from xrouter.edge.shed import Overloaded, Place, Shed
from xrouter.edge.visit import Visit
from xrouter.telemetry.logs import log

CHAT = "/v1/chat/completions"
DIALECTS = {
    CHAT: chat_body(),
    "/v1/embeddings": {"model": "acme/one", "input": "x"},
    "/v1/responses": {"model": "acme/one", "input": "Hi"},
    "/v1/messages": chat_body(max_tokens=5),
}


class Busy:
    """A house whose answers wait for the gate."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.shed: Shed = house.door.shed
        self.gate = asyncio.Event()
        self.calls: list[asyncio.Task[Answer]] = []
        house.flow.script = self._script

    async def _script(self, request: ChatRequest, reply: Reply) -> None:
        await self.gate.wait()
        await say_hello(request, reply)

    async def fill(self, count: int, body: Any = None, **headers: str) -> None:
        """Let so many requests begin."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        before = self.shed.running
        for _ in range(count):
            call = self.house.call("POST", CHAT, body or chat_body(), headers)
            self.calls.append(asyncio.create_task(call))
        await self.house.until(lambda: self.shed.running == before + count)
        await self.house.until(lambda: len(self.house.flow.requests) == len(self.calls))

    async def until_refused(self, count: int) -> None:
        """Altogether, also for the lag of a machine that has much to do."""
        await self.house.until(lambda: sum(self.shed.refused.values()) == count)

    async def finish(self) -> None:
        """All that was let in is answered."""
        self.gate.set()
        assert {answer.status for answer in await asyncio.gather(*self.calls)} <= {200}
        await self.house.until(lambda: self.shed.running == 0)
        assert self.shed.held == 0


@asynccontextmanager
async def busy_house(**limits: Any) -> AsyncIterator[Busy]:
    """A slow machine is not what is refused for, unless a test says so."""
    patient: dict[str, Any] = {"max_lag": 3600.0}
    async with open_house(limits=DoorLimits(**patient | limits)) as house:
        busy = Busy(house)
        yield busy
        await busy.finish()


def priority(name: str) -> dict[str, str]:
    return {"x-xrouter-priority": name}


def refused(answer: Answer) -> bool:
    if answer.status == 200:
        return False
    assert answer.status == 503
    assert answer.error["code"] == "overloaded"
    assert answer.error["type"] == "service_unavailable_error"
    assert 1 <= int(answer.headers["retry-after"]) <= 3
    assert 1000 <= int(answer.headers["retry-after-ms"]) <= 3000
    return True


# --- how many are let in


def entered(shed: Shed, name: str, count: int) -> list[Place]:
    return [shed.enter({b"x-xrouter-priority": name.encode()}) for _ in range(count)]


@pytest.mark.parametrize("name,most", [("low", 7), ("normal", 10), ("high", 11)])
def test_the_less_a_request_matters_the_earlier_it_is_refused(name: str, most: int) -> None:
    shed = Shed(DoorLimits(max_running=10))
    places = entered(shed, name, most)
    for _ in range(2):
        with pytest.raises(Overloaded):
            entered(shed, name, 1)
    assert shed.refused == {"running": 2, "bytes": 0, "lag": 0}
    places.pop().leave()
    entered(shed, name, 1)


@pytest.mark.parametrize("most", [1, 2])
def test_there_is_room_for_one_of_each_priority(most: int) -> None:
    for name in ("low", "normal", "high"):
        entered(Shed(DoorLimits(max_running=most)), name, 1)


@pytest.mark.parametrize(
    "lag,let_in",
    [
        (0.12, ["low", "normal", "high"]),
        (0.13, ["normal", "high"]),
        (0.26, ["high"]),
        (0.51, []),
    ],
)
def test_a_late_event_loop(lag: float, let_in: list[str]) -> None:
    shed = Shed(DoorLimits(max_running=1000))
    entered(shed, "normal", 10)
    shed.lag = lag
    found = []
    for name in ("low", "normal", "high"):
        try:
            entered(shed, name, 1)
            found.append(name)
        except Overloaded:
            shed.refused["lag"] -= 1
    assert found == let_in
    assert not any(shed.refused.values())
    assert ("lag" in shed.degraded()) == (len(let_in) < 3)


def test_where_hardly_anything_runs_a_late_loop_refuses_nobody() -> None:
    shed = Shed(DoorLimits(max_running=1000))
    shed.lag = 9.0
    entered(shed, "low", 10)
    with pytest.raises(Overloaded):
        entered(shed, "high", 1)


def test_the_lag_is_smoothed() -> None:
    shed = Shed(DoorLimits())
    shed.note(0.5)
    assert shed.lag < 0.25
    for _ in range(5):
        shed.note(0.5)
    assert 0.25 < shed.lag < 0.5
    for _ in range(20):
        shed.note(0.0)
    assert shed.lag < 0.01


async def test_the_lag_is_measured() -> None:
    shed = Shed(DoorLimits())
    shed.start()
    shed.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        while not shed.lag > 0.02:
            time.sleep(0.2)  # nobody else gets a turn
            await asyncio.sleep(0)
    await shed.stop()
    await shed.stop()


def test_the_log_tells_when_it_begins_and_when_it_is_over() -> None:
    shed = Shed(DoorLimits(max_running=1))
    entered(shed, "normal", 1)
    with log.captured() as logs:
        shed.note(0.0)
        for _ in range(3):
            with pytest.raises(Overloaded):
                entered(shed, "normal", 1)
            shed.note(0.0)
        assert [(entry["event"], entry["running"]) for entry in logs] == [("shedding_began", 1)]
        for _ in range(60):
            shed.note(0.0)
    assert [(entry["event"], entry["running"]) for entry in logs][1:] == [("shedding_ended", 3)]


# --- at a real door


async def test_five_times_of_what_fits_does_not_lessen_what_is_answered() -> None:
    async with busy_house(max_running=20) as busy:
        house = busy.house
        for wave in range(1, 6):
            busy.gate.clear()
            calls = [asyncio.create_task(house.chat(chat_body())) for _ in range(100)]
            await busy.until_refused(80 * wave)
            assert busy.shed.running == 20
            busy.gate.set()
            answers = await asyncio.gather(*calls)
            assert [refused(answer) for answer in answers].count(False) == 20
            await house.until(lambda: busy.shed.running == 0)
        assert len(house.flow.requests) == 100


async def test_clients_that_come_again_are_all_answered_at_last() -> None:
    async with busy_house(max_running=4) as busy:
        busy.gate.set()
        most = 0

        async def script(asked: ChatRequest, reply: Reply) -> None:
            nonlocal most
            most = max(most, busy.shed.running)
            await asyncio.sleep(0)
            await say_hello(asked, reply)

        async def insist() -> None:
            wire = await busy.house.connect()
            while True:
                await wire.send(request("POST", CHAT, chat_body()))
                if not refused(await wire.answer()):
                    return

        busy.house.flow.script = script
        async with asyncio.timeout(60):
            await asyncio.gather(*(insist() for _ in range(40)))
        assert len(busy.house.flow.requests) == 40
        assert most <= 4


@pytest.mark.parametrize("path", DIALECTS)
async def test_every_dialect_tells_it_in_its_own_words_and_keeps_the_connection(path: str) -> None:
    async with busy_house(max_running=1) as busy:
        await busy.fill(1)
        wire = await busy.house.connect()
        for _ in range(3):
            await wire.send(request("POST", path, DIALECTS[path]))
            answer = await wire.answer()
            assert answer.status == 503
            assert 1 <= int(answer.headers["retry-after"]) <= 3
            assert "connection" not in answer.headers
            if path == "/v1/messages":
                assert answer.json["type"] == "error"
                assert answer.json["error"]["type"] == "overloaded_error"
                assert answer.json["error"]["code"] == "overloaded"
                assert answer.json["request_id"] == answer.headers["x-request-id"]
            else:
                assert refused(answer)
        await busy.finish()
        await wire.send(request("POST", path, DIALECTS[path]))
        assert (await wire.answer()).status == 200


async def test_a_small_body_that_is_still_coming_is_read_so_that_the_connection_is_kept() -> None:
    async with busy_house(max_running=1) as busy:
        await busy.fill(1)
        whole = request("POST", CHAT, chat_body())
        wire = await busy.house.connect()
        await wire.send(whole[:-20])
        await busy.until_refused(1)
        await wire.send(whole[-20:])
        assert refused(await wire.answer())
        await busy.finish()
        await wire.send(whole)
        assert (await wire.answer()).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": str(5 << 20)},
        {"transfer-encoding": "chunked"},
        {"content-length": "9", "expect": "100-continue"},
    ],
)
async def test_other_bodies_are_not_waited_for(headers: dict[str, str]) -> None:
    async with busy_house(max_running=1) as busy:
        await busy.fill(1)
        wire = await busy.house.connect()
        await wire.send(request("POST", CHAT, None, headers))
        answer = await wire.answer()
        assert refused(answer)
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("name", ["low", "normal", "high"])
async def test_the_priority_is_a_header(name: str) -> None:
    async with busy_house(max_running=10) as busy:
        await busy.fill({"low": 6, "normal": 9, "high": 10}[name])
        await busy.fill(1, **priority(name))
        for _ in range(2):
            assert refused(await busy.house.call("POST", CHAT, chat_body(), priority(name)))


@pytest.mark.parametrize("value", ["urgent", "", "LOW", "low, high", "x" * 500])
async def test_an_unknown_priority_is_named(house: House, value: str) -> None:
    answer = await house.call("POST", CHAT, chat_body(), priority(value))
    assert answer.status == 400
    assert answer.error["param"] == "x-xrouter-priority"
    assert answer.error["code"] == "invalid_value"
    assert f"'{value[:40]}'" in answer.error["message"]
    assert house.door.shed.running == 0


async def test_two_priorities_are_refused(house: House) -> None:
    head = request("POST", CHAT, chat_body(), priority("low"))
    wire = await house.connect()
    await wire.send(head.replace(b"host: test", b"host: test\r\nX-XRouter-Priority: high"))
    assert (await wire.answer()).error["code"] == "repeated_header"


@pytest.mark.parametrize("name", ["countries", "max-price", "tags", "session", "cache"])
async def test_two_different_conditions_are_refused(house: House, name: str) -> None:
    """The last one would win in silence."""
    for second, status in (("2", 400), ("1", 200)):
        head = request("POST", CHAT, chat_body(), {f"x-xrouter-{name}": "1"})
        again = f"host: test\r\nX-XRouter-{name}: {second}".encode()
        wire = await house.connect()
        await wire.send(head.replace(b"host: test", again))
        answer = await wire.answer()
        assert answer.status == status
        if status == 400:
            assert answer.error["code"] == "repeated_header"


async def test_some_pages_are_served_under_any_load() -> None:
    async def control(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"control"})

    limits = DoorLimits(max_running=1, max_lag=3600.0)
    async with open_house(limits=limits, fallback=control) as house:
        busy = Busy(house)
        ready = (await house.call("GET", "/health/ready")).json
        assert ready["status"] == "ready"
        assert "degraded" not in ready
        await busy.fill(1)
        assert refused(await house.chat(chat_body()))
        assert refused(await house.call("GET", "/v1/models"))
        for path in ("/health/live", "/health/ready", "/metrics", "/control/v1/x", "/docs", "/"):
            assert (await house.call("GET", path)).status == 200, path
        ready = (await house.call("GET", "/health/ready")).json
        assert ready["status"] == "ready"
        assert ready["degraded"] == ["running"]
        assert house.door.shed.refused == {"running": 2, "bytes": 0, "lag": 0}
        assert (await house.call("GET", "/nowhere")).status == 404
        await busy.finish()
        assert "degraded" not in (await house.call("GET", "/health/ready")).json


async def test_a_running_stream_is_not_cut() -> None:
    async with busy_house(max_running=1) as busy:

        async def script(_request: ChatRequest, reply: Reply) -> None:
            await reply.start(SERVED)
            await reply.deltas([ChatDelta(text="Hel")])
            await busy.gate.wait()
            await reply.deltas([ChatDelta(text="lo"), ChatDelta(finish_reason="stop")])
            await reply.end(None)

        busy.house.flow.script = script
        await busy.fill(1, chat_body(stream=True))
        busy.shed.lag = 9.0
        for _ in range(10):
            assert refused(await busy.house.chat(chat_body()))
        busy.gate.set()
        chunks = (await busy.calls[0]).chunks
        texts = [choice["delta"].get("content") for each in chunks for choice in each["choices"]]
        assert "".join(text or "" for text in texts) == "Hello"


# --- the bytes of bodies


def sized(size: int) -> bytes:
    """A good body of exactly so many bytes."""
    empty = len(json.dumps(chat_body(user="")))
    return json.dumps(chat_body(user="x" * (size - empty))).encode()


async def test_bodies_are_counted_until_the_answer() -> None:
    async with busy_house(max_body_bytes_in_flight=1000) as busy:
        chat = busy.house.call
        await busy.fill(1, sized(600))
        assert busy.shed.held == 600
        assert refused(await chat("POST", CHAT, sized(401)))
        assert refused(await chat("POST", CHAT, sized(200), priority("low")))
        await busy.fill(1, sized(150))
        assert busy.shed.degraded() == ("bytes",)
        await busy.fill(1, sized(350), **priority("high"))
        assert busy.shed.held == 1100
        assert busy.shed.refused == {"running": 0, "bytes": 2, "lag": 0}
        await busy.finish()
        assert (await busy.house.chat(sized(1000))).status == 200


async def test_a_body_larger_than_all_is_let_in_alone() -> None:
    async with busy_house(max_body_bytes_in_flight=500) as busy:
        await busy.fill(1, sized(5000))
        assert refused(await busy.house.chat(sized(200)))


async def test_what_a_body_inflates_to_is_counted() -> None:
    packed = gzip.compress(sized(900))
    assert len(packed) < 200
    async with busy_house(max_body_bytes_in_flight=1000) as busy:
        await busy.fill(1, sized(300))
        for _ in range(2):
            answer = await busy.house.call("POST", CHAT, packed, {"content-encoding": "gzip"})
            assert refused(answer)
        assert busy.shed.held == 300


async def test_a_body_of_unknown_length_is_counted_as_it_comes() -> None:
    async with busy_house(max_body_bytes_in_flight=1000) as busy:
        await busy.fill(1, sized(300))
        wire = await busy.house.connect()
        head = request("POST", CHAT, None, {"transfer-encoding": "chunked"})
        await wire.send(head + b"190\r\n" + b"x" * 400 + b"\r\n")
        await busy.house.until(lambda: busy.shed.held == 700)
        await wire.send(b"190\r\n" + b"x" * 400 + b"\r\n")
        assert refused(await wire.answer())
        await busy.house.until(lambda: busy.shed.held == 300)


async def test_a_large_body_is_counted_as_soon_as_it_is_announced() -> None:
    size = 2 << 20
    async with busy_house(max_body_bytes_in_flight=3 << 20) as busy:
        first, second, stranger = [await busy.house.connect() for _ in range(3)]
        announced = {"content-length": str(size)}
        await stranger.send(
            request("POST", CHAT, None, announced | {"authorization": "Bearer sk-stranger"})
        )
        assert (await stranger.answer()).status == 401
        assert busy.shed.held == 0
        await first.send(request("POST", CHAT, None, announced))
        await busy.house.until(lambda: busy.shed.held == size)
        await second.send(request("POST", CHAT, None, announced))
        assert refused(await second.answer())
        first.reset()
        await busy.house.until(lambda: busy.shed.held == 0)
        busy.gate.set()
        assert (await busy.house.chat(sized(size))).status == 200


async def test_a_body_that_is_too_large_for_any_load_is_still_a_413() -> None:
    async with busy_house(max_body_bytes_in_flight=1000, max_body=2000) as busy:
        await busy.fill(1, sized(300))
        assert (await busy.house.chat(sized(2001))).status == 413


# --- huge bodies


class Decoding:
    """A route that decodes in a way the test can stop."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.may_end = threading.Event()
        self.inside = self.most_inside = 0

    def parse(self, body: bytes) -> int:
        if body.startswith(b"bad"):
            raise InvalidRequest("No.", param="body")
        self.threads.append(threading.current_thread())
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        if threading.current_thread() is not threading.main_thread():
            assert self.may_end.wait(20)
        self.inside -= 1
        return len(body)

    async def serve(self, visit: Visit) -> None:
        size = await visit.read(self.parse)
        await visit.out.whole(200, b"application/json", b"%d" % size)


@pytest.fixture
async def decoding(house: House, monkeypatch: pytest.MonkeyPatch) -> Decoding:
    monkeypatch.setattr(visits, "HUGE_BODY", 1000)
    found = Decoding()
    house.door._table.add(Route(method="POST", path="/decode", serve=found.serve))
    return found


async def test_huge_bodies_are_decoded_beside_the_event_loop_one_at_a_time(
    house: House, decoding: Decoding
) -> None:
    huge = [
        asyncio.create_task(house.call("POST", "/decode", b"x" * size)) for size in (1001, 5000)
    ]
    await house.until(lambda: len(decoding.threads) == 1 and house.door.shed.held == 6001)
    assert (await house.chat(chat_body())).status == 200
    assert (await house.call("POST", "/decode", b"x" * 1000)).json == 1000
    assert decoding.threads[1] is threading.main_thread()
    decoding.may_end.set()
    assert [(await call).json for call in huge] == [1001, 5000]
    assert decoding.threads[0] is not threading.main_thread()
    assert decoding.threads[2] is not threading.main_thread()
    assert decoding.most_inside == 2  # one huge, one small


async def test_what_is_wrong_with_a_huge_body_is_told(house: House, decoding: Decoding) -> None:
    decoding.may_end.set()
    for body in (b"bad", b"bad" * 1000):
        answer = await house.call("POST", "/decode", body)
        assert answer.status == 400
        assert answer.error["param"] == "body"
    assert (await house.call("POST", "/decode", b"x" * 2000)).json == 2000
