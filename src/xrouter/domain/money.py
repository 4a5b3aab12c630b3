"""What a request costs. Money: billionths of a ruble, always integers.

An amount of a price is billionths of its currency's unit for a million tokens, a rate billionths
of a ruble for one unit; the product of both and a number of tokens is divided once, at the end,
and rounded up to a whole billionth of a ruble: never in nobody's favour, never twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from msgspec import Struct

from xrouter.domain.answer import Usage
from xrouter.domain.catalog import Price
from xrouter.domain.limits import Tenant

BILLION = 1_000_000_000
MILLION = 1_000_000
RUBLE = "RUB"
SHARE = 10_000
"""Hundredths of a percent in a whole."""

MOST_TOKENS = 100_000_000
"""No call uses more: what a provider says beyond that is not believed."""

_HALF = SHARE // 2
_MOST_DIGITS = 30
_WHOLE = MILLION * BILLION


class Part(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one attempt of a request costs, counted as in Charge. model: our id of it.

    calls: made by it; upstream_ids: those of them that the provider has named.
    """

    provider: str
    endpoint: str
    model: str
    version: str
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost: int = 0
    currency: str | None = None
    rate: int | None = None
    price_id: int | None = None
    is_estimated: bool = False
    calls: int = 1
    upstream_ids: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether there was a price, and a rate for its currency."""
        return self.rate is not None


class Charge(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one request costs its project.

    cost: what the provider takes; margin, vat: put on it; total: the sum. currency, rate: by which
    it was counted (billionths of a ruble for one unit), None where the price or the rate is
    unknown, and all is 0. told: the provider named the cost itself. calls: that the provider
    counts. parts: by attempt, where it is not one call to the target that has answered; then
    currency, rate and price_id are those of the last one, and the cost is the sum of those that
    are known.
    """

    cost: int = 0
    margin: int = 0
    vat: int = 0
    total: int = 0
    currency: str | None = None
    rate: int | None = None
    price_id: int | None = None
    told: bool = False
    is_estimated: bool = False
    calls: int = 1
    parts: tuple[Part, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether there was a price, and a rate for its currency."""
        return self.rate is not None


UNKNOWN = Charge()

FREE = Charge(currency=RUBLE, rate=BILLION)
"""Of an answer that was kept, and of one on the project's own account at the provider."""


def rate_of(currency: str, rates: Mapping[str, int]) -> int | None:
    """Billionths of a ruble for one unit of the currency, None where it is unknown."""
    return BILLION if currency == RUBLE else rates.get(currency)


def in_rubles(amount: int, rate: int) -> int:
    """Billionths of a ruble, rounded up. amount: millionths of billionths of a currency's unit."""
    if rate == BILLION:
        return -(-amount // MILLION)
    return -(-amount * rate // _WHOLE)


def charge_of(
    usage: Usage,
    price: Price | None,
    rates: Mapping[str, int],
    tenant: Tenant | None = None,
    *,
    images: int = 0,
    requests: int = 1,
) -> Charge:
    """What a request costs its project: UNKNOWN without a price or a rate.

    usage: not believed where it makes no sense. images: pictures drawn. requests: calls that the
    provider counts. What the provider itself says it charged goes before our price.
    """
    if price is None:
        return UNKNOWN
    rate = BILLION if price.currency == RUBLE else rates.get(price.currency)
    if rate is None:
        return UNKNOWN
    units = None if usage.cost is None else _told(usage.cost)
    if units is None:
        cost = in_rubles(_amount(usage, price, images, requests), rate)
    else:
        cost = -(-units * rate // BILLION)
    margin, vat = on_top(cost, tenant)
    return Charge(
        cost=cost,
        margin=margin,
        vat=vat,
        total=cost + margin + vat,
        currency=price.currency,
        rate=rate,
        price_id=price.id,
        told=units is not None,
        is_estimated=usage.estimated and units is None,
        calls=max(1, requests),
    )


def on_top(cost: int, tenant: Tenant | None) -> tuple[int, int]:
    """Margin and VAT (on cost and margin) of a tenant, each rounded half up."""
    if tenant is None:
        return 0, 0
    margin = (cost * tenant.margin + _HALF) // SHARE if tenant.margin else 0
    return margin, ((cost + margin) * tenant.vat + _HALF) // SHARE if tenant.vat else 0


def _amount(usage: Usage, price: Price, images: int, requests: int) -> int:
    """Millionths of billionths of the currency's unit: amounts are for a million tokens."""
    asked, said = usage.prompt_tokens, usage.completion_tokens
    special = usage.cached_tokens or usage.cache_write_tokens or usage.reasoning_tokens
    if not special and asked >= 0 and said >= 0 and asked + said <= MOST_TOKENS:
        amount = asked * price.input + said * price.output
        return amount + _beside(price, images, requests) if images or price.request else amount
    prompt, answer = _believed(asked), _believed(said)
    cached = min(_believed(usage.cached_tokens), prompt)
    written = min(_believed(usage.cache_write_tokens or 0), prompt - cached)
    thought = min(_believed(usage.reasoning_tokens), answer)
    return (
        (prompt - cached - written) * price.input
        + cached * _either(price.cached_input, price.input)
        + written * _either(price.cache_write, price.input)
        + (answer - thought) * price.output
        + thought * _either(price.reasoning, price.output)
        + _beside(price, images, requests)
    )


def _beside(price: Price, images: int, requests: int) -> int:
    """What is not counted in tokens."""
    return (max(0, requests) * price.request + max(0, images) * (price.image or 0)) * MILLION


def _either(special: int | None, usual: int) -> int:
    return usual if special is None else special


def _believed(tokens: int) -> int:
    return max(0, min(tokens, MOST_TOKENS))


def _told(cost: str) -> int | None:
    """Billionths of the currency's unit that the provider says it charged; None without sense."""
    if not cost or len(cost) > _MOST_DIGITS:
        return None
    try:
        units = Decimal(cost) * BILLION
    except InvalidOperation:
        return None
    if not units.is_finite() or units < 0 or units > MILLION * BILLION:
        return None
    return int(units.to_integral_value(rounding="ROUND_CEILING"))
