"""What a key is held to: operations, models and routes, addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, get_args

from msgspec import Struct

from xrouter.domain.catalog import Model
from xrouter.domain.errors import Forbidden

Scope = Literal["chat", "embeddings", "images", "audio", "moderations", "models"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

ALL_OF = "/*"
"""Ends the name of a provider where all of its models are meant."""

_MAPPED = IPv6Network("::ffff:0:0/96")
_MAPPED_BITS = 96


class Network(Struct, frozen=True):
    """Addresses that begin alike. first: the lowest, 4 or 16 bytes; bits: how many count."""

    first: bytes
    bits: int

    def holds(self, address: bytes) -> bool:
        """Whether the address lies in it; never one of the other family."""
        if len(address) != len(self.first):
            return False
        left = 8 * len(address) - self.bits
        return int.from_bytes(address) >> left == int.from_bytes(self.first) >> left


class Bounds(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a caller is held to; of each, nothing is forbidden where there is none.

    models: ids, `provider/*`, and routes as `route/x`.
    """

    scopes: tuple[str, ...] = ()
    models: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    def require_address(self, client: str | None) -> None:
        """Go on only from an address that is allowed. Raises Forbidden."""
        if not self.networks:
            return
        address = packed(client)
        if address is None or not any(network.holds(address) for network in self.networks):
            raise Forbidden(
                f"This API key may not be used from the address {client or 'that is not known'}.",
                code="ip_not_allowed",
                hint="Ask whoever made the key to allow the address.",
            )

    def require_scope(self, scope: str) -> None:
        """Go on only with an operation that is allowed. Raises Forbidden."""
        if self.scopes and scope not in self.scopes:
            raise Forbidden(
                f"This API key lacks the scope '{scope}'.",
                code="insufficient_scope",
                hint=f"It has: {', '.join(self.scopes)}.",
            )

    def admits(self, model: Model) -> bool:
        """Whether the model may be used, asked for by itself."""
        models = self.models
        return not models or model.model_id in models or model.provider + ALL_OF in models


def packed(client: str | None) -> bytes | None:
    """The bytes of an address, of an IPv4 one in an IPv6 one those of the former; None for none."""
    try:
        address = ip_address(client or "")
    except ValueError:
        return None
    return _plain(address).packed


def network(text: str) -> IPv4Network | IPv6Network:
    """A range of addresses, or a single one. Raises ValueError.

    Bits behind the prefix do not count; IPv4 written as IPv6 is IPv4.
    """
    found = ip_network(text, strict=False)
    if isinstance(found, IPv4Network):
        return found
    if found.network_address.scope_id is not None:
        raise ValueError("a zone is of no use")
    if found.subnet_of(_MAPPED):
        first = found.network_address.packed[-4:]
        return IPv4Network((first, found.prefixlen - _MAPPED_BITS))
    return found


def compact(text: str) -> Network:
    """A range as it is checked. Raises ValueError."""
    found = network(text)
    return Network(found.network_address.packed, found.prefixlen)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address
