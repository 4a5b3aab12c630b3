from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.control.conftest import ADMIN, Api

from xrouter.control.health import events as module
from xrouter.control.health.events import HEARTBEAT, LOST, MAX_WAITING, Events, EventStream
from xrouter.control.health.schemas import StateChange

CHANGE = StateChange(
    provider="acme", endpoint="primary", state="down", before="healthy", since=None, cause="slow"
)
FRAME = (
    b'event: state\ndata: {"provider":"acme","endpoint":"primary","state":"down",'
    b'"before":"healthy","since":null,"cause":"slow"}\n\n'
)


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """What is tested here has to do with no database."""
    return sqlite_url


class Listener:
    """The far end of a stream: what it was sent; it may leave."""

    def __init__(self, app: Any) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._left = asyncio.Event()
        self._began = False
        self.task = asyncio.create_task(app(self._scope(), self._receive, self.sent.put))

    @staticmethod
    def _scope() -> dict[str, Any]:
        return {
            "type": "http",
            "method": "GET",
            "path": "/control/v1/health/events",
            "raw_path": b"/control/v1/health/events",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"authorization", f"Bearer {ADMIN}".encode())],
        }

    async def _receive(self) -> dict[str, Any]:
        if not self._began:
            self._began = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        self._left.set()

    async def next(self) -> Any:
        async with asyncio.timeout(20):
            message = await self.sent.get()
        return message["body"] if message["type"] == "http.response.body" else message


async def test_a_listener_hears_what_happens(health_app: FastAPI, events: Events) -> None:
    listener = Listener(health_app)
    start = await listener.next()
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"cache-control"] == b"no-store"
    assert b"content-length" not in headers
    assert await listener.next() == HEARTBEAT
    events.publish("state", CHANGE)
    events.publish("state", CHANGE)
    assert [await listener.next(), await listener.next()] == [FRAME, FRAME]
    listener.leave()
    await asyncio.wait_for(listener.task, 20)
    assert events._listeners == set()
    assert listener.sent.empty()


async def test_when_the_server_leaves_the_streams_end(health_app: FastAPI, events: Events) -> None:
    listener = Listener(health_app)
    assert (await listener.next())["status"] == 200
    assert await listener.next() == HEARTBEAT
    events.publish("state", CHANGE)
    events.close()
    assert [await listener.next(), await listener.next()] == [FRAME, b""]
    await asyncio.wait_for(listener.task, 20)
    late = Listener(health_app)
    assert (await late.next())["status"] == 200
    assert [await late.next(), await late.next()] == [HEARTBEAT, b""]
    await asyncio.wait_for(late.task, 20)


async def test_silence_is_broken_by_heartbeats(events: Events) -> None:
    listener = Listener(EventStream(events, heartbeat_s=0.01))
    await listener.next()
    assert [await listener.next() for _ in range(3)] == [HEARTBEAT] * 3
    events.publish("state", CHANGE)
    async with asyncio.timeout(20):
        while await listener.next() != FRAME:
            pass
    listener.leave()
    await asyncio.wait_for(listener.task, 20)


async def test_one_that_does_not_read_loses_what_waits_and_is_told(events: Events) -> None:
    with events.listener() as queue:
        for _ in range(MAX_WAITING + 1):
            events.publish("state", CHANGE)
        assert queue.qsize() == 2
        assert [queue.get_nowait(), queue.get_nowait()] == [LOST, FRAME]
        for _ in range(MAX_WAITING):
            events.publish("state", CHANGE)
        events.close()
        frames = [queue.get_nowait() for _ in range(queue.qsize())]
    assert len(frames) == MAX_WAITING
    assert frames[-1] is None


async def test_only_so_many_may_listen(
    health: Api, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LISTENERS", 1)
    with events.listener():
        error = await health.error("GET", "/health/events", status=503)
        assert error["code"] == "server_is_overloaded"


async def test_events_need_the_admin_token(health_app: FastAPI) -> None:
    transport = httpx2.ASGITransport(app=health_app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://control.test") as client:
        reply = await client.get("/control/v1/health/events")
    assert reply.status_code == 401
