"""What a request costs at a target, in billionths of a ruble. Integers only."""

from __future__ import annotations

from collections.abc import Mapping

from xrouter.domain.catalog import Price
from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask

BILLION = 1_000_000_000
_MILLION = 1_000_000
RUBLE = "RUB"


def estimate(target: Target, ask: Ask, output: int) -> int | None:
    """What the request costs there if each of its answers has so many tokens; None as in `cost`.

    Where `n` is several calls, each of them reads the prompt.
    """
    request, price = ask.request, target.version.price
    answers = 1 if request is None else request.n or 1
    if answers > 1 and target.model.abilities.features.get("n") == "emulated":
        found = cost(price, ask.rates, ask.tokens, output)
        return None if found is None else answers * found
    return cost(price, ask.rates, ask.tokens, answers * output)


def cost(
    price: Price | None, rates: Mapping[str, int], tokens_in: int, tokens_out: int
) -> int | None:
    """Billionths of a ruble, rounded up; None when the price or the rate is unknown."""
    if price is None:
        return None
    rate = BILLION if price.currency == RUBLE else rates.get(price.currency)
    if rate is None:
        return None
    millionths = price.input * tokens_in + price.output * tokens_out + price.request * _MILLION
    return -(-millionths * rate // (_MILLION * BILLION))
