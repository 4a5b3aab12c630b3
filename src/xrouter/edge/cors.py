"""Calls from browsers: any origin may ask, for a key is sent by hand and never by a cookie."""

from __future__ import annotations

from collections.abc import Iterable

from xrouter.edge.asgi import Header, Headers

_ANY = (b"access-control-allow-origin", b"*")
_USUAL_HEADERS = b"authorization, content-type, api-key, x-api-key"
_DAY = b"86400"

ANSWER: tuple[Header, ...] = (_ANY, (b"access-control-expose-headers", b"*"))
"""For the answer to a request that has an origin."""


def preflight(headers: Headers, methods: Iterable[str]) -> list[Header]:
    """The answer to a browser's question: the headers it wants to send are allowed."""
    return [
        _ANY,
        (b"access-control-allow-methods", ", ".join((*methods, "OPTIONS")).encode()),
        (
            b"access-control-allow-headers",
            headers.get(b"access-control-request-headers", _USUAL_HEADERS),
        ),
        (b"access-control-max-age", _DAY),
        (b"vary", b"access-control-request-headers"),
    ]
