"""The words of the wire: requests, replies, framings. No sockets here; adapters import this."""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum

from msgspec import Struct


class WireRequest(Struct):
    """One HTTP request to a provider. `headers` have lower-case names."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes = b""


class WireReply(Struct):
    """One complete HTTP answer. `headers` have lower-case names; the last of repeated ones wins."""

    status: int
    headers: dict[str, str]
    body: bytes


class Framing(Enum):
    """How events lie in a streamed body."""

    SSE = "sse"
    NDJSON = "ndjson"


Event = tuple[str, bytes]
"""One event of a stream: (event name, data). The name is "" where the framing has none."""


class Token(Struct, frozen=True):
    """An access token. expires_at: unix seconds."""

    value: str
    expires_at: float


TokenFlow = Generator[WireRequest, WireReply, Token]
"""Yields token requests, is sent the replies (of any status), returns the token or raises."""


class Route(Struct, frozen=True):
    """How to reach a provider. connect: seconds for DNS, TCP and TLS (and a proxy) together.

    ca_bundle: PEM file to trust besides the system's; client_cert/client_key: PEM files for mTLS.
    proxy: URL of an HTTP proxy. None for all of these means: not used.
    """

    connect: float = 5.0
    ca_bundle: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = None
