"""How requests are routed: policies of models and of routes, canaries."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

ROUTE = "route/"
"""What names of routes begin with."""

DEEPEST = 5
"""Routes that a request can go through, one in the other."""

CHAIN = ("rc", "latest", "deprecated")
"""Channels, each with those behind it that may answer in its place."""


class Cache(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Exact answers kept. ttl: seconds. scope: who may share an answer."""

    ttl: float
    scope: Literal["key", "project"] = "project"


class Patience(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Seconds in place of the endpoint's; None leaves it. min_speed: characters a second."""

    first_token: float | None = None
    idle: float | None = None
    total: float | None = None
    min_speed: float | None = None


ANY_PATIENCE = Patience()
"""The endpoints' own."""

Borders = Literal["open", "country", "price", "both"]


class Policy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a model or a route finds who answers. Names are those that callers write.

    strategy: name of a file in `flow/strategies`; options: its settings.
    versions: channels tried in place of the one asked for, in order; None for those behind it in
    `CHAIN`; never for a pinned version. missing: what a channel that is not there means.
    fallbacks: tried after all targets; on_overflow: when the prompt is too long; on_refusal: when
    the provider's filter refused. countries: where an answer may come from, () for anywhere.
    max_price: billionths of a ruble for one request at most. max_attempts: upstream calls at most.
    require_price: whether targets of unknown price are left out, None for the router's setting.
    borders: whether a fallback may leave the country of the first choice, or cost more.
    """

    strategy: str = "priority"
    options: dict[str, Any] = {}
    versions: tuple[str, ...] | None = None
    missing: Literal["refuse", "next"] = "refuse"
    fallbacks: tuple[str, ...] = ()
    on_overflow: tuple[str, ...] = ()
    on_refusal: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    max_price: int | None = None
    require_price: bool | None = None
    max_attempts: int = 3
    borders: Borders = "open"
    patience: Patience = ANY_PATIENCE
    cache: Cache | None = None


class RouteTarget(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a route may go. model: a name that callers could write, or `route/x`.

    endpoint: only this one of the provider's. priority: smaller is tried first.
    """

    model: str
    endpoint: str | None = None
    weight: int = 1
    priority: int = 0


class Route(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A virtual model. name: without `route/`; aliases: names that mean it as they stand."""

    name: str
    display_name: str = ""
    aliases: tuple[str, ...] = ()
    targets: tuple[RouteTarget, ...]
    policy: Policy = Policy()
    access_group: str | None = None
    is_enabled: bool = True

    @property
    def model_id(self) -> str:
        """As callers write it."""
        return ROUTE + self.name


class Canary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A share of a model's requests that goes to a new version first.

    label: of the version; share: 0 to 1. by: what makes the choice stick. The bounds: of the
    canary's failures (0 to 1), of its first token in relation to the others (1.5: half as long
    again), of answers the filter refused; after `min_requests` of them.
    """

    label: str
    share: float
    by: Literal["key", "user", "request"] = "key"
    max_errors: float = 0.05
    max_slowdown: float | None = None
    max_refusals: float | None = None
    min_requests: int = 50
