"""The live lists of models, asked from the providers."""

from __future__ import annotations

import time
from collections.abc import Hashable

from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.errors import InternalError
from xrouter.providers.base import BaseAPIAdapter
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook
from xrouter.wire.types import Route, TokenFlow, WireReply, WireRequest

TIMEOUT_S = 30.0
_UNAUTHORIZED = 401
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
        reply = await _Caller(adapter, self._client, self._tokens, self._timeout_s).send(wire)
        if reply.status >= _FIRST_ERROR:
            raise adapter.decode_error(reply)
        return adapter.decode_models(reply)


class _Caller:
    """Sends for one endpoint, with its credential."""

    def __init__(
        self, adapter: BaseAPIAdapter, client: Client, tokens: TokenBook, timeout_s: float
    ) -> None:
        endpoint = adapter.endpoint
        self._adapter = adapter
        self._client = client
        self._tokens = tokens
        self._timeout_s = timeout_s
        self._key: Hashable = ("control", endpoint.id, _identity(endpoint))
        self._route = Route(
            connect=endpoint.timeouts.connect,
            ca_bundle=endpoint.ca_bundle,
            client_cert=endpoint.client_cert,
            client_key=endpoint.client_key,
            proxy=endpoint.proxy,
        )

    async def send(self, wire: WireRequest) -> WireReply:
        """Send; once more with a fresh token when ours is refused."""
        token = await self._token()
        self._adapter.authorize(wire, token)
        reply = await self._fetch(wire)
        if reply.status != _UNAUTHORIZED or token is None:
            return reply
        self._tokens.drop(self._key, token)
        self._adapter.authorize(wire, await self._token())
        return await self._fetch(wire)

    async def _token(self) -> str | None:
        flow = self._adapter.auth(time.time())
        if flow is None:
            return None
        flow.close()
        return await self._tokens.get(self._key, self._start, self._fetch)

    def _start(self) -> TokenFlow:
        flow = self._adapter.auth(time.time())
        if flow is None:
            raise InternalError("The adapter changed its mind about tokens.")
        return flow

    async def _fetch(self, wire: WireRequest) -> WireReply:
        return await self._client.fetch(wire, self._route, timeout=self._timeout_s)


def _identity(endpoint: Endpoint) -> int:
    """Changes with everything a token may depend on."""
    return hash(
        (
            endpoint.adapter_class,
            endpoint.base_url,
            frozenset(endpoint.credential.items()),
            frozenset(endpoint.options.items()),
        )
    )
