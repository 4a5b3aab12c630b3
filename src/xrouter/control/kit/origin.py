"""Which page a browser's request comes from."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from xrouter.domain.errors import Forbidden

_PORTS = {"http": 80, "https": 443}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OWN = ("same-origin", "none")
"""Of `Sec-Fetch-Site`: our own page, or what the person typed."""


def split_host(host: str) -> SplitResult | None:
    """A `Host` header in its parts; None when it is none."""
    try:
        parts = urlsplit("//" + host)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.hostname and parts.netloc == host else None


def require_own(headers: Mapping[bytes, bytes]) -> None:
    """Go on only for our own pages, and for callers that are no browsers. Raises Forbidden.

    A browser says with each request that changes something where it comes from. Pages that came by
    plain http are our own on this machine only: the cookie is not given to others.
    """
    origin = headers.get(b"origin")
    if origin is not None:
        host = headers.get(b"host", b"").decode("latin-1")
        if _is_own(origin.decode("latin-1"), host):
            _require_https(origin, host)
            return
    elif headers.get(b"sec-fetch-site", b"none").decode("latin-1") in _OWN:
        return
    raise Forbidden(
        "This request comes from another site's page.",
        code="foreign_origin",
        hint="A proxy in front of XRouter must pass the header Host on as it is.",
    )


def is_loopback(host: str) -> bool:
    """Whether a `Host` header names the browser's own machine."""
    parts = split_host(host)
    return parts is not None and parts.hostname in _LOOPBACK


def _require_https(origin: bytes, host: str) -> None:
    if not origin.lower().startswith(b"https:") and not is_loopback(host):
        raise Forbidden(
            "People sign in over https.",
            code="https_needed",
            hint="Put a proxy with a certificate in front, or sign in on the machine itself.",
        )


def _is_own(origin: str, host: str) -> bool:
    parts = split_host(host)
    try:
        page = urlsplit(origin)
        port = page.port or _PORTS.get(page.scheme)
    except ValueError:
        return False
    if parts is None or page.hostname is None or port is None:
        return False
    return page.hostname == parts.hostname and port == (parts.port or _PORTS[page.scheme])
