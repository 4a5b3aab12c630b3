"""What a request may not do: targets that its conditions forbid are left out, never tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xrouter.domain.errors import Forbidden, InvalidRequest
from xrouter.domain.plan import Target
from xrouter.domain.routes import Policy
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
                raise Forbidden(
                    f"No target of this model answers from {', '.join(countries)}.",
                    code="country_not_allowed",
                    param="model",
                    hint="Where an endpoint stands is set by the operator: `country`.",
                )
    for cap in (policy.max_price, ask.max_price):
        if cap is not None:
            left = _within(left, ask, cap)
    return left


def inside_borders(targets: Sequence[Target], ask: Ask, policy: Policy) -> list[Target]:
    """The first target, and those behind it that a fallback may reach."""
    if policy.borders == "open" or len(targets) == 1:
        return list(targets)
    first, *rest = targets
    if policy.borders in ("country", "both"):
        rest = [t for t in rest if t.endpoint.country == first.endpoint.country]
    if policy.borders in ("price", "both"):
        most = price(first, ask)
        rest = [t for t in rest if most is None or _at_most(price(t, ask), most)]
    return [first, *rest]


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
        raise InvalidRequest(
            "No target of this model answers the request within the price that is allowed.",
            code="price_cap_exceeded",
            param="model",
            hint="Ask for fewer tokens (max_tokens), or raise the cap. Unknown prices do not fit.",
        )
    return left


def price(target: Target, ask: Ask) -> int | None:
    """The most that the request can cost, None when the price is unknown."""
    output = ask.output or target.model.abilities.max_output or OUTPUT_TOKENS
    return estimate(target, ask, output)


def _at_most(price: int | None, cap: int) -> bool:
    return price is not None and price <= cap


def _first(targets: list[Target], good: Callable[[Target], bool]) -> list[Target]:
    return [t for t in targets if good(t)] + [t for t in targets if not good(t)]
