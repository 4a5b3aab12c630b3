"""One attempt at one target: how a chat call is made, whole or streamed."""

from __future__ import annotations

import asyncio
from functools import partial

from xrouter.domain.answer import ChatAnswer, ChatDelta
from xrouter.domain.catalog import Timeouts
from xrouter.domain.chat import ChatRequest
from xrouter.domain.deadline import Deadline
from xrouter.domain.errors import InternalError, UpstreamTimeout, XRouterError
from xrouter.domain.plan import Target
from xrouter.flow.fold import add, as_alternatives
from xrouter.flow.lanes import Place
from xrouter.flow.merge import MergedStream
from xrouter.flow.stream import DeltaStream, UpstreamStream
from xrouter.flow.tally import Tally
from xrouter.flow.upstreams import Upstream
from xrouter.providers.base import ChatExchange
from xrouter.wire.client import Exchange as WireExchange
from xrouter.wire.types import WireReply

FIRST_ERROR_STATUS = 300
_WAYS = 3


class ChatAttempt:
    """One request to one target."""

    def __init__(
        self, request: ChatRequest, target: Target, upstream: Upstream, tally: Tally
    ) -> None:
        self._request = request
        self._target = target
        self._upstream = upstream
        self._tally = tally
        self._timeouts: Timeouts = target.endpoint.timeouts

    async def answer(self) -> ChatAnswer:
        """A whole answer, with all its alternatives."""
        exchange = self._encode()
        if exchange.copies == 1:
            return await self._ask(exchange)
        rest = [self._encode() for _ in range(exchange.copies - 1)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ask(one)) for one in (exchange, *rest)]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return as_alternatives([task.result() for task in tasks])

    async def stream(self) -> DeltaStream:
        """A stream that has spoken."""
        exchange = self._encode()
        if exchange.copies == 1:
            return await self._open(exchange)
        rest = [self._encode() for _ in range(exchange.copies - 1)]
        merged = MergedStream([partial(self._open, one) for one in (exchange, *rest)])
        try:
            await merged.listen()
        except BaseException:
            merged.close()
            raise
        return merged

    def _encode(self) -> ChatExchange:
        return self._upstream.adapter.encode_chat(self._request, self._target)

    async def _ask(self, exchange: ChatExchange) -> ChatAnswer:
        total = self._timeouts.total
        try:
            with Deadline(total):
                upstream = self._upstream
                place = await upstream.turn() if upstream.takes_turns else None
                try:
                    wire, exchange = await self._send(exchange, place)
                    try:
                        reply = WireReply(wire.status, wire.headers, await wire.read())
                    finally:
                        wire.close()
                finally:
                    if place is not None:
                        place.leave()
                answer = exchange.answer(reply)
                after = exchange.after()
                if after is not None:
                    add(answer, await self._upstream.run(after))
        except TimeoutError:
            raise silent(total) from None
        return answer

    async def _open(self, exchange: ChatExchange) -> UpstreamStream:
        timeouts = self._timeouts
        ends_at = asyncio.get_running_loop().time() + timeouts.total
        place = await self._turn() if self._upstream.takes_turns else None
        wire: WireExchange | None = None
        try:
            with Deadline(min(timeouts.first_token, timeouts.total)):
                wire, exchange = await self._send(exchange, place)
                if place is not None:
                    wire.on_close = place.leave
                stream = UpstreamStream(exchange, wire, timeouts, ends_at, self._complete)
                await stream.listen()
        except BaseException as error:
            if wire is not None:
                wire.close()
            if place is not None:
                place.leave()
            if isinstance(error, TimeoutError):
                raise silent(timeouts.first_token) from None
            raise
        return stream

    async def _turn(self) -> Place | None:
        """Waiting for others is not the provider's silence."""
        try:
            with Deadline(self._timeouts.total):
                return await self._upstream.turn()
        except TimeoutError:
            raise silent(self._timeouts.total) from None

    async def _complete(self, exchange: ChatExchange) -> list[ChatDelta]:
        """What a stream that was read to its end lacks; a failure costs nothing but that."""
        after = exchange.after()
        if after is None:
            return []
        try:
            with Deadline(self._timeouts.idle):
                return await self._upstream.run(after)
        except (XRouterError, TimeoutError):
            return []

    async def _send(
        self, exchange: ChatExchange, place: Place | None
    ) -> tuple[WireExchange, ChatExchange]:
        """The answer of status 2xx, and the way of asking that brought it."""
        upstream, tally = self._upstream, self._tally
        error: XRouterError = InternalError("There was no way to ask.")
        for _ in range(_WAYS):
            before = exchange.before()
            if before is not None:
                await upstream.run(before, place)
            tally.attempt()
            wire = await upstream.open(exchange.wire, place)
            if wire.status < FIRST_ERROR_STATUS:
                break
            error = await read_error(wire, upstream)
            other = exchange.instead(error)
            if other is None:
                raise error
            exchange = other
        else:
            raise error
        tally.accepted = True
        tally.heard(wire.headers, upstream.adapter.request_id_headers, exchange.dropped)
        return wire, exchange


async def read_error(wire: WireExchange, upstream: Upstream) -> XRouterError:
    """The error that the provider answers with; the exchange is over."""
    try:
        reply = WireReply(wire.status, wire.headers, await wire.read())
    finally:
        wire.close()
    return upstream.adapter.decode_error(reply)


def silent(seconds: float) -> UpstreamTimeout:
    """Nothing came in time."""
    return UpstreamTimeout(f"The provider did not answer within {seconds:g} s.")
