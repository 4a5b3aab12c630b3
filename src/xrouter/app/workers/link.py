"""From workers to the control process: ASGI messages over a local socket.

Each request has a connection of its own. Frames are a length (four bytes) and MessagePack. First
comes the scope, then the messages of both sides; who closes has nothing more to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from pathlib import Path
from typing import Any

import msgspec

from xrouter.domain.errors import NotReady
from xrouter.edge.asgi import App, Message, Receive, Scope, Send
from xrouter.edge.voice import encode

MAX_FRAME = 256 << 20
RETRY_S = 1.0
_LENGTH = struct.Struct(">I")
_SCOPE = (
    "type",
    "asgi",
    "http_version",
    "server",
    "client",
    "scheme",
    "method",
    "root_path",
    "path",
    "raw_path",
    "query_string",
    "headers",
)
_EVENTS = b"text/event-stream"
_GONE = (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError)


class Forwarder:
    """The worker's end: an ASGI application that lives in the control process."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """The worker leaves: streams of events, which have no end of their own, end now."""
        self._leaving.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request; 503 while the control process is not there."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
        except OSError:
            await _refuse(send)
            return
        try:
            writer.write(_frame({name: scope[name] for name in _SCOPE if name in scope}))
            upwards = asyncio.create_task(_pump(receive, writer))
            try:
                await self._answer(reader, send)
            finally:
                upwards.cancel()
                await asyncio.gather(upwards, return_exceptions=True)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, send: Send) -> None:
        started = ended = is_endless = False
        while not ended:
            try:
                message = await self._next(reader, is_endless=is_endless)
            except _GONE:
                break
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [(name, value) for name, value in message["headers"]]
                is_endless = any(value.startswith(_EVENTS) for _, value in message["headers"])
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)
        if not started:
            await _refuse(send)
        elif not ended and self._leaving.is_set():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, reader: asyncio.StreamReader, *, is_endless: bool) -> Message:
        if not is_endless:
            return await _read(reader)
        reading = asyncio.create_task(_read(reader))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            raise ConnectionAbortedError
        finally:
            for task in (reading, leaving):
                task.cancel()
            await asyncio.gather(reading, leaving, return_exceptions=True)


class Host:
    """The control process' end: answers what workers forward."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[Any]] = set()

    async def start(self, socket: Path) -> None:
        """Listen. A socket that an earlier process has left is replaced."""
        self._server = await asyncio.start_unix_server(self._serve, str(socket))

    async def stop(self, seconds: float) -> None:
        """Take nothing new; wait for what runs, so long at most."""
        if self._server is not None:
            self._server.close()
        running = set(self._running)
        if running:
            await asyncio.wait(running, timeout=seconds)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in one
        self._running.add(task)
        task.add_done_callback(self._running.discard)

        async def send(message: Message) -> None:
            headers = message.get("headers")
            if headers is not None:
                message = {**message, "headers": list(headers)}
            writer.write(_frame(message))
            await writer.drain()

        async def receive() -> Message:
            try:
                return await _read(reader)
            except _GONE:
                return {"type": "http.disconnect"}

        try:
            await self._app(_scope(await _read(reader)), receive, send)
        except _GONE:
            pass
        finally:
            writer.close()


def _scope(told: dict[str, Any]) -> Scope:
    """As ASGI has it: MessagePack knows lists alone."""
    told["headers"] = [(name, value) for name, value in told["headers"]]
    for name in ("client", "server"):
        if told.get(name) is not None:
            told[name] = tuple(told[name])
    return told


async def _pump(receive: Receive, writer: asyncio.StreamWriter) -> None:
    """The caller's messages, until it has left."""
    with contextlib.suppress(OSError):
        while True:
            message = await receive()
            writer.write(_frame(message))
            await writer.drain()
            if message["type"] == "http.disconnect":
                return


def _frame(message: Any) -> bytes:
    data = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(data)) + data


async def _read(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Raises IncompleteReadError at the end, OSError, MsgspecError."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_FRAME:
        raise ConnectionAbortedError(f"a frame of {length} bytes")
    return msgspec.msgpack.decode(await reader.readexactly(length), type=dict[str, Any])


async def _refuse(send: Send) -> None:
    error = NotReady(
        "The control plane is starting again; model requests are answered meanwhile.",
        retry_after=RETRY_S,
    )
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": encode(error.body()), "more_body": False})
