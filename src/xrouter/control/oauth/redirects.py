"""Where browsers may be sent: what can be registered, and what equals what was."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

MAX_URI = 2000
_LOOPBACK = ("127.0.0.1", "[::1]")
_TEXT = re.compile(r"[!-~]+")
_PRIVATE = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
"""A private-use scheme is a domain name turned round: `com.example.app`."""
_PORT = re.compile(r"^(http://(?:127\.0\.0\.1|\[::1\])):[0-9]{1,5}(?=[/?]|$)")
_HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
"""Nothing else: it becomes a part of the pages' Content-Security-Policy."""
_FORBIDDEN = set("\\<>\"`{}|^*'")


def check(uri: str) -> str:
    """What can be registered. Raises ValueError with the reason.

    https; http on this machine's loopback addresses; private-use schemes of native applications.
    """
    if len(uri) > MAX_URI or _TEXT.fullmatch(uri) is None or _FORBIDDEN & set(uri):
        raise ValueError("must be an address of printable ASCII characters without quotes")
    parts = _split(uri)
    if "#" in uri:
        raise ValueError("must have no fragment")
    if parts.scheme == "https":
        _check_host(parts)
    elif parts.scheme == "http":
        _check_host(parts)
        if _host(parts) not in _LOOPBACK:
            raise ValueError("may be http only with the host 127.0.0.1 or [::1]")
    elif _PRIVATE.fullmatch(parts.scheme) is None or parts.netloc or not parts.path:
        raise ValueError("must begin with https://, or be com.example.app:/path")
    if any(step in (".", "..") for step in parts.path.split("/")):
        raise ValueError("must have no steps '.' and '..' in its path")
    return uri


def matches(registered: Iterable[str], given: str) -> bool:
    """Whether it is one of them, character by character; on loopback addresses, at any port."""
    if given in registered:
        return True
    bare = _portless(given)
    return bare is not None and any(_portless(uri) == bare for uri in registered)


def check_callback(uri: str) -> str:
    """What an application that nobody registered may ask for. Raises ValueError.

    https at any host; http at `localhost` too, which only this machine's browser reaches.
    """
    if uri.startswith(("http://localhost:", "http://localhost/")):
        check("http://127.0.0.1" + uri.removeprefix("http://localhost"))
        return uri
    check(uri)
    if not uri.startswith(("https://", "http://")):
        raise ValueError("must begin with https://, or be http on this machine")
    return uri


def origin(uri: str) -> str:
    """For a Content-Security-Policy: scheme, host and port, or the scheme alone."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"


def joined(uri: str, query: str) -> str:
    """The address with more parameters."""
    return f"{uri}{'&' if '?' in uri else '?'}{query}"


def _portless(uri: str) -> str | None:
    """None for what is not http on a loopback address."""
    bare, found = _PORT.subn(r"\1", uri)
    if found:
        return bare
    return uri if uri.startswith(tuple(f"http://{host}/" for host in _LOOPBACK)) else None


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        raise ValueError("is no address") from None
    if uri.partition(":")[0] != parts.scheme:
        raise ValueError("must have a scheme in lower case")
    return parts


def _check_host(parts: SplitResult) -> None:
    if not parts.hostname or "@" in parts.netloc or "%" in parts.netloc:
        raise ValueError("must have a host, and no user or password")
    if _host(parts) != _host(parts).lower() or parts.hostname.endswith("."):
        raise ValueError("must have its host in lower case, without a dot at the end")
    if _HOST.fullmatch(_host(parts)) is None:
        raise ValueError("must have a host of letters, digits, dots and hyphens")


def _host(parts: SplitResult) -> str:
    """As it was written, without the port."""
    return re.sub(r":[0-9]*$", "", parts.netloc)
