"""Addresses of providers and proxies, taken apart once."""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct

from xrouter.wire.errors import bad_address

_PORTS = {"http": 80, "https": 443}
LONGEST = 16 << 10
_KEPT = "/?:@!$&'()*+,;=-._~%[]"
"""Of a path and query, besides letters and digits. What is encoded already stays so."""


class Address(Struct, frozen=True):
    """An absolute URL. host: for DNS and TLS. authority: for the `host` header.

    target: path and query. is_ip: the host needs no DNS. user: `name:password` in base64, or "".
    """

    secure: bool
    host: str
    port: int
    authority: str
    target: str
    is_ip: bool
    user: str = ""

    @property
    def origin(self) -> str:
        """Scheme, host and port: what may be shown of an address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"


@lru_cache(maxsize=1024)
def address(text: str, setting: str = "base_url") -> Address:
    """Parse an absolute address. Raises UpstreamUnreachable that names the setting."""
    if len(text) > LONGEST:  # what is remembered stays small
        raise bad_address(setting)
    try:
        parts = urlsplit(text)
        usual = _PORTS[parts.scheme]
        port = parts.port or usual
        host = (parts.hostname or "").encode("idna").decode()
    except (ValueError, KeyError):
        raise bad_address(setting) from None
    named = setting != "proxy" and (parts.username or parts.password)
    if not host or " " in host or not text.isprintable() or named:
        raise bad_address(setting)
    shown = f"[{host}]" if ":" in host else host
    query = f"?{parts.query}" if parts.query else ""
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return Address(
        secure=parts.scheme == "https",
        host=host,
        port=port,
        authority=shown if port == usual else f"{shown}:{port}",
        target=quote((parts.path or "/") + query, safe=_KEPT),
        is_ip=_is_ip(host),
        user="" if user == ":" else b64encode(user.encode()).decode(),
    )


def _is_ip(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
