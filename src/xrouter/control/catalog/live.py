"""The live lists of models, asked from the providers."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from xrouter.domain.catalog import ModelDescription
from xrouter.domain.errors import UpstreamTimeout
from xrouter.providers.base import BaseAPIAdapter
from xrouter.providers.caller import Caller
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook
from xrouter.wire.types import Errand, WireReply, WireRequest

T = TypeVar("T")

TIMEOUT_S = 30.0
_FIRST_ERROR = 300


class LiveLists:
    """Asks endpoints, one request each (and a token exchange where the provider has that)."""

    def __init__(self, client: Client, tokens: TokenBook, timeout_s: float = TIMEOUT_S) -> None:
        self._client = client
        self._tokens = tokens
        self._timeout_s = timeout_s

    async def models(self, adapter: BaseAPIAdapter) -> list[ModelDescription] | None:
        """The models of an endpoint, None where its provider has no list. Raises XRouterError."""
        wire = adapter.discover()
        if wire is None:
            return None
        reply = await self._ask(adapter, wire)
        if reply.status >= _FIRST_ERROR:
            raise adapter.decode_error(reply)
        return adapter.decode_models(reply)

    async def run(self, adapter: BaseAPIAdapter, errand: Errand[T]) -> T:
        """What an errand of the endpoint's adapter was for. Raises XRouterError."""
        try:
            wire = next(errand)
            while True:
                wire = errand.send(await self._ask(adapter, wire))
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            errand.close()

    async def _ask(self, adapter: BaseAPIAdapter, wire: WireRequest) -> WireReply:
        caller = Caller(adapter, self._client, self._tokens)
        try:
            async with asyncio.timeout(self._timeout_s):
                exchange = await caller.open(wire)
                try:
                    return WireReply(exchange.status, exchange.headers, await exchange.read())
                finally:
                    exchange.close()
        except TimeoutError:
            raise UpstreamTimeout(
                f"The provider did not answer within {self._timeout_s:g} s."
            ) from None
