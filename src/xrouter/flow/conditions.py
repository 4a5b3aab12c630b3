"""What a request may not do: targets that its conditions forbid are left out, never tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xrouter.domain.errors import Forbidden, InvalidRequest
from xrouter.domain.guards import Guards, stricter
from xrouter.domain.plan import Target
from xrouter.domain.routes import Borders, Policy
from xrouter.flow.ask import Ask
from xrouter.flow.costs import estimate

OUTPUT_TOKENS = 1000
"""What an answer is taken to have when neither the caller nor the model sets a limit."""


def allowed(targets: Sequence[Target], ask: Ask, policy: Policy) -> list[Target]:
    """The targets that the conditions leave. Raises Forbidden, InvalidRequest when none is."""
    left = list(targets)
    for countries in (policy.countries, ask.countries):
        if countries:
            left = [target for target in left if target.endpoint.country in countries]
            if not left:
                raise _elsewhere(f"No target of this model answers from {', '.join(countries)}.")
    for cap in (policy.max_price, ask.max_price):
        if cap is not None:
            left = _within(left, ask, cap)
    return left if _are_free(left) else _guarded(left, ask)


def inside_borders(
    targets: Sequence[Target], ask: Ask, policy: Policy, chain: int = 0
) -> list[Target]:
    """The first target, and those behind it that a fallback may reach.

    Borders of the first one hold for all behind it; those of another one for itself. chain: from
    this tier on they are in a chain of the name that was asked for; where the first one may answer
    from, and for how much, holds for them too.
    """
    if policy.borders == "open" and _are_free(targets):
        return list(targets)
    first, *rest = targets
    borders, guards = _borders(first, policy.borders), first.guards
    left = [t for t in rest if _inside(t, first, ask, _borders(t, borders))]
    if guards is not None:
        left = [t for t in left if t.tier < chain or _holds(guards, t, ask)]
    return [first, *left]


def _inside(target: Target, first: Target, ask: Ask, borders: Borders) -> bool:
    if borders == "open":
        return True
    if borders in ("country", "both") and target.endpoint.country != first.endpoint.country:
        return False
    if borders == "country":
        return True
    most = price(first, ask)
    return most is None or _at_most(price(target, ask), most)


def _borders(target: Target, borders: Borders) -> Borders:
    return borders if target.guards is None else stricter(borders, target.guards.borders)


def _are_free(targets: Sequence[Target]) -> bool:
    """Whether nothing on the way to them forbids anything."""
    return all(target.guards is None for target in targets)


def _guarded(targets: list[Target], ask: Ask) -> list[Target]:
    """The targets that what stands on the way to each of them leaves."""
    left = [t for t in targets if t.guards is None or _may_stand_there(t.guards, t)]
    if not left:
        raise _elsewhere("No target of this model answers from where its policies allow it.")
    left = [t for t in left if t.guards is None or _may_cost_that(t.guards, t, ask)]
    if not left:
        raise _too_dear()
    return left


def _holds(guards: Guards, target: Target, ask: Ask) -> bool:
    """Whether a target keeps within what policies forbid."""
    return _may_stand_there(guards, target) and _may_cost_that(guards, target, ask)


def _may_stand_there(guards: Guards, target: Target) -> bool:
    return guards.countries is None or target.endpoint.country in guards.countries


def _may_cost_that(guards: Guards, target: Target, ask: Ask) -> bool:
    return guards.max_price is None or _at_most(price(target, ask), guards.max_price)


def is_affordable(target: Target, ask: Ask, policy: Policy) -> bool:
    """Whether nobody's cap forbids its price; for what stands in or behind an allowed target."""
    inner = None if target.guards is None else target.guards.max_price
    caps = [cap for cap in (policy.max_price, ask.max_price, inner) if cap is not None]
    return not caps or _at_most(price(target, ask), min(caps))


def fitting_first(targets: list[Target], ask: Ask) -> list[Target]:
    """The same targets, those whose context is too small for the prompt behind the others."""
    lengths = {target.model.context_length for target in targets}
    if len(lengths) == 1 or ask.request is None:
        return targets
    needed = ask.tokens + (ask.output or 0)
    return _first(
        targets, lambda t: t.model.context_length is None or t.model.context_length >= needed
    )


def _within(targets: list[Target], ask: Ask, cap: int) -> list[Target]:
    left = [target for target in targets if _at_most(price(target, ask), cap)]
    if not left:
        raise _too_dear()
    return left


def _elsewhere(message: str) -> Forbidden:
    return Forbidden(
        message,
        code="country_not_allowed",
        param="model",
        hint="Where an endpoint stands is set by the operator: `country`.",
    )


def _too_dear() -> InvalidRequest:
    return InvalidRequest(
        "No target of this model answers the request within the price that is allowed.",
        code="price_cap_exceeded",
        param="model",
        hint="Ask for fewer tokens (max_tokens), or raise the cap. Unknown prices do not fit.",
    )


def price(target: Target, ask: Ask) -> int | None:
    """The most that the request can cost, None when the price is unknown."""
    output = ask.output or target.model.abilities.max_output or OUTPUT_TOKENS
    return estimate(target, ask, output)


def _at_most(price: int | None, cap: int) -> bool:
    return price is not None and price <= cap


def _first(targets: list[Target], good: Callable[[Target], bool]) -> list[Target]:
    return [t for t in targets if good(t)] + [t for t in targets if not good(t)]
