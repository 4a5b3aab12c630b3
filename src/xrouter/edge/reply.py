"""The way back to one caller: the one object that owns it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from typing_extensions import override

from xrouter.domain.answer import ChatAnswer, ChatDelta, Usage
from xrouter.domain.counting import TokenCount
from xrouter.domain.embeddings import EmbeddingsAnswer
from xrouter.domain.errors import ClientGone, XRouterError
from xrouter.domain.images import ImagesAnswer
from xrouter.domain.ports import Allowance, Reply, Served
from xrouter.edge import fields
from xrouter.edge.asgi import Header
from xrouter.edge.outlet import JSON, Outlet
from xrouter.edge.voice import Voice

_STREAM: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_OK = 200
_PING = b": ping\n\n"
_TURN_BYTES = 1 << 18


class HttpReply(Reply):
    """Writes what the flow says with the dialect's voice into the outlet.

    Nothing is written between the pieces of a frame: each frame is one write, and every method
    waits for a heartbeat that is on its way. A heartbeat may have opened the stream, so `refuse`
    may find it open: it then tells the error in the stream, or nothing where there is none.
    """

    def __init__(self, outlet: Outlet, voice: Voice) -> None:
        self._out = outlet
        self._voice = voice
        self._ping: asyncio.Task[None] | None = None

    @property
    @override
    def started(self) -> bool:
        return self._out.started

    @property
    def finished(self) -> bool:
        """Whether the whole answer was handed over."""
        return self._out.finished

    @override
    def allow(self, allowance: Allowance) -> None:
        self._out.headers += fields.allowance(allowance)

    @override
    def asked(self, served: Served) -> None:
        self._out.headers += fields.asked(served)

    @override
    async def start(self, served: Served) -> None:
        if self._ping is not None:
            await self._ping
        if not self._out.started:
            self._out.headers += fields.served(served, self._voice.dropped)
            await self._out.open(_OK, *_STREAM)
        first = self._voice.start(served)
        if first:
            await self._out.write(first)

    @override
    async def deltas(self, deltas: list[ChatDelta]) -> None:
        if self._ping is not None:
            await self._ping
        frames = self._voice.deltas(deltas)
        if frames:
            await self._out.write(frames)

    @override
    async def end(self, usage: Usage | None) -> None:
        if self._ping is not None:
            await self._ping
        await self._out.close(self._voice.end(usage))

    @override
    async def fail(self, error: XRouterError) -> None:
        if self._ping is not None:
            await self._ping
        await self._out.close(self._voice.fail(error))

    @override
    async def refuse(self, error: XRouterError) -> None:
        if self._ping is not None:
            await self._ping
        if self._out.started:
            if self._voice.streaming:
                await self.fail(error)
            return
        body = self._voice.refuse(error)
        await self._out.whole(error.status, JSON, body, *fields.error(error))

    @override
    def answer(self, answer: ChatAnswer, served: Served) -> Coroutine[Any, Any, None]:
        return self._result(self._voice.answer(answer, served), served)

    @override
    async def embeddings(self, answer: EmbeddingsAnswer, served: Served) -> None:
        pieces: list[bytes] = []
        since_turn = 0
        for piece in self._voice.embeddings(answer, served):
            pieces.append(piece)
            since_turn += len(piece)
            if since_turn > _TURN_BYTES:
                since_turn = 0
                await asyncio.sleep(0)
        self._out.headers += fields.served(served, self._voice.dropped)
        await self._out.whole(_OK, JSON, b"".join(pieces))

    @override
    def images(self, answer: ImagesAnswer, served: Served) -> Coroutine[Any, Any, None]:
        return self._result(self._voice.images(answer, served), served)

    @override
    def count(self, count: TokenCount, served: Served) -> Coroutine[Any, Any, None]:
        return self._result(self._voice.count(count, served), served)

    @override
    async def open_raw(self, served: Served, content_type: str) -> None:
        self._out.headers += fields.served(served, self._voice.dropped)
        await self._out.open(_OK, (b"content-type", fields.clean(content_type)))

    @override
    async def pass_on(self, data: bytes) -> None:
        await self._out.write(data)

    @override
    async def close_raw(self) -> None:
        await self._out.close()

    @override
    async def break_raw(self) -> None:
        raise ClientGone("The answer broke off.")

    def _result(self, body: bytes, served: Served) -> Coroutine[Any, Any, None]:
        self._out.headers += fields.served(served, self._voice.dropped)
        return self._out.whole(_OK, JSON, body)

    def ping_if_silent(self, seconds: float) -> None:
        """Send a heartbeat when nothing was written for so long; never waits."""
        silent = time.monotonic() - self._out.wrote_at >= seconds
        if silent and self._ping is None and not self._out.finished:
            self._ping = asyncio.get_running_loop().create_task(self._send_ping())

    def stop_pinging(self) -> None:
        """Drop a heartbeat that waits for a slow caller."""
        if self._ping is not None:
            self._ping.cancel()

    async def _send_ping(self) -> None:
        """Open the stream if need be, so that proxies on the way keep the connection."""
        try:
            if not self._out.started:
                await self._out.open(_OK, *_STREAM)
            await self._out.write(_PING)
        finally:
            self._ping = None
