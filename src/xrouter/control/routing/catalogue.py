"""Prices that somebody else has written down: those that ship with us, and those of live lists."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.catalog import ModelRow
from xrouter.control.routing import repository
from xrouter.control.routing.prices import PriceService
from xrouter.control.routing.schemas import ImportedOut, PriceIn, PricesImport, decimal
from xrouter.domain.money import BILLION, MILLION
from xrouter.providers.prices import shipped

_PER_TOKEN = {
    "prompt": "input",
    "completion": "output",
    "input_cache_read": "cached_input",
    "input_cache_write": "cache_write",
    "internal_reasoning": "reasoning",
}
_BOTH = ("prompt", "completion")
_EACH = ("request", "image")
_DOLLARS = "USD"
_MOST = 10_000

Scope = tuple[str, str | None, str]
"""Model id, version, mode."""


class Catalogue:
    """Takes prices over where there is none. Each price is one transaction."""

    def __init__(
        self, db: Database, prices: PriceService, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._db = db
        self._prices = prices
        self._now = now

    async def take(self, given: PricesImport) -> ImportedOut:
        """What was added, and how many were there already; those stay, unless `replace`."""
        async with self._db.read() as session:
            query = select(ModelRow.model_id, ModelRow.listed)
            if given.provider is not None:
                query = query.where(ModelRow.provider == given.provider)
            models = (await session.execute(query.order_by(ModelRow.model_id).limit(_MOST))).all()
            rows = await repository.prices(session, None)
        now = self._now()
        known = {_scope(name, row) for name, row in rows}
        begun = {
            _scope(name, row): row.effective_from for name, row in rows if row.effective_from <= now
        }
        said = {row.model_id: row.listed for row in models}
        found = [*_shipped(said), *self._listed(said)]
        added, kept = [], 0
        for price in found:
            scope = _scope(price.model, price)
            if scope in known and not given.replace:
                kept += 1
                continue
            is_older = begun.get(scope, price.effective_from) > price.effective_from
            since = now if is_older else price.effective_from  # else it would not hold
            added.append(await self._prices.add(price.model_copy(update={"effective_from": since})))
        return ImportedOut(added=added, kept=kept)

    def _listed(self, models: Mapping[str, Any]) -> Iterator[PriceIn]:
        """Dollars that the last live list has named, from now on."""
        now = self._now()
        for model_id, said in models.items():
            prices = said.get("prices") if isinstance(said, dict) else None
            amounts = _amounts(prices) if isinstance(prices, dict) else None
            if amounts is None:
                continue
            source = f"the provider's own list, {now.date().isoformat()}"
            yield PriceIn(
                model=model_id, effective_from=now, currency=_DOLLARS, source=source, **amounts
            )


def _shipped(models: Container[str]) -> Iterator[PriceIn]:
    for provider, prices in shipped().items():
        for fields in prices:
            model_id = f"{provider}/{fields['model']}"
            if model_id in models:
                day: date = fields["effective_from"]
                begins = datetime.combine(day, time(), UTC)
                yield PriceIn(**fields | {"model": model_id, "effective_from": begins})


def _amounts(prices: Mapping[str, Any]) -> dict[str, str] | None:
    """For a million tokens; None where the list does not tell, or has no fixed price.

    Beside one of both kinds of tokens the other is free where the list leaves it out.
    """
    if prices.keys().isdisjoint(_BOTH):
        return None
    prices = dict.fromkeys(_BOTH, "0") | dict(prices)
    try:
        found = {
            field: _decimal(prices[name], MILLION)
            for name, field in _PER_TOKEN.items()
            if name in prices
        }
        return found | {name: _decimal(prices[name], 1) for name in _EACH if name in prices}
    except (InvalidOperation, ValueError, ValidationError):
        return None


def _decimal(text: object, times: int) -> str:
    amount = Decimal(str(text)) * times * BILLION
    if not amount.is_finite() or not 0 <= amount < BILLION * BILLION:
        raise ValueError(text)
    return decimal(int(amount.to_integral_value(ROUND_HALF_UP)))


def _scope(model: str, price: Any) -> Scope:
    return model, price.version, price.mode
