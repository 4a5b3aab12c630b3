"""Stop 7: try the plan's targets in order until one has spoken.

The loop (`_first_that_answers`) knows what may be tried again; a single attempt knows how.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.chat import ChatRequest
from xrouter.domain.deadline import Deadline
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.errors import InternalError, UpstreamTimeout, XRouterError
from xrouter.domain.plan import Plan, Target
from xrouter.flow.stream import UpstreamStream
from xrouter.flow.tally import Tally
from xrouter.flow.upstreams import Upstream, Upstreams
from xrouter.telemetry.logs import log
from xrouter.telemetry.metrics import Meters
from xrouter.wire.client import Exchange as WireExchange
from xrouter.wire.types import WireReply, WireRequest

FIRST_ERROR_STATUS = 300
_EMBEDDINGS_AT_ONCE = 4

T = TypeVar("T")
Attempt = Callable[[Target, Upstream], Awaitable[T]]


class Dispatcher:
    """Sends requests to targets."""

    def __init__(self, upstreams: Upstreams, meters: Meters) -> None:
        self._upstreams = upstreams
        self._meters = meters

    async def stream(self, request: ChatRequest, plan: Plan, tally: Tally) -> UpstreamStream:
        """A stream that has spoken. Raises the last error when no target answers."""

        async def attempt(target: Target, upstream: Upstream) -> UpstreamStream:
            return await _open_stream(request, target, upstream, tally)

        return await self._first_that_answers(plan, tally, attempt)

    async def answer(self, request: ChatRequest, plan: Plan, tally: Tally) -> ChatAnswer:
        """A whole answer. Raises the last error when no target answers."""

        async def attempt(target: Target, upstream: Upstream) -> ChatAnswer:
            return await _ask(request, target, upstream, tally)

        return await self._first_that_answers(plan, tally, attempt)

    async def embeddings(
        self, request: EmbeddingsRequest, plan: Plan, tally: Tally
    ) -> EmbeddingsAnswer:
        """Vectors. Raises the last error when no target answers."""

        async def attempt(target: Target, upstream: Upstream) -> EmbeddingsAnswer:
            return await _embed(request, target, upstream, tally)

        return await self._first_that_answers(plan, tally, attempt)

    async def _first_that_answers(self, plan: Plan, tally: Tally, attempt: Attempt[T]) -> T:
        last: XRouterError | None = None
        for target in plan.targets:
            tally.target = target
            try:
                return await attempt(target, self._upstreams.get(target.endpoint))
            except XRouterError as error:
                if error.blame != "caller":
                    self._failed(target, error)
                if error.upstream_request_id is not None:
                    tally.upstream_request_id = error.upstream_request_id
                if not error.fallback:
                    raise
                last = error
        raise last or InternalError("The plan was empty.")

    def _failed(self, target: Target, error: XRouterError) -> None:
        """Count it, and tell the operator: a fallback hides it from everybody else."""
        self._meters.upstream_failed(target.endpoint, error)
        log.warning(
            "attempt_failed",
            provider=target.endpoint.provider,
            endpoint=target.endpoint.name,
            code=error.code,
            error=error.message,
            hint=error.hint,
            upstream_status=error.upstream_status,
        )


async def _open_stream(
    request: ChatRequest, target: Target, upstream: Upstream, tally: Tally
) -> UpstreamStream:
    timeouts = target.endpoint.timeouts
    exchange = upstream.adapter.encode_chat(request, target)
    tally.attempt()
    ends_at = asyncio.get_running_loop().time() + timeouts.total
    wire: WireExchange | None = None
    try:
        with Deadline(min(timeouts.first_token, timeouts.total)):
            wire = await upstream.open(exchange.wire)
            await _check(wire, upstream)
            tally.accepted = True
            stream = UpstreamStream(exchange, wire, timeouts, ends_at)
            await stream.listen()
    except BaseException as error:
        if wire is not None:
            wire.close()
        if isinstance(error, TimeoutError):
            raise _silent(timeouts.first_token) from None
        raise
    _note(tally, wire, exchange.dropped)
    return stream


async def _ask(
    request: ChatRequest, target: Target, upstream: Upstream, tally: Tally
) -> ChatAnswer:
    exchange = upstream.adapter.encode_chat(request, target)
    tally.attempt()
    reply = await _fetch(upstream, exchange.wire, target.endpoint.timeouts.total, tally)
    answer = exchange.answer(reply)
    _note(tally, reply, exchange.dropped)
    return answer


async def _embed(
    request: EmbeddingsRequest, target: Target, upstream: Upstream, tally: Tally
) -> EmbeddingsAnswer:
    exchange = upstream.adapter.encode_embeddings(request, target)
    tally.attempt()
    total = target.endpoint.timeouts.total
    replies: list[WireReply] = []
    for start in range(0, len(exchange.wires), _EMBEDDINGS_AT_ONCE):
        portion = exchange.wires[start : start + _EMBEDDINGS_AT_ONCE]
        replies += await _fetch_all(upstream, portion, total, tally)
    answer = exchange.answer(replies)
    _note(tally, replies[0], exchange.dropped)
    return answer


async def _fetch_all(
    upstream: Upstream, wires: list[WireRequest], total: float, tally: Tally
) -> list[WireReply]:
    if len(wires) == 1:
        return [await _fetch(upstream, wires[0], total, tally)]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_fetch(upstream, wire, total, tally)) for wire in wires]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _fetch(upstream: Upstream, wire: WireRequest, total: float, tally: Tally) -> WireReply:
    try:
        with Deadline(total):
            exchange = await upstream.open(wire)
            try:
                await _check(exchange, upstream)
                tally.accepted = True
                return WireReply(exchange.status, exchange.headers, await exchange.read())
            finally:
                exchange.close()
    except TimeoutError:
        raise _silent(total) from None


async def _check(exchange: WireExchange, upstream: Upstream) -> None:
    if exchange.status >= FIRST_ERROR_STATUS:
        reply = WireReply(exchange.status, exchange.headers, await exchange.read())
        raise upstream.adapter.decode_error(reply)


def _silent(seconds: float) -> UpstreamTimeout:
    return UpstreamTimeout(f"The provider did not answer within {seconds:g} s.")


def _note(tally: Tally, reply: WireExchange | WireReply, dropped: tuple[str, ...]) -> None:
    tally.dropped = dropped
    headers = reply.headers
    tally.upstream_request_id = headers.get("x-request-id") or headers.get("x-server-trace-id")
