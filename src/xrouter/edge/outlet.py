"""One response on its way out: a status line with headers, then the body."""

from __future__ import annotations

import time

from xrouter.edge.asgi import Header, Send
from xrouter.edge.line import Line

JSON = b"application/json"
_TYPE = b"content-type"
_LENGTH = b"content-length"


class Outlet:
    """Knows the sending side and the headers that every response of the request has.

    line: a shorter way than ASGI's, where there is one. headers: may be added to until `started`.
    finished: the whole response was handed over. wrote_at: `time.monotonic()` of the last writing,
    `now` before the first.
    """

    __slots__ = ("_line", "_send", "finished", "headers", "started", "wrote_at")

    def __init__(self, send: Send, request_id: str, now: float, line: Line | None = None) -> None:
        self._send = send
        self._line = line
        self.headers: list[Header] = [(b"x-request-id", request_id.encode())]
        self.started = False
        self.finished = False
        self.wrote_at = now

    async def open(self, status: int, *headers: Header) -> None:
        """Send the status line and all headers."""
        self.started = True
        self.wrote_at = time.monotonic()
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, *self.headers],
            }
        )

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        self.wrote_at = time.monotonic()
        if self._line is None or not self._line.write(data):
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def close(self, data: bytes = b"") -> None:
        """Send the last piece of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})
        self.finished = True

    async def whole(self, status: int, kind: bytes, body: bytes, *headers: Header) -> None:
        """Send a response that is there as a whole. kind: its content type."""
        told = [(_TYPE, kind), (_LENGTH, b"%d" % len(body)), *headers]
        if self._line is not None and self._line.whole(status, told + self.headers, body):
            self.started = self.finished = True
            return
        await self.open(status, *told)
        await self.close(body)

    async def empty(self, status: int, *headers: Header) -> None:
        """Send a response without a body."""
        await self.open(status, *headers)
        await self.close()
