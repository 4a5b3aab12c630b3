"""Where a request may go."""

from __future__ import annotations

from msgspec import Struct

from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.guards import Guards
from xrouter.domain.routes import Policy


class Target(Struct, frozen=True):
    """One (endpoint, model, version) that could answer.

    tier: targets of a smaller one are tried first. weight: its share among those of its tier.
    pinned: the very version was asked for, not a name that leads to it.
    guards: what policies on the way to it forbid, but for that of the name that was asked for.
    """

    endpoint: Endpoint
    model: Model
    version: Version
    tier: int = 0
    weight: int = 1
    pinned: bool = False
    guards: Guards | None = None


class Plan(Struct, frozen=True):
    """The ordered targets for one request, at least one, and why they stand in this order.

    route: the name of the route that was asked for, None for a model. overflow, refusal: where to
    go instead when the prompt is too long for a target, or its provider's filter refuses.
    skipped: whether the strategy's own first choice is held back, and stands behind others.
    """

    targets: tuple[Target, ...]
    reason: str
    policy: Policy = Policy()
    route: str | None = None
    overflow: tuple[Target, ...] = ()
    refusal: tuple[Target, ...] = ()
    skipped: bool = False
