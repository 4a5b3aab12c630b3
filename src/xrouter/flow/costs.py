"""What a request costs at a target, in billionths of a ruble. Integers only."""

from __future__ import annotations

from collections.abc import Mapping

from xrouter.domain.catalog import Price

BILLION = 1_000_000_000
_MILLION = 1_000_000
_RUBLE = "RUB"


def cost(
    price: Price | None, rates: Mapping[str, int], tokens_in: int, tokens_out: int
) -> int | None:
    """Billionths of a ruble, rounded up; None when the price or the rate is unknown."""
    if price is None:
        return None
    rate = BILLION if price.currency == _RUBLE else rates.get(price.currency)
    if rate is None:
        return None
    millionths = price.input * tokens_in + price.output * tokens_out + price.request * _MILLION
    return -(-millionths * rate // (_MILLION * BILLION))
