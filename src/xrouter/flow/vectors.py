"""Vectors: a provider that takes few texts a call is asked several times for one request.

What was asked before a call fails is paid all the same: by the tokens that the provider has told,
by an estimate for calls that were on their way.
"""

from __future__ import annotations

import asyncio

from xrouter.domain.answer import Usage
from xrouter.domain.deadline import Deadline
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.errors import XRouterError
from xrouter.domain.plan import Target
from xrouter.flow.attempt import FIRST_ERROR_STATUS, silent
from xrouter.flow.fold import summed
from xrouter.flow.tally import Copy, Paid, Tally
from xrouter.flow.upstreams import Upstream
from xrouter.flow.yardstick import tokens_of
from xrouter.providers.base import EmbeddingsExchange
from xrouter.wire.types import WireReply, WireRequest

_AT_ONCE = 4


class _Call(Copy, eq=False, kw_only=True):
    """One of the calls. reply: when it was heard to the end."""

    wire: WireRequest
    reply: WireReply | None = None


async def embed(
    request: EmbeddingsRequest, target: Target, upstream: Upstream, tally: Tally
) -> EmbeddingsAnswer:
    """All calls to one target, some at a time."""
    exchange = upstream.adapter.encode_embeddings(request, target)
    calls = [_Call(wire=wire) for wire in exchange.wires]
    tally.attempt()
    tally.calls = len(calls)
    try:
        for start in range(0, len(calls), _AT_ONCE):
            await _fetch_all(upstream, calls[start : start + _AT_ONCE])
        replies = [call.reply for call in calls if call.reply is not None]
        answer = exchange.answer(replies)
    except BaseException:
        if len(calls) > 1:
            _pay(tally, target, calls, exchange, request)
        raise
    headers, id_headers = replies[0].headers, upstream.adapter.request_id_headers
    tally.heard(headers, id_headers, exchange.dropped)
    if len(calls) > 1 or tally.paid is not None:  # others have failed before
        usages = [answer.usage, *[Usage()] * (len(calls) - 1)]
        tally.paid = [
            *(tally.paid or ()),
            Paid(target, usages, over=True, upstream_ids=_ids(calls)),
        ]
    return answer


async def _fetch_all(upstream: Upstream, calls: list[_Call]) -> None:
    if len(calls) == 1:
        return await _fetch(upstream, calls[0])
    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(_fetch(upstream, call))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _fetch(upstream: Upstream, call: _Call) -> None:
    total = upstream.endpoint.timeouts.total
    call.sent = True
    try:
        try:
            with Deadline(total):
                reply = await upstream.fetch(call.wire)
        except TimeoutError:
            raise silent(total) from None
        if reply.status >= FIRST_ERROR_STATUS:
            raise upstream.adapter.decode_error(reply)
    except XRouterError as error:
        call.failed(error)
        raise
    call.reply, call.over = reply, True
    named = (reply.headers.get(name) for name in upstream.adapter.request_id_headers)
    call.upstream_id = next(filter(None, named), None)


def _ids(calls: list[_Call]) -> tuple[str, ...]:
    return tuple(call.upstream_id for call in calls if call.upstream_id)


def _pay(
    tally: Tally,
    target: Target,
    calls: list[_Call],
    exchange: EmbeddingsExchange,
    request: EmbeddingsRequest,
) -> None:
    """Each call that may be charged is one of the usages."""
    replies = [call.reply for call in calls if call.reply is not None]
    unheard = sum(call.may_be_charged for call in calls) - len(replies)
    characters = sum(len(text) for text in request.input)
    guess = Usage(tokens_of(characters // len(calls)), estimated=True)
    usages = [guess] * unheard
    if replies:
        try:
            usages += [exchange.answer(replies).usage, *[Usage()] * (len(replies) - 1)]
        except XRouterError:  # it is not what it should be, or not of the first texts
            usages += [guess] * len(replies)
    if usages:
        tally.usage = summed(usages)
        paid = Paid(target, usages, over=unheard == 0, upstream_ids=_ids(calls))
        tally.paid = [*(tally.paid or ()), paid]
