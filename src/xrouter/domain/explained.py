"""Why a request would go where it would go, told without sending it."""

from __future__ import annotations

from msgspec import Struct


class ExplainedTarget(Struct, frozen=True, kw_only=True):
    """One target. place: in the plan from 1 on; None where it is left out, for `why`.

    state: as the prober sees the endpoint; breaker: `closed`, `open` or `half-open` in this
    process. latency_ms: of its last answers, None before the first. price: the most that the
    request can cost there, in billionths of a ruble, None when unknown.
    """

    place: int | None
    why: str | None
    model: str
    version: str
    upstream: str
    provider: str
    endpoint: str
    country: str | None
    tier: int
    weight: int
    state: str
    breaker: str
    running: int
    latency_ms: float | None
    price: int | None


class Explained(Struct, frozen=True, kw_only=True):
    """A plan, or the error that there would be. strategy: of the policy; cached_s: see `Cache`."""

    asked: str
    revision: int
    route: str | None = None
    strategy: str | None = None
    reason: str | None = None
    max_attempts: int | None = None
    cached_s: float | None = None
    targets: tuple[ExplainedTarget, ...] = ()
    overflow: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
    error: dict[str, str | None] | None = None
