"""The words of the wire: requests, replies, framings. No sockets here; adapters import this."""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum
from typing import TypeVar

from msgspec import Struct


class WireRequest(Struct):
    """One HTTP request to a provider. `headers` have lower-case names.

    pause: seconds to wait before it is sent. foreign: it goes to an address that the caller gave:
    without credential, and only to public addresses.
    """

    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes = b""
    pause: float = 0.0
    foreign: bool = False


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


T = TypeVar("T")

Errand = Generator[WireRequest, WireReply, T]
"""Several requests in turn. Yields each, is sent its reply (of any status) or thrown the
XRouterError of sending it; returns what they were for, or raises."""

TokenFlow = Errand[Token]
"""An errand for an access token; its requests carry their own credential."""


class Route(Struct, frozen=True, cache_hash=True):
    """How to reach a provider. connect: seconds for DNS, TCP and TLS (and a proxy) together.

    ca_bundle: PEM file to trust besides the system's; client_cert/client_key: PEM files for mTLS.
    proxy: URL of an HTTP proxy. None for all of these means: not used.
    public_only: for addresses that strangers name: private and local ones are not connected to.
    """

    connect: float = 5.0
    ca_bundle: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = None
    public_only: bool = False
