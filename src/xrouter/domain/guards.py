"""What the policies and routes between a name and a target forbid, all of them together."""

from __future__ import annotations

from msgspec import Struct

from xrouter.domain.routes import Borders, Policy


class Guards(Struct, frozen=True):
    """The strictest of each; the fields are those of a policy.

    countries: None for anywhere, empty for nowhere. groups: the caller must be in all of them.
    """

    countries: frozenset[str] | None = None
    max_price: int | None = None
    borders: Borders = "open"
    require_price: bool = False
    groups: frozenset[str] = frozenset()


_NONE = Guards()


def guards_of(policy: Policy, group: str | None = None) -> Guards | None:
    """What a policy and a route's access group forbid; None for nothing."""
    made = Guards(
        frozenset(policy.countries) if policy.countries else None,
        policy.max_price,
        policy.borders,
        policy.require_price is True,
        frozenset() if group is None else frozenset({group}),
    )
    return None if made == _NONE else made


def joined(one: Guards | None, other: Guards | None) -> Guards | None:
    """What either of them forbids."""
    if one is None or other is None:
        return one or other
    caps = [cap for cap in (one.max_price, other.max_price) if cap is not None]
    return Guards(
        _both(one.countries, other.countries),
        min(caps, default=None),
        stricter(one.borders, other.borders),
        one.require_price or other.require_price,
        one.groups | other.groups,
    )


def stricter(one: Borders, other: Borders) -> Borders:
    """The borders that stand where either does."""
    if other in ("open", one):
        return one
    return other if one == "open" else "both"


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other
