"""Endpoints brought to life: each with its adapter, its way on the wire and its token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import InvalidRequest, OperatorError, XRouterError
from xrouter.flow.lanes import Lanes, Place
from xrouter.providers.base import BaseAPIAdapter, Lane
from xrouter.providers.caller import Caller
from xrouter.wire.client import Client, Route
from xrouter.wire.client import Exchange as WireExchange
from xrouter.wire.tokens import TokenBook
from xrouter.wire.types import Errand, WireReply, WireRequest

_MAX_UPSTREAMS = 10_000
_PUBLIC = Route(public_only=True)

T = TypeVar("T")


class Means(Struct, frozen=True):
    """What all endpoints share."""

    client: Client
    tokens: TokenBook
    lanes: Lanes


class Upstream:
    """One endpoint: translates through `adapter`, sends through `open`."""

    def __init__(self, endpoint: Endpoint, adapter: BaseAPIAdapter, means: Means) -> None:
        self.endpoint = endpoint
        self.adapter = adapter
        self._client = means.client
        self._caller = Caller(adapter, means.client, means.tokens)
        self._lanes = means.lanes
        self._lane = _lane(endpoint, adapter.lane())

    @property
    def takes_turns(self) -> bool:
        """Whether its account takes only so many calls at a time."""
        return self._lane is not None

    async def turn(self) -> Place | None:
        """Wait for a place where the account takes only so many calls at a time; else None."""
        return None if self._lane is None else await self._lanes.enter(self._lane)

    def open(self, wire: WireRequest, place: Place | None = None) -> Awaitable[WireExchange]:
        """Send with a credential, in the place that the caller has, or in one of its own."""
        if place is not None or self._lane is None:
            return self._caller.open(wire)
        return self._open_in_turn(wire, self._lane)

    async def _open_in_turn(self, wire: WireRequest, lane: Lane) -> WireExchange:
        own = await self._lanes.enter(lane)
        try:
            exchange = await self._caller.open(wire)
        except BaseException:
            own.leave()
            raise
        exchange.on_close = own.leave
        return exchange

    async def fetch(self, wire: WireRequest, place: Place | None = None) -> WireReply:
        """Send and read the whole answer, of whatever status. Bound it by cancelling."""
        if wire.pause:
            await asyncio.sleep(wire.pause)
        exchange = await (self._visit(wire) if wire.foreign else self.open(wire, place))
        try:
            return WireReply(exchange.status, exchange.headers, await exchange.read())
        finally:
            exchange.close()

    async def run(self, errand: Errand[T], place: Place | None = None) -> T:
        """Make the errand's requests in turn. Bound it by cancelling."""
        try:
            wire = next(errand)
            while True:
                try:
                    reply = await self.fetch(wire, place)
                except XRouterError as error:
                    wire = errand.throw(error)
                else:
                    wire = errand.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            errand.close()

    async def _visit(self, wire: WireRequest) -> WireExchange:
        """An address that the caller gave: nothing of ours goes there."""
        return await self._client.open(wire, _PUBLIC)


def _lane(endpoint: Endpoint, account: Lane | None) -> Lane | None:
    """How many calls it takes at a time: the account's limit and the operator's, the smaller."""
    width = endpoint.max_running
    if width is None:
        return account
    if account is None:
        return Lane(("endpoint", endpoint.id), width, endpoint.max_waiting)
    return Lane(account.key, min(width, account.width), endpoint.max_waiting)


class Upstreams:
    """All endpoints in use; an endpoint whose row changed is brought to life anew.

    lanes: how many calls an account takes at a time; None for those of this process alone.
    """

    def __init__(
        self,
        build: Callable[[Endpoint], BaseAPIAdapter],
        client: Client,
        tokens: TokenBook,
        lanes: Lanes | None = None,
    ) -> None:
        self._build = build
        self._means = Means(client, tokens, lanes or Lanes())
        self._alive: dict[int, Upstream] = {}

    @property
    def alive(self) -> list[Upstream]:
        """Those that were asked so far."""
        return list(self._alive.values())

    def get(self, endpoint: Endpoint) -> Upstream:
        """The living endpoint. Raises OperatorError when its configuration is not sound."""
        found = self._alive.get(endpoint.id)
        if found is not None and (found.endpoint is endpoint or found.endpoint == endpoint):
            return found
        if len(self._alive) >= _MAX_UPSTREAMS:
            del self._alive[next(iter(self._alive))]
        try:
            made = Upstream(endpoint, self._build(endpoint), self._means)
        except InvalidRequest as error:  # the operator's mistake, not the caller's
            raise OperatorError(
                f"The endpoint '{endpoint.provider}/{endpoint.name}' is not configured properly.",
                code="endpoint_misconfigured",
                hint=f"For the operator: {error.message}",
            ) from error
        self._alive[endpoint.id] = made
        return made
