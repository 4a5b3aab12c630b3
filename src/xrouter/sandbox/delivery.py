"""Bytes out: a response sent over one connection, and the faults that happen on the way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import Any

from xrouter.sandbox.faults import Fault
from xrouter.sandbox.kit import SandboxResponse
from xrouter.sandbox.seen import Sighting

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_DRIP = 0.002
_BREATH = 16
_CLOSING = 5.0
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Connection:
    """A client's connection: its transport, and `gone`, set when it is closed by either side."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.gone = asyncio.Event()

    async def pause(self, seconds: float | None) -> bool:
        """Wait (None: without end). True, and at once, when the connection goes meanwhile."""
        if seconds == 0:
            await asyncio.sleep(0)
            return self.gone.is_set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.gone.wait()
        return self.gone.is_set()

    async def close(self) -> None:
        """Close as a server that died politely: what was written goes out, nothing more."""
        self.transport.close()
        if not await self.pause(_CLOSING):
            self.transport.abort()

    async def reset(self) -> None:
        """Close with RST, after what was written has gone out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                while self.transport.get_write_buffer_size() and not await self.pause(0):
                    pass
        raw = self.transport.get_extra_info("socket")
        if raw is not None and not self.gone.is_set():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.transport.abort()
        await self.pause(_CLOSING)


class Delivery:
    """Sends one response. `sent` counts the frames of a stream, or the one body, handed over.

    What happened is written into the sighting: its end, or when the client left.
    """

    def __init__(self, connection: Connection, send: Send, sighting: Sighting | None) -> None:
        self.sent = 0
        self.connection = connection
        self._send = send
        self._sighting = sighting

    async def deliver(self, response: SandboxResponse, fault: Fault | None) -> None:
        """Send all of it, or as much as the fault and the client allow."""
        if response.delay and await self.connection.pause(response.delay):
            return self.left()
        if self._sighting is not None:
            self._sighting.status = response.status
        await self._start(response)
        if response.frames is None:
            return await self._body(response.body, fault)
        return await self._stream(response.frames, response.stream_pause, fault)

    def left(self) -> None:
        """The client has gone before the end."""
        if self._sighting is not None:
            self._sighting.closed_by_client = time.time()

    def note_frames(self) -> None:
        """Write into the sighting how much was sent."""
        if self._sighting is not None:
            self._sighting.frames = self.sent

    async def _start(self, response: SandboxResponse) -> None:
        headers = {"date": formatdate(usegmt=True)} | response.headers
        if response.frames is None:
            headers["content-length"] = str(len(response.body))
        await self._send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [
                    (name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in headers.items()
                ],
            }
        )

    async def _body(self, body: bytes, fault: Fault | None) -> None:
        if fault is not None and fault.kind in _BREAKS:
            half = len(body) // 2
            await self._write(body[:half], more=True)
            if await self._break(fault):
                return None
            body = body[half:]
        elif fault is not None and fault.kind == "slow_drip":
            if not await self._drip(body[:-1], _drip_pause(fault)):
                return None
            body = body[-1:]
        return await self._last(body)

    async def _stream(self, frames: list[bytes], pause: float, fault: Fault | None) -> None:
        breaks_at = _break_point(fault, len(frames))
        slow = fault is not None and fault.kind == "slow_drip"
        for index, frame in enumerate(frames):
            if index == breaks_at and fault is not None and await self._break(fault):
                return None
            if index and not await self._rest(index, _drip_pause(fault) if slow else pause):
                return None
            if slow and not await self._drip(frame[:-1], 0.0):
                return None
            piece = frame[-1:] if slow else frame
            if index == len(frames) - 1 and breaks_at != len(frames):
                return await self._last(piece)
            await self._write(piece, more=True)
            self.sent += 1
        if fault is not None and breaks_at == len(frames) and await self._break(fault):
            return None
        return await self._last(b"", counts=0)

    async def _rest(self, index: int, pause: float) -> bool:
        """The pause before a frame; without one, a breath now and then. False: the client left."""
        if pause == 0 and index % _BREATH:
            return True
        if not await self.connection.pause(pause):
            return True
        self.left()
        return False

    async def _break(self, fault: Fault) -> bool:
        """The fault of sending happens here. True when nothing more can be sent."""
        if fault.kind == "cut":
            await self.connection.close()
            return True
        if fault.kind == "reset":
            await self.connection.reset()
            return True
        if await self.connection.pause(fault.delay_s):
            self.left()
            return True
        return False

    async def _drip(self, data: bytes, pause: float) -> bool:
        for place in range(len(data)):
            await self._write(data[place : place + 1], more=True)
            if await self.connection.pause(pause):
                self.left()
                return False
        return True

    async def _write(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def _last(self, data: bytes, counts: int = 1) -> None:
        """The last piece. Nothing is awaited after it, so that who reads it finds all noted."""
        if self.connection.gone.is_set():
            return self.left()
        await self._write(data, more=False)
        if self.connection.gone.is_set():
            return self.left()
        self.sent += counts
        if self._sighting is not None:
            self._sighting.finished = time.time()
        return None


_BREAKS = ("cut", "reset", "hang_mid_stream")


def _break_point(fault: Fault | None, frames: int) -> int | None:
    """Before which frame the fault of sending happens; the number of frames: after the last."""
    if fault is None or fault.kind not in _BREAKS:
        return None
    return min(fault.after or 0, frames)


def _drip_pause(fault: Fault | None) -> float:
    return _DRIP if fault is None or fault.delay_s is None else fault.delay_s
