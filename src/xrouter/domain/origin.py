"""Where a request comes from, when it came through proxies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from xrouter.domain.bounds import Network, packed

_HEADER = b"x-forwarded-for"
_HOPS = 50


def origin(
    direct: str | None, headers: Iterable[tuple[bytes, bytes]], proxies: Sequence[Network]
) -> str | None:
    """The right-most address that is no trusted proxy's; None when that is no address.

    direct: the other end of the connection. Only what trusted proxies have added is believed: each
    adds who asked it at the right end.
    """
    if not _is_trusted(direct, proxies):
        return direct
    said = b",".join(value for name, value in headers if name == _HEADER)
    hops = [hop.strip() for hop in said.decode("latin-1").split(",")] if said else []
    found = direct
    for hop in list(reversed(hops))[:_HOPS]:
        found = _address(hop)
        if not _is_trusted(found, proxies):
            return found
    return found


def _is_trusted(address: str | None, proxies: Sequence[Network]) -> bool:
    raw = packed(address)
    return raw is not None and any(proxy.holds(raw) for proxy in proxies)


def _address(hop: str) -> str | None:
    """Without the port and the brackets that some proxies add; IPv4 in IPv6 as IPv4; None for what
    is no address.
    """
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        found = ip_address(hop)
    except ValueError:
        return None
    return str(getattr(found, "ipv4_mapped", None) or found)
