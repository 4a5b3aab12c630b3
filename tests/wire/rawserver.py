"""An upstream made of a plain socket: the test says each byte, and sees when the peer goes away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil

PATIENCE = 60.0
"""Bounds a wait for something that must come; never the thing that is tested."""

_ESTABLISHED = 1  # tcpi_state of Linux


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


class Conn:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.written = 0

    async def head(self) -> Request:
        """Read a request up to its body."""
        async with asyncio.timeout(PATIENCE):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *fields = raw.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ", 2)
        pairs = (field.split(":", 1) for field in fields)
        return Request(method, target, {k.lower(): v.strip() for k, v in pairs})

    async def request(self) -> Request:
        """Read a whole request."""
        request = await self.head()
        size = int(request.headers.get("content-length", "0"))
        async with asyncio.timeout(PATIENCE):
            request.body = await self.reader.readexactly(size)
        return request

    async def has_request(self) -> bool:
        """Whether one has begun to arrive within a moment; it is read."""
        try:
            async with asyncio.timeout(0.2):
                await self.reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return False
        return True

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            self.written += len(piece)

    async def reply(self, body: bytes, *fields: str, status: str = "200 OK") -> None:
        await self.send(head(*fields, f"content-length: {len(body)}", status=status) + body)

    def finish(self) -> None:
        """A clean close."""
        self.writer.close()

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def is_gone(self) -> bool:
        """Whether the peer has closed or reset, as the kernel knows it, read or not."""
        if self.writer.transport.is_closing() or self.reader.at_eof():
            return True
        raw = self.writer.get_extra_info("socket")
        try:
            info: bytes = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except OSError:
            return True
        return info[0] != _ESTABLISHED

    async def gone(self) -> None:
        """Wait until the peer has gone."""
        await until(self.is_gone)


class RawServer:
    """Listens on a free port of the loopback. Connections are handed to the test in order,

    or to `script`, if one is given."""

    def __init__(self, script: Callable[[Conn], Awaitable[None]] | None = None) -> None:
        self._script = script
        self._queue: asyncio.Queue[Conn] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheme = "http"
        self.conns: list[Conn] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    async def accept(self) -> Conn:
        async with asyncio.timeout(PATIENCE):
            return await self._queue.get()

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
        self._scheme = "http" if tls is None else "https"
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for conn in self.conns:
                conn.writer.transport.abort()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conn = Conn(reader, writer)
        self.conns.append(conn)
        if self._script is None:
            self._queue.put_nowait(conn)
            return
        task = asyncio.ensure_future(self._run(self._script, conn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, script: Callable[[Conn], Awaitable[None]], conn: Conn) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await script(conn)


def head(*fields: str, status: str = "200 OK") -> bytes:
    """The head of an answer."""
    return "\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode()


def piece(data: bytes) -> bytes:
    """One chunk of a chunked body; of b"", its end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = "transfer-encoding: chunked"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.002)


async def settles(value: Callable[[], int]) -> int:
    """Wait until a growing number has stopped to grow, and give it."""
    last, still = value(), 0
    async with asyncio.timeout(PATIENCE):
        while still < 10:
            await asyncio.sleep(0.02)
            now = value()
            still = still + 1 if now == last else 0
            last = now
    return last


def sockets_to(port: int) -> int:
    """How many sockets of this process lead to a port, in whatever state."""
    return sum(
        1 for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == port
    )


def assert_no_secret(error: BaseException) -> None:
    """Neither in what an error says nor in what a traceback of it would print."""
    said = [str(error), repr(error), str(getattr(error, "hint", ""))]
    while True:
        inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if inner is None:
            break
        said.append(f"{inner} {inner!r}")
        error = inner
    text = " ".join(said)
    assert "s3cret" not in text
    assert "/v1/chat" not in text
