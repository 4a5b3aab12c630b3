"""A worker asks the control process over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest

from xrouter.app.workers.link import Forwarder, Host

SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "server": ("127.0.0.1", 8080),
    "client": ("192.0.2.7", 1234),
    "scheme": "http",
    "method": "POST",
    "path": "/control/v1/ключ",
    "raw_path": b"/control/v1/%D0%BA",
    "root_path": "",
    "query_string": b"a=%ff",
    "headers": [(b"host", b"x"), (b"x-odd", b"\xff\x00")],
    "state": object(),
    "extensions": {"ours": object()},
}

App = Callable[[Any, Any, Any], Awaitable[None]]


class Caller:
    """The worker's server: a body in parts, then silence until it leaves."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = list(parts)
        self.left = asyncio.Event()
        self.seen: list[dict[str, Any]] = []
        self.came = asyncio.Condition()

    async def receive(self) -> dict[str, Any]:
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts)}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        async with self.came:
            self.seen.append(message)
            self.came.notify_all()

    async def wait_for(self, number: int) -> None:
        async with self.came:
            await self.came.wait_for(lambda: len(self.seen) >= number)

    @property
    def body(self) -> bytes:
        return b"".join(m["body"] for m in self.seen if m["type"] == "http.response.body")


@asynccontextmanager
async def linked(app: App) -> AsyncIterator[tuple[Forwarder, Host]]:
    with TemporaryDirectory() as folder:  # a short path: sockets have no long ones
        host = Host(app)
        await host.start(Path(folder) / "s")
        try:
            yield Forwarder(Path(folder) / "s"), host
        finally:
            await host.stop(0.1)


def begin(kind: bytes = b"text/plain") -> dict[str, Any]:
    return {"type": "http.response.start", "status": 201, "headers": [(b"content-type", kind)]}


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def test_all_of_a_request_and_its_answer() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await send(begin())
        await send(part(body))
        await send(part(b"!", more=False))

    caller = Caller(b"one ", b"two")
    async with linked(app) as (forwarder, _):
        await forwarder(dict(SCOPE), caller.receive, caller.send)
    told = {name: value for name, value in SCOPE.items() if name not in ("state", "extensions")}
    assert scopes == [told]
    assert caller.seen[0] == begin()
    assert caller.body == b"one two!"


async def test_a_caller_that_leaves_is_noticed_at_the_other_end() -> None:
    noticed = asyncio.Event()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await send(begin())
        while (await receive())["type"] != "http.disconnect":
            pass
        noticed.set()

    caller = Caller(b"")
    async with linked(app) as (forwarder, _):
        asking = asyncio.create_task(forwarder(dict(SCOPE), caller.receive, caller.send))
        await caller.wait_for(1)
        caller.left.set()
        await asyncio.wait_for(noticed.wait(), 10)
        await asking


async def test_without_a_control_process_it_is_a_503() -> None:
    caller = Caller(b"")
    await Forwarder(Path("/nonexistent"))(dict(SCOPE), caller.receive, caller.send)
    assert caller.seen[0]["status"] == 503
    assert msgspec.json.decode(caller.body)["error"]["code"] == "not_ready"


async def test_one_that_dies_before_it_answers_is_a_503_and_after_that_a_broken_answer() -> None:
    async def dies(_scope: Any, _receive: Any, _send: Any) -> None:
        raise OSError

    async def dies_later(_scope: Any, _receive: Any, send: Any) -> None:
        await send(begin())
        await send(part(b"half"))
        raise OSError

    caller = Caller(b"")
    async with linked(dies) as (forwarder, _):
        await forwarder(dict(SCOPE), caller.receive, caller.send)
    assert caller.seen[0]["status"] == 503
    caller = Caller(b"")
    async with linked(dies_later) as (forwarder, _):
        await forwarder(dict(SCOPE), caller.receive, caller.send)
    assert caller.body == b"half"
    assert caller.seen[-1]["more_body"]  # so that the server breaks the connection


@pytest.mark.parametrize("kind", [b"text/event-stream", b"text/plain"])
async def test_a_worker_that_leaves_ends_streams_of_events_alone(kind: bytes) -> None:
    go_on = asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(begin(kind))
        await send(part(b"one"))
        await go_on.wait()
        await send(part(b"two", more=False))

    caller = Caller(b"")
    async with linked(app) as (forwarder, _):
        asking = asyncio.create_task(forwarder(dict(SCOPE), caller.receive, caller.send))
        await caller.wait_for(2)
        forwarder.leave()
        if kind == b"text/plain":
            go_on.set()
        await asyncio.wait_for(asking, 10)
    assert caller.body == (b"one" if kind == b"text/event-stream" else b"onetwo")
    assert not caller.seen[-1]["more_body"]
