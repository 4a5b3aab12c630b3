"""One connection to a provider, and the answer that comes on it.

- Closing is aborting. A polite close first waits until the other side has read what we still had
  to send, which a stuck provider never does; TLS would wait for a farewell, too. While an answer
  is due the connection is reset, so that the other side learns of it without reading anything.
- A kept connection that dies before any byte of the answer is told apart (`StaleConnection`), so
  that exactly this case, and no other, can be tried again.
- A body is whole when its framing says so, or, where there is none, when the other side ended the
  connection properly: a reset is no end.
- A connection on which bytes lie that nobody asked for is not used again.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from functools import lru_cache
from socket import SO_LINGER, SOL_SOCKET
from typing import cast

import httptools
from msgspec import Struct
from typing_extensions import override

from xrouter.domain.errors import XRouterError
from xrouter.wire import errors

READ_BUFFER = 64 << 10
LONGEST_NAME = 256
LARGE_BODY = 1 << 20
FIRST_FINAL = 200
NO_BODY = (204, 304)

_PIECE = 256 << 10
_RESET = struct.pack("ii", 1, 0)  # linger on, for no time: closing sends a reset


class Limits(Struct, frozen=True):
    """Of an answer's head and of its trailers: fields, bytes of one, bytes of all."""

    fields: int = 128
    field: int = 16 << 10
    head: int = 64 << 10


@lru_cache(maxsize=512)
def _lower(name: bytes) -> str:
    """The name of a header; most answers have the same ones. Raises ValueError when too long."""
    if len(name) > LONGEST_NAME:
        raise ValueError
    return name.decode("latin-1").lower()


class StaleConnection(Exception):
    """A kept connection was dropped before the answer's first byte."""


