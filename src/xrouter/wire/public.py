"""Which addresses are the internet's: what strangers may make us connect to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_SEGMENT_ROUTING = IPv6Network("5f00::/16")
_PLATFORMS = frozenset({IPv4Address("168.63.129.16")})
"""Public by its number, but inside each machine of Azure it is the platform's own service."""


def is_public(address: str) -> bool:
    """Whether the IP address is one of the internet's."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.is_site_local or ip in _SEGMENT_ROUTING:
            return False
        inner = ip.ipv4_mapped or ip.sixtofour or _embedded(ip)
        if inner is not None:
            return _is_global(inner)
    return _is_global(ip)


def _is_global(ip: IPv4Address | IPv6Address) -> bool:
    return ip.is_global and not ip.is_multicast and ip not in _PLATFORMS


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a translator would connect to."""
    if ip in _NAT64 or ip in _COMPATIBLE:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return None
