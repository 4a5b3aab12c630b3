"""One attempt at one target: how a chat call is made, whole or streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial

from xrouter.domain.answer import ChatAnswer, ChatDelta
from xrouter.domain.catalog import Timeouts
from xrouter.domain.chat import ChatRequest
from xrouter.domain.deadline import Deadline
from xrouter.domain.errors import InternalError, UpstreamTimeout, XRouterError
from xrouter.domain.plan import Target
from xrouter.domain.routes import ANY_PATIENCE as _ANY
from xrouter.domain.routes import Policy
from xrouter.flow.fold import add, as_alternatives
from xrouter.flow.lanes import Place
from xrouter.flow.merge import MergedStream
from xrouter.flow.stream import DeltaStream, UpstreamStream
from xrouter.flow.tally import Copy, Tally
from xrouter.flow.upstreams import Upstream
from xrouter.providers.base import ChatExchange
from xrouter.telemetry.logs import log
from xrouter.wire.client import Exchange as WireExchange
from xrouter.wire.types import WireReply

FIRST_ERROR_STATUS = 300
_WAYS = 3

Call = tuple[ChatExchange, Copy]
"""What is asked, and where what becomes of it is noted."""


class ChatAttempt:
    """One request to one target."""

    def __init__(
        self,
        request: ChatRequest,
        target: Target,
        upstream: Upstream,
        tally: Tally,
        policy: Policy,
    ) -> None:
        self._request = request
        self._target = target
        self._upstream = upstream
        self._tally = tally
        self._timeouts: Timeouts = timeouts_of(target, policy)
        self._ways = 0

    def answer(self) -> Awaitable[ChatAnswer]:
        """A whole answer, with all its alternatives."""
        calls = self._calls()
        return self._ask(*calls[0]) if len(calls) == 1 else self._ask_all(calls)

    async def _ask_all(self, calls: list[Call]) -> ChatAnswer:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ask(*call)) for call in calls]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return as_alternatives([task.result() for task in tasks])

    def stream(self) -> Awaitable[DeltaStream]:
        """A stream that has spoken."""
        calls = self._calls()
        return self._open(*calls[0]) if len(calls) == 1 else self._open_all(calls)

    async def _open_all(self, calls: list[Call]) -> DeltaStream:
        merged = MergedStream([partial(self._open, *call) for call in calls])
        try:
            await merged.listen()
        except BaseException:
            merged.close()
            raise
        return merged

    def _calls(self) -> list[Call]:
        """What is to be asked; more than one where alternatives take a call each."""
        first = self._encode()
        if first.copies == 1:
            return [(first, self._tally.ask(1)[0])]
        exchanges = [first, *(self._encode() for _ in range(first.copies - 1))]
        return list(zip(exchanges, self._tally.ask(len(exchanges)), strict=True))

    def _encode(self) -> ChatExchange:
        return self._upstream.adapter.encode_chat(self._request, self._target)

    async def _ask(self, exchange: ChatExchange, copy: Copy) -> ChatAnswer:
        total = self._timeouts.total
        try:
            with Deadline(total):
                upstream = self._upstream
                place = await upstream.turn() if upstream.takes_turns else None
                try:
                    wire, exchange = await self._send(exchange, place, copy)
                    try:
                        reply = WireReply(wire.status, wire.headers, await wire.read())
                    finally:
                        wire.close()
                finally:
                    if place is not None:
                        place.leave()
                answer = exchange.answer(reply)
                copy.take(answer)
                after = exchange.after()
                if after is not None:
                    add(answer, await self._upstream.run(after))
                    copy.take(answer)
        except TimeoutError:
            copy.sent = False
            raise silent(total) from None
        except XRouterError as error:
            copy.failed(error)
            raise
        return answer

    async def _open(self, exchange: ChatExchange, copy: Copy) -> UpstreamStream:
        timeouts = self._timeouts
        ends_at = asyncio.get_running_loop().time() + timeouts.total
        place = await self._turn() if self._upstream.takes_turns else None
        wire: WireExchange | None = None
        try:
            with Deadline(min(timeouts.first_token, timeouts.total)):
                wire, exchange = await self._send(exchange, place, copy)
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
                copy.sent = False
                raise silent(timeouts.first_token) from None
            if isinstance(error, XRouterError):
                copy.failed(error)
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
        except (XRouterError, TimeoutError) as error:
            endpoint = self._target.endpoint
            log.warning(
                "completion_failed",
                provider=endpoint.provider,
                endpoint=endpoint.name,
                error=str(error) or type(error).__name__,
            )
            return []

    async def _send(
        self, exchange: ChatExchange, place: Place | None, copy: Copy
    ) -> tuple[WireExchange, ChatExchange]:
        """The answer of status 2xx, and the way of asking that brought it."""
        upstream = self._upstream
        error: XRouterError | None = None
        for way in range(_WAYS):
            before = exchange.before()
            if before is not None:
                await upstream.run(before, place)
            self._begin(way)
            copy.sent = True
            try:
                wire = await upstream.open(exchange.wire, place)
            except XRouterError:
                copy.sent = False
                raise
            copy.sent = copy.accepted = wire.status < FIRST_ERROR_STATUS
            if wire.status < FIRST_ERROR_STATUS:
                break
            error = await read_error(wire, upstream)
            other = exchange.instead(error)
            if other is None:
                raise error
            exchange = other
        else:
            raise error or InternalError("There was no way to ask.")
        id_headers = upstream.adapter.request_id_headers
        self._tally.heard(wire.headers, id_headers, exchange.dropped)
        copy.upstream_id = self._tally.upstream_request_id
        return wire, exchange

    def _begin(self, way: int) -> None:
        """A way of asking is about to be taken. All copies of it are one attempt."""
        if way == self._ways:
            self._ways += 1
            self._tally.attempt(self._request)


def timeouts_of(target: Target, policy: Policy) -> Timeouts:
    """The endpoint's, where the policy does not say otherwise."""
    given, patience = target.endpoint.timeouts, policy.patience
    if patience is _ANY:
        return given
    return Timeouts(
        given.connect,
        _either(patience.first_token, given.first_token),
        _either(patience.idle, given.idle),
        _either(patience.total, given.total),
        _either(patience.min_speed, given.min_speed),
    )


def _either(wanted: float | None, given: float) -> float:
    return given if wanted is None else wanted


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
