"""A provider's stream, from bytes to deltas. No generators: whoever holds it calls and closes."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence

from typing_extensions import override

from xrouter.domain.answer import ChatDelta
from xrouter.domain.catalog import Timeouts
from xrouter.domain.deadline import Deadline
from xrouter.domain.errors import UpstreamTimeout, XRouterError
from xrouter.flow.fold import FILTERED, deltas_of
from xrouter.providers.base import ChatExchange
from xrouter.wire.client import Exchange as WireExchange
from xrouter.wire.framing import parser_for
from xrouter.wire.types import Framing, WireReply

PACE_S = 5.0
"""Over how many seconds the speed of a stream is measured."""


class DeltaStream(ABC):
    """Deltas as they come. `close` never waits and may be called twice."""

    @abstractmethod
    async def next(self) -> list[ChatDelta] | None:
        """The next deltas, at least one, as soon as they are there; None at the proper end.

        Raises UpstreamError when the stream breaks, stalls or takes too long.
        """

    @property
    def heard(self) -> Sequence[ChatDelta]:
        """The deltas that have come and were not given out yet."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds."""


class Pace:
    """Whether a stream keeps the speed that is asked of it, seen over some seconds."""

    def __init__(self, least: float, clock: Callable[[], float] = time.monotonic) -> None:
        """least: characters a second."""
        self._least = least
        self._clock = clock
        self._began: float | None = None
        self._characters = 0

    def check(self, deltas: Sequence[ChatDelta]) -> None:
        """Count what came. Raises UpstreamTimeout when the last seconds were too slow."""
        now = self._clock()
        if self._began is None:
            self._began = now
        for delta in deltas:
            self._characters += len(delta.text or "") + len(delta.reasoning or "")
            self._characters += sum(len(call.arguments) for call in delta.tool_calls or ())
        passed = now - self._began
        if passed < PACE_S:
            return
        if self._characters < self._least * passed:
            raise UpstreamTimeout(
                f"The provider's stream was slower than {self._least:g} characters a second."
            )
        self._began, self._characters = now, 0


Completion = Callable[[ChatExchange], Awaitable[list[ChatDelta]]]
"""What is asked when a stream was read to its end: the deltas that it lacks."""


class UpstreamStream(DeltaStream):
    """The deltas of one chat exchange."""

    def __init__(
        self,
        exchange: ChatExchange,
        wire: WireExchange,
        timeouts: Timeouts,
        ends_at: float,
        completion: Completion,
    ) -> None:
        """ends_at: loop time at which the whole request must be over."""
        self._completion: Completion | None = completion
        self._exchange = exchange
        self._wire = wire
        self._parser = parser_for(exchange.framing)
        self._idle = timeouts.idle
        self._pace = Pace(timeouts.min_speed) if timeouts.min_speed else None
        self._ends_at = ends_at
        self._first: list[ChatDelta] | None = None
        self._broken: XRouterError | None = None
        self._over = False
        self._complete = False
        self._closed = False
        self._spoken = False

    async def listen(self) -> None:
        """Wait for the first deltas; they are given out by the next call of `next`."""
        if _is_whole(self._exchange, self._wire):
            reply = WireReply(self._wire.status, self._wire.headers, await self._wire.read())
            self._first = deltas_of(self._exchange.answer(reply))
            self._over = self._complete = True
            return
        self._first = await self._read()
        self._spoken = True

    @override
    async def next(self) -> list[ChatDelta] | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._broken is not None:
            raise self._broken
        deltas = None if self._over else await self._read()
        if deltas and self._pace is not None:
            self._pace.check(deltas)
        return deltas or await self._completed()

    @property
    @override
    def heard(self) -> Sequence[ChatDelta]:
        return self._first or ()

    @override
    def close(self) -> None:
        """A provider that has not said its last word sees it at once."""
        if self._closed:
            return
        self._closed = True
        if self._complete:
            self._wire.finish()
        else:
            self._wire.close()

    async def _completed(self) -> list[ChatDelta] | None:
        """What is asked for at the end, once; the connection is free again by then."""
        completion, self._completion = self._completion, None
        if completion is None:
            return None
        self.close()
        return await completion(self._exchange) or None

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


def begins_refused(stream: DeltaStream) -> bool:
    """Whether the provider's filter has taken the answer before anything of it came."""
    heard = stream.heard
    return any(d.finish_reason == FILTERED for d in heard) and not any(
        d.tool_calls or d.reasoning for d in heard
    )


def _is_whole(exchange: ChatExchange, wire: WireExchange) -> bool:
    """Some servers answer a stream request with one JSON body."""
    kind = wire.headers.get("content-type", "")
    return exchange.framing is Framing.SSE and kind.startswith("application/json")
