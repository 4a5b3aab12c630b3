"""The caller's key, wherever the client put it."""

from __future__ import annotations

from xrouter.domain.errors import InvalidRequest
from xrouter.edge.asgi import Headers

_BEARER = "bearer"
_USUAL = b"Bearer "
_AFTER = len(_USUAL)


def credential(headers: Headers) -> str | None:
    """The key from `Authorization: Bearer`, `api-key` or `x-api-key`; None when there is none.

    Raises InvalidRequest when two headers hold different keys.
    """
    found = _bearer(headers.get(b"authorization"))
    if b"api-key" not in headers and b"x-api-key" not in headers:
        return found
    for name in (b"api-key", b"x-api-key"):
        if name in headers:
            key = headers[name].decode("latin-1").strip()
            if key and found and key != found:
                raise InvalidRequest(
                    "The request carries two different API keys. Send one.",
                    code="conflicting_credentials",
                    hint="Look at the headers Authorization, api-key and x-api-key.",
                )
            found = found or key or None
    return found


def _bearer(value: bytes | None) -> str | None:
    """`Bearer <key>`, or a bare key without a scheme; other schemes carry no key of ours."""
    if value is None:
        return None
    if value.startswith(_USUAL):
        return value[_AFTER:].decode("latin-1").strip() or None
    scheme, _, rest = value.decode("latin-1").strip().partition(" ")
    if scheme.lower() == _BEARER:
        return rest.strip() or None
    return scheme if scheme and not rest else None
