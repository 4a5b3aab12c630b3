"""What a request costs at a target, in billionths of a ruble. Integers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec.structs import replace

from xrouter.domain.catalog import Price
from xrouter.domain.limits import Tenant
from xrouter.domain.money import FREE, Charge, Part, charge_of, in_rubles, on_top, rate_of
from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.fold import summed
from xrouter.flow.tally import Paid

BILLION = 1_000_000_000
_MILLION = 1_000_000
RUBLE = "RUB"


def is_priced(target: Target, rates: Mapping[str, int]) -> bool:
    """Whether its price is known, and the rate of the price's currency."""
    price = target.version.price
    return price is not None and rate_of(price.currency, rates) is not None


def estimate(target: Target, ask: Ask, output: int) -> int | None:
    """What the request costs there if each of its answers has so many tokens; None as in `cost`.

    Nothing on a project's own account. Where `n` is several calls, each of them reads the prompt.
    """
    return _estimate(target, target.version.price, ask, ask.tokens, output)


def most(target: Target, ask: Ask, tokens: int, output: int) -> int | None:
    """As `estimate`, with each token at the dearest it may be: new to the cache, or thought.

    tokens: of the prompt.
    """
    price = target.version.price
    return _estimate(target, None if price is None else _dearest(price), ask, tokens, output)


def _estimate(target: Target, price: Price | None, ask: Ask, asked: int, said: int) -> int | None:
    if target.endpoint.owner is not None:
        return 0
    request = ask.request
    if request is None:
        return cost(price, ask.rates, asked, said, ask.pictures)
    answers = request.n or 1
    if answers > 1 and target.model.abilities.features.get("n") == "emulated":
        found = cost(price, ask.rates, asked, said)
        return None if found is None else answers * found
    return cost(price, ask.rates, asked, answers * said)


@lru_cache(maxsize=4096)
def _dearest(price: Price) -> Price:
    return replace(
        price,
        input=max(price.input, price.cached_input or 0, price.cache_write or 0),
        output=max(price.output, price.reasoning or 0),
    )


def cost(
    price: Price | None,
    rates: Mapping[str, int],
    tokens_in: int,
    tokens_out: int,
    pictures: int = 0,
) -> int | None:
    """Billionths of a ruble, rounded up; None when the price or the rate is unknown."""
    if price is None:
        return None
    amount = price.input * tokens_in + price.output * tokens_out
    if pictures or price.request:
        amount += (price.request + pictures * (price.image or 0)) * _MILLION
    if price.currency == RUBLE:
        return -(-amount // _MILLION)
    rate = rates.get(price.currency)
    return None if rate is None else in_rubles(amount, rate)


def charge_of_attempts(
    paid: Sequence[Paid], target: Target, rates: Mapping[str, int], tenant: Tenant | None
) -> Charge:
    """The sum of what each call of each attempt costs by its own target's price.

    target: that the request has come to; its price and rate are told where it may charge.
    """
    parts = [_part(each, rates) for each in paid]
    cost = sum(part.cost for part in parts)
    margin, vat = on_top(cost, tenant)
    own = [part for part, each in zip(parts, paid, strict=True) if each.target is target]
    shown = own[-1] if own else parts[-1]
    return Charge(
        cost=cost,
        margin=margin,
        vat=vat,
        total=cost + margin + vat,
        currency=shown.currency,
        rate=shown.rate,
        price_id=shown.price_id,
        is_estimated=any(part.is_estimated for part in parts),
        parts=() if own and len(parts) == parts[0].calls == 1 else tuple(parts),
    )


def _part(paid: Paid, rates: Mapping[str, int]) -> Part:
    target = paid.target
    if target.endpoint.owner is None:
        patient = paid.patient or (False,) * len(paid.usages)
        charges = [
            charge_of(usage, target.version.price_of(is_deferred=later), rates)
            for usage, later in zip(paid.usages, patient, strict=True)
        ]
    else:
        charges = [FREE]
    usage = summed(paid.usages)
    return Part(
        provider=target.endpoint.provider,
        endpoint=target.endpoint.name,
        model=target.model.model_id,
        version=target.version.label,
        tokens_in=usage.prompt_tokens,
        tokens_out=usage.completion_tokens,
        tokens_cached=usage.cached_tokens,
        cost=sum(charge.cost for charge in charges),
        currency=charges[0].currency,
        rate=charges[0].rate,
        price_id=charges[0].price_id,
        is_estimated=not paid.over or any(charge.is_estimated for charge in charges),
        calls=len(paid.usages),
        upstream_ids=paid.upstream_ids,
    )
