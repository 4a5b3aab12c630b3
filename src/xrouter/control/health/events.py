"""What happens to endpoints, told to everybody who listens, as server-sent events.

Everything is bounded: a listener that does not read loses what waits for it, and is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from xrouter.control.health.schemas import IncidentOut, StateChange
from xrouter.domain.errors import UpstreamOverloaded

MAX_WAITING = 100
MAX_LISTENERS = 100
HEARTBEAT_S = 15.0
HEARTBEAT = b": still here\n\n"
LOST = b'event: lost\ndata: {"hint": "read GET /control/v1/health again"}\n\n'

Queue = asyncio.Queue[bytes | None]
"""Frames; None at the end."""


class Events:
    """The listeners of this process."""

    def __init__(self) -> None:
        self._listeners: set[Queue] = set()
        self._closed = False

    def publish(self, name: str, item: StateChange | IncidentOut) -> None:
        """Tell all; never waits."""
        frame = f"event: {name}\ndata: {item.model_dump_json()}\n\n".encode()
        for queue in self._listeners:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(LOST)
            queue.put_nowait(frame)

    @contextmanager
    def listener(self) -> Iterator[Queue]:
        """What is published from now on. Raises UpstreamOverloaded when too many listen."""
        if len(self._listeners) >= MAX_LISTENERS:
            raise UpstreamOverloaded("Too many listen to the events already.", retry_after=5.0)
        queue: Queue = asyncio.Queue(MAX_WAITING)
        if self._closed:
            queue.put_nowait(None)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        """The server leaves: every stream ends after what it was told."""
        self._closed = True
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)


class EventStream(Response):
    """Server-sent events until the listener leaves or the server does."""

    media_type = "text/event-stream"

    def __init__(self, events: Events, heartbeat_s: float = HEARTBEAT_S) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"
        self._events = events
        self._heartbeat_s = heartbeat_s

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._events.listener() as queue:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            left = asyncio.create_task(_left(receive))
            try:
                await self._tell(queue, left, send)
                if not left.done():
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                left.cancel()
                await asyncio.gather(left, return_exceptions=True)

    async def _tell(self, queue: Queue, left: asyncio.Task[None], send: Send) -> None:
        frame: bytes | None = HEARTBEAT
        while frame is not None and not left.done():
            await send({"type": "http.response.body", "body": frame, "more_body": True})
            news = asyncio.create_task(queue.get())
            await asyncio.wait(
                (news, left), timeout=self._heartbeat_s, return_when=asyncio.FIRST_COMPLETED
            )
            if news.done():
                frame = news.result()
            else:
                news.cancel()
                frame = HEARTBEAT


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
