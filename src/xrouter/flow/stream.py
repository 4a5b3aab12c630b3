"""A provider's stream, from bytes to deltas. No generators: whoever holds it calls and closes."""

from __future__ import annotations

import asyncio

from xrouter.domain.answer import ChatDelta
from xrouter.domain.catalog import Timeouts
from xrouter.domain.deadline import Deadline
from xrouter.domain.errors import UpstreamTimeout, XRouterError
from xrouter.flow.fold import deltas_of
from xrouter.providers.base import ChatExchange
from xrouter.wire.client import Exchange as WireExchange
from xrouter.wire.framing import parser_for
from xrouter.wire.types import Framing, WireReply


class UpstreamStream:
    """The deltas of one chat exchange. `close` never waits and may be called twice."""

    def __init__(
        self, exchange: ChatExchange, wire: WireExchange, timeouts: Timeouts, ends_at: float
    ) -> None:
        """ends_at: loop time at which the whole request must be over."""
        self._exchange = exchange
        self._wire = wire
        self._parser = parser_for(exchange.framing)
        self._idle = timeouts.idle
        self._ends_at = ends_at
        self._first: list[ChatDelta] | None = None
        self._broken: XRouterError | None = None
        self._over = False
        self._complete = False
        self._spoken = False

    async def listen(self) -> None:
        """Wait for the first deltas; they are given out by the next call of `next`."""
        if _is_whole(self._exchange, self._wire):
            reply = WireReply(self._wire.status, self._wire.headers, await self._wire.read())
            self._first = deltas_of(self._exchange.answer(reply))
            self._over = True
            return
        self._first = await self._read()
        self._spoken = True

    async def next(self) -> list[ChatDelta] | None:
        """The next deltas, at least one, as soon as they are there; None at the proper end.

        Raises UpstreamError when the stream breaks, stalls or takes too long.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._broken is not None:
            raise self._broken
        if self._over:
            return None
        return await self._read()

    def close(self) -> None:
        """Let go of the connection: a provider that has not said its last word sees it at once."""
        if self._complete:
            self._wire.finish()
        else:
            self._wire.close()

    async def _read(self) -> list[ChatDelta] | None:
        deltas: list[ChatDelta] = []
        while not deltas and not self._over:
            chunk = await self._chunk()
            try:
                self._decode(chunk, deltas)
            except XRouterError as error:
                self._over = True
                if not deltas:
                    raise
                self._broken = error
        return deltas or None

    async def _chunk(self) -> bytes:
        """The next bytes. Until the provider has spoken, whoever listens keeps the time."""
        if not self._spoken:
            return await self._wire.chunk()
        loop = asyncio.get_running_loop()
        try:
            with Deadline(min(self._idle, self._ends_at - loop.time())):
                return await self._wire.chunk()
        except TimeoutError:
            raise self._stalled(loop.time()) from None

    def _decode(self, chunk: bytes, deltas: list[ChatDelta]) -> None:
        """Append what the chunk says; what came before an error in it is kept."""
        exchange = self._exchange
        for name, data in self._parser.feed(chunk) if chunk else self._parser.end():
            deltas += exchange.feed(name, data)
        if not chunk or exchange.finished:
            self._over = True
            deltas += exchange.end()
            self._complete = True

    def _stalled(self, now: float) -> UpstreamTimeout:
        if now >= self._ends_at:
            return UpstreamTimeout("The provider's answer took longer than the time allowed.")
        return UpstreamTimeout(f"The provider's stream was silent for {self._idle:g} s.")


def _is_whole(exchange: ChatExchange, wire: WireExchange) -> bool:
    """Some servers answer a stream request with one JSON body."""
    kind = wire.headers.get("content-type", "")
    return exchange.framing is Framing.SSE and kind.startswith("application/json")
