"""What a request may not do: targets that its conditions forbid are left out, never tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xrouter.domain.errors import Forbidden, InvalidRequest
from xrouter.domain.guards import stricter
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


def inside_borders(targets: Sequence[Target], ask: Ask, policy: Policy) -> list[Target]:
    """The first target, and those behind it that a fallback may reach.

    Borders of the first one hold for all behind it; those of another one for itself.
    """
    if policy.borders == "open" and _are_free(targets):
        return list(targets)
    first, *rest = targets
    borders = _borders(first, policy.borders)
    return [first, *(t for t in rest if _inside(t, first, ask, _borders(t, borders)))]


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
    left = [target for target in targets if _may_stand_there(target)]
    if not left:
        raise _elsewhere("No target of this model answers from where its policies allow it.")
    left = [target for target in left if _may_cost_that(target, ask)]
    if not left:
        raise _too_dear()
    return left


def _may_stand_there(target: Target) -> bool:
    """Whether all policies on the way to it allow its country."""
    guards = target.guards
    return guards is None or guards.countries is None or target.endpoint.country in guards.countries


def _may_cost_that(target: Target, ask: Ask) -> bool:
    """Whether all policies on the way to it allow its price."""
    cap = None if target.guards is None else target.guards.max_price
    return cap is None or _at_most(price(target, ask), cap)


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
