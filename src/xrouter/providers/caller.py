"""Sends for one endpoint, with its credential. What the flow and the catalog have in common."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Hashable
from hashlib import sha256

import msgspec

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import InternalError
from xrouter.providers.base import BaseAPIAdapter
from xrouter.wire.client import Client, Exchange, Route
from xrouter.wire.tokens import TokenBook
from xrouter.wire.types import TokenFlow, WireReply, WireRequest

TOKEN_TIMEOUT_S = 10.0
UNAUTHORIZED = 401


class Caller:
    """One endpoint on the wire. Tokens are shared by all callers of the same credential."""

    def __init__(self, adapter: BaseAPIAdapter, client: Client, tokens: TokenBook) -> None:
        endpoint = adapter.endpoint
        self.adapter = adapter
        self._client = client
        self._tokens = tokens
        self._route = Route(
            connect=endpoint.timeouts.connect,
            ca_bundle=endpoint.ca_bundle,
            client_cert=endpoint.client_cert,
            client_key=endpoint.client_key,
            proxy=endpoint.proxy,
        )
        self._identity = _identity(endpoint)
        flow = adapter.auth(time.time())
        self._needs_token = flow is not None
        if flow is not None:
            flow.close()

    def open(self, wire: WireRequest) -> Awaitable[Exchange]:
        """Send; once more with a fresh token if the provider refuses ours. As `Client.open`."""
        if self._needs_token:
            return self._open_with_token(wire)
        self.adapter.authorize(wire, None)
        return self._client.open(wire, self._route)

    async def _open_with_token(self, wire: WireRequest) -> Exchange:
        token = await self.token()
        self.adapter.authorize(wire, token)
        exchange = await self._client.open(wire, self._route)
        if exchange.status != UNAUTHORIZED or token is None:
            return exchange
        exchange.close()
        self._tokens.drop(self._identity, token)
        self.adapter.authorize(wire, await self.token())
        return await self._client.open(wire, self._route)

    async def token(self) -> str | None:
        """The current access token, None for providers that take the credential itself."""
        if not self._needs_token:
            return None
        return await self._tokens.get(self._identity, self._start, self._fetch)

    def _start(self) -> TokenFlow:
        flow = self.adapter.auth(time.time())
        if flow is None:
            raise InternalError("The adapter changed its mind about tokens.")
        return flow

    async def _fetch(self, wire: WireRequest) -> WireReply:
        return await self._client.fetch(wire, self._route, timeout=TOKEN_TIMEOUT_S)


def _identity(endpoint: Endpoint) -> Hashable:
    """Changes with everything that a token may depend on; holds no secret, but a digest of all."""
    secrets = sorted((name, text.reveal()) for name, text in endpoint.credential.items())
    options = sorted(endpoint.options.items())
    told = (endpoint.adapter_class, endpoint.base_url, endpoint.owner, secrets, options)
    return (endpoint.provider, endpoint.id, sha256(msgspec.json.encode(told)).digest())