class Connection(asyncio.Protocol):
    """Carries one request at a time: `ask`, then `chunk` until b"", then `kept` tells what to do.

    where: the origin, for hints. error: why no more will come. on_lost: called once, when the
    connection is no more.
    """

    __slots__ = (
        "_head",
        "_heard",
        "_idle",
        "_keeps",
        "_limits",
        "_loop",
        "_on_lost",
        "_parser",
        "_parts",
        "_paused",
        "_quiet",
        "_read",
        "_sent",
        "_size",
        "_stale",
        "_stuck",
        "_to_the_end",
        "_transport",
        "_uses",
        "_waiter",
        "_where",
        "answered",
        "ended",
        "error",
        "headers",
        "idle_since",
        "status",
    )

    def __init__(
        self, where: str, limits: Limits, on_lost: Callable[[Connection], None] | None = None
    ) -> None:
        self._where = where
        self._limits = limits
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._uses = 0
        self._idle = True  # no request is out
        self._stuck = False  # the transport has enough to send
        self._paused = False  # the transport must not read
        self._keeps = True  # may carry another request
        self._stale = False
        self.error: XRouterError | None = None
        self._parts: list[bytes] = []
        self._renew()
        self.idle_since = 0.0

    def _renew(self) -> None:
        """Forget the last answer."""
        self._heard = False
        self._head: list[tuple[bytes, bytes]] = []
        self._quiet = 0
        self._size = 0
        self._to_the_end = False  # only the end of the connection ends the body
        self._sent = True
        self.answered = False
        self.ended = False
        self.status = 0
        self.headers: dict[str, str] = {}

    # --- for the client

    @property
    def usable(self) -> bool:
        """Whether it can carry a request now."""
        return self._keeps and self._transport is not None and not self._transport.is_closing()

    @property
    def transport(self) -> asyncio.Transport:
        """What carries it; only before it is lost."""
        if self._transport is None:
            raise errors.hung_up(None, self._where)
        return self._transport

    async def ask(self, head: bytes, body: bytes = b"") -> None:
        """Send a request and wait for the answer's head: `status`, `headers`.

        Raises UpstreamError, and StaleConnection where it may be sent again on another connection.
        Whoever is cancelled must `abort`.
        """
        self._renew()
        self._uses += 1
        self._idle = False
        transport = self._transport
        if transport is not None and len(body) <= LARGE_BODY:
            transport.write(head + body if body else head)
        elif transport is not None:
            transport.write(head)
            await self._send(transport, memoryview(body))
        while not self.answered:
            if self._stale:
                raise StaleConnection
            if self.error is not None:
                raise self.error
            if self._transport is None:
                self._lost(None)
                continue
            await self._news()

    async def chunk(self) -> bytes:
        """The next bytes as soon as any have come, b"" at the proper end.

        What came before a break is given first. Raises UpstreamMalformed, UpstreamUnreachable.
        """
        while True:
            if self._parts:
                return self._taken()
            if self.ended:
                return b""
            if self.error is not None:
                raise self.error
            await self._news()

    def rest(self) -> bytes:
        """What lies here of an answer that has `ended`."""
        return self._taken() if self._parts else b""

    def kept(self) -> bool:
        """The answer was read. Whether the connection can carry another; else it is gone."""
        transport = self._transport
        whole = self.ended and self.usable and self._sent and not self._parts
        if transport is not None and whole and not transport.get_write_buffer_size():
            self._idle = True
            return True
        self.abort()
        return False

    def abort(self) -> None:
        """Let go at once. Never waits; doing so twice is harmless."""
        transport = self._transport
        if transport is None:
            return
        due = not self._idle and not (self.ended and self._sent)
        if due and not transport.is_closing():
            socket = transport.get_extra_info("socket")
            if socket is not None:
                socket.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self._fail(errors.hung_up(None, self._where))
        transport.abort()

    def hand_over(self, transport: asyncio.Transport) -> None:
        """What carries it was made by others: TLS within a tunnel."""
        self._transport = transport

    async def _send(self, transport: asyncio.Transport, body: memoryview) -> None:
        """In pieces, so that others get their turn; no further when the answer is there."""
        for at in range(0, len(body), _PIECE):
            while self._stuck and not (self.answered or self.error or self._stale):
                await self._news()
            if self.answered or self.error or self._stale:
                self._sent = False
                return
            transport.write(body[at : at + _PIECE])

    def _news(self) -> asyncio.Future[None]:
        """To be awaited: something happens."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _taken(self) -> bytes:
        parts = self._parts
        taken = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        return taken

    def _fail(self, error: XRouterError) -> None:
        self._keeps = False
        if self.error is None and not self.ended:
            self.error = error
        self._wake()

    def _told(self) -> dict[str, str]:
        """The fields so far. Raises ValueError when they are too many or too long."""
        head, most = self._head, self._limits.field
        if len(head) > self._limits.fields:
            raise ValueError
        headers = {}
        for name, value in head:
            if len(value) > most:
                raise ValueError
            headers[_lower(name)] = value.decode("latin-1").strip()
        return headers

    # --- for the transport

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._idle:
            self.abort()  # nobody asked
            return
        self._heard = True
        self._read = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._damaged()
            return
        if self._read or self.ended:
            self._wake()
            return
        self._quiet += len(data)
        if self._quiet > self._limits.head:
            self._damaged()

    def _damaged(self) -> None:
        self._fail(errors.cut(self._where) if self.answered else errors.not_http(self._where))
        if self._transport is not None:
            self._transport.abort()

    @override
    def pause_writing(self) -> None:
        self._stuck = True

    @override
    def resume_writing(self) -> None:
        self._stuck = False
        self._wake()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._transport = None
        self._lost(exc)
        if self._on_lost is not None:
            self._on_lost(self)

    def _lost(self, exc: BaseException | None) -> None:
        if not self._heard and self._uses > 1:
            self._stale = True
            self._wake()
        elif exc is not None or not self.answered:
            self._fail(errors.hung_up(exc, self._where))
        elif self._to_the_end:
            self.ended = True
            self._wake()
        else:
            self._fail(errors.cut(self._where))

    # --- for the parser

    def on_message_begin(self) -> None:
        """Bytes after the end of an answer are for nobody."""
        if self.ended:
            self._keeps = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Also in trailers, which nobody reads."""
        self._head.append((name, value))
        if self.answered:
            self._told()

    def on_headers_complete(self) -> None:
        """The head is whole; that of an interim answer is not the one we wait for."""
        headers = self._told()
        status = self._parser.get_status_code()
        if status < FIRST_FINAL or self.answered:
            return
        self.headers = headers
        self._read = True
        self.status = status
        self.answered = True
        if "content-length" not in headers and status not in NO_BODY:
            framing = headers.get("transfer-encoding", "").lower()
            self._to_the_end = not framing.endswith("chunked")

    def on_body(self, data: bytes) -> None:
        """A piece of it."""
        if self.ended:
            return
        self._read = True
        self._quiet = 0
        self._parts.append(data)
        self._size += len(data)
        if self._size > READ_BUFFER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Of the answer, or of an interim one."""
        if not self.answered:
            self._head.clear()
            return
        if not self.ended:
            self.ended = True
            self._keeps = self._keeps and self._parser.should_keep_alive()
