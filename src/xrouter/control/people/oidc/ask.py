"""What a sign-in provider is asked: with bounds, and only at addresses that it may name."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from xrouter.control.people.oidc.config import ProviderConfig, may
from xrouter.control.people.oidc.words import SignInProblem
from xrouter.domain.errors import UpstreamMalformed, XRouterError
from xrouter.wire.client import Client
from xrouter.wire.types import Route, WireRequest

ANSWER_S = 10.0
CONNECT_S = 5.0
MAX_ANSWER = 512 << 10
_MAX_URL = 2000
_PORTS = {"http": 80, "https": 443}
_OVERLOADED = 429
_FAULT = 500


class Answer(Struct, frozen=True):
    """A status, and a JSON object."""

    status: int
    body: dict[str, Any]


class Asker:
    """Asks one provider.

    The issuer's own host may be anywhere, for the operator has named it. Hosts that its discovery
    document names must be on the public internet, unless `allow_private` is set; where there is a
    proxy, it decides.
    """

    def __init__(self, client: Client, config: ProviderConfig, answer_s: float = ANSWER_S) -> None:
        self._client = client
        self._config = config
        self._answer_s = answer_s
        self._own = _place(urlsplit(config.issuer))

    def checked(self, url: object) -> str:
        """An address that the provider has named. Raises SignInProblem."""
        if not isinstance(url, str) or not _is_text(url):
            raise SignInProblem("failed", "an address in the discovery document is none")
        local = self._config.issuer.startswith("http:")
        try:
            parts = urlsplit(url)
            good = may(url, allow_http=self._config.allow_http, local=local)
            good = good and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment
            _ = parts.port
        except ValueError:
            good = False
        if not good:
            raise SignInProblem("failed", "an address in the discovery document is not safe")
        return url

    async def ask(self, request: WireRequest) -> Answer:
        """Send, and read a JSON object. Raises SignInProblem."""
        try:
            status, raw = await self._sent(request)
        except (UpstreamMalformed, OverflowError) as error:
            raise SignInProblem("failed", _told(error)) from None
        except XRouterError as error:
            raise SignInProblem("away", _told(error)) from None
        except TimeoutError:
            raise SignInProblem("away", "no answer in time") from None
        if status >= _FAULT or status == _OVERLOADED:
            raise SignInProblem("away", f"status {status}")
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise SignInProblem("failed", f"status {status}, and no JSON object")
        return Answer(status, body)

    async def _sent(self, request: WireRequest) -> tuple[int, bytes]:
        async with asyncio.timeout(self._answer_s):
            exchange = await self._client.open(request, self._route(request.url))
            try:
                parts = bytearray()
                while chunk := await exchange.chunk():
                    parts += chunk
                    if len(parts) > MAX_ANSWER:
                        raise OverflowError("the answer is too large")
                return exchange.status, bytes(parts)
            finally:
                exchange.close()

    def _route(self, url: str) -> Route:
        config = self._config
        trusted = config.allow_private or config.fixed is not None or config.proxy is not None
        return Route(
            connect=CONNECT_S,
            ca_bundle=config.ca_bundle,
            proxy=config.proxy,
            public_only=not trusted and _place(urlsplit(url)) != self._own,
        )


def _place(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or _PORTS[parts.scheme]


def _is_text(url: str) -> bool:
    return len(url) <= _MAX_URL and url.isascii() and url.isprintable() and " " not in url


def _told(error: Exception) -> str:
    hint = getattr(error, "hint", None)
    return f"{error} {hint}" if hint else str(error)
