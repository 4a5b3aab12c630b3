"""One attempt at one target, for everything that is no chat."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.deadline import Deadline
from xrouter.domain.images import ImagesAnswer, ImagesRequest
from xrouter.domain.plan import Target
from xrouter.domain.raw import RawRequest
from xrouter.flow.attempt import FIRST_ERROR_STATUS, read_error, silent
from xrouter.flow.overheard import Overheard, overheard
from xrouter.flow.tally import Tally
from xrouter.flow.upstreams import Upstream
from xrouter.flow.yardstick import prompt_tokens, tokens_of
from xrouter.providers.base import Left
from xrouter.wire.client import Exchange as WireExchange

DEFERRED_S = 24 * 3600.0


class Passage(Struct):
    """An answer to be passed on, by way of `reader` when there is one. The caller closes it."""

    exchange: WireExchange | Overheard
    reader: Callable[[bytes], bytes] | None


async def draw(
    request: ImagesRequest, target: Target, upstream: Upstream, tally: Tally
) -> ImagesAnswer:
    """Pictures."""
    errand = upstream.adapter.images(request, target)
    tally.attempt()
    total = target.endpoint.timeouts.total
    try:
        with Deadline(total):
            answer = await upstream.run(errand)
    except TimeoutError:
        raise silent(total) from None
    tally.dropped = answer.dropped
    return answer


async def left(request: ChatRequest, target: Target, upstream: Upstream) -> Left | None:
    """A request that was left with the provider, None if it takes none."""
    errand = upstream.adapter.defer(request, target)
    if errand is None:
        return None
    limit = target.endpoint.timeouts.first_token
    try:
        with Deadline(limit):
            return await upstream.run(errand)
    except TimeoutError:
        raise silent(limit) from None


async def collected(reference: str, target: Target, upstream: Upstream, tally: Tally) -> ChatAnswer:
    """The answer to a request that was left; asked for until it is there."""
    tally.attempt()
    try:
        with Deadline(DEFERRED_S):
            return await upstream.run(upstream.adapter.collect(reference, target))
    except TimeoutError:
        raise silent(DEFERRED_S) from None


async def count(
    request: CountRequest, target: Target, upstream: Upstream, tally: Tally
) -> TokenCount:
    """Tokens by the provider's tokenizer; by ours, marked so, where it has none."""
    errand = upstream.adapter.count(request, target)
    if errand is None:
        return _estimated(request)
    tally.attempt()
    limit = target.endpoint.timeouts.first_token
    try:
        with Deadline(limit):
            return await upstream.run(errand)
    except TimeoutError:
        raise silent(limit) from None


async def passed_on(
    request: RawRequest, target: Target, upstream: Upstream, tally: Tally
) -> Passage:
    """The provider's answer as it comes."""
    wire = upstream.adapter.raw(request, target)
    tally.attempt()
    limit = target.endpoint.timeouts.total
    try:
        with Deadline(limit):
            exchange = await upstream.open(wire)
            if exchange.status >= FIRST_ERROR_STATUS:
                raise await read_error(exchange, upstream)
    except TimeoutError:
        raise silent(limit) from None
    _note(tally, upstream, exchange.headers, ())
    return Passage(overheard(exchange, tally), upstream.adapter.raw_reader(request))


def _estimated(request: CountRequest) -> TokenCount:
    if request.chat is not None:
        return TokenCount((prompt_tokens(request.chat),), estimated=True)
    return TokenCount(tuple(tokens_of(len(text)) for text in request.texts or ()), estimated=True)


def _note(
    tally: Tally, upstream: Upstream, headers: dict[str, str], dropped: tuple[str, ...]
) -> None:
    tally.heard(headers, upstream.adapter.request_id_headers, dropped)
