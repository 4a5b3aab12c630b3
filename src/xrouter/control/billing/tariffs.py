"""What tokens cost that a provider tells of afterwards: by the price that the call was counted by,
or by the one that held when the bill says it was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing.booked import Attempt
from xrouter.control.db.tables.catalog import ModelRow, VersionRow
from xrouter.control.db.tables.routing import PriceRow, RateRow
from xrouter.control.kit.prices import price_of
from xrouter.domain.answer import Usage
from xrouter.domain.catalog import Price
from xrouter.domain.money import BILLION, RUBLE, charge_of

SYNC = "sync"
_MOST_RATES = 10_000


class _Entry(Struct):
    """From when a price holds, and for which version; None for all others."""

    since: float
    version: str | None
    price: Price


class Tariffs:
    """The prices of a provider's models, and the rates of their currencies."""

    def __init__(self) -> None:
        self._by_id: dict[int, Price] = {}
        self._entries: dict[str, list[_Entry]] = {}
        self._rates: dict[str, list[tuple[date, int]]] = {}
        self._names: dict[str, tuple[str, str | None]] = {}

    @classmethod
    async def read(cls, session: AsyncSession, provider: str) -> Tariffs:
        """Of all its models."""
        found = cls()
        models = select(ModelRow.model_id, VersionRow.label, VersionRow.upstream)
        models = models.outerjoin(VersionRow, VersionRow.llm_model_id == ModelRow.id)
        query = models.where(ModelRow.provider == provider)
        for model, label, upstream in await session.execute(query.order_by(VersionRow.id)):
            for name in (model, model.partition("/")[2], (upstream or "").split(":")[0], upstream):
                if name:
                    version = label if name == upstream else None
                    found._names.setdefault(name.casefold(), (model, version))
        prices = select(ModelRow.model_id, PriceRow).join(
            PriceRow, PriceRow.llm_model_id == ModelRow.id
        )
        prices = prices.where(ModelRow.provider == provider).order_by(PriceRow.effective_from)
        for model, row in await session.execute(prices):
            price = price_of(row)
            found._by_id[row.id] = price
            if row.mode == SYNC:
                entry = _Entry(row.effective_from.timestamp(), row.version, price)
                found._entries.setdefault(model, []).append(entry)
        currencies = {price.currency for price in found._by_id.values()} - {RUBLE}
        rates = select(RateRow).where(RateRow.currency.in_(currencies)).order_by(RateRow.day.desc())
        for rate in await session.scalars(rates.limit(_MOST_RATES)):
            found._rates.setdefault(rate.currency, []).append((rate.day, rate.rubles))
        return found

    def model(self, name: str) -> str:
        """Our id of a model that the provider calls so; the name, where we have none."""
        return self._named(name)[0]

    def again(self, attempt: Attempt, usages: Sequence[Usage]) -> int | None:
        """What an attempt costs that has used this, by call; None where its price is not known."""
        price = self._by_id.get(attempt.price_id or 0)
        if price is None or attempt.rate is None:
            return None
        return _cost(price, attempt.rate, usages)

    def then(self, name: str, day: date, at: float, usage: Usage) -> int | None:
        """What a call costs that was made at a moment; None where that is not known."""
        model, version = self._named(name)
        begun = [each for each in self._entries.get(model, ()) if each.since <= at]
        own = [each for each in begun if each.version == version]
        fit = own or [each for each in begun if each.version is None] or begun
        if not fit:
            return None
        price = fit[-1].price
        rate = BILLION if price.currency == RUBLE else self._rate(price.currency, day)
        return None if rate is None else _cost(price, rate, [usage])

    def _named(self, name: str) -> tuple[str, str | None]:
        """Our id of the model and the version, also where the provider adds a tag to the name."""
        exact = self._names.get(name.casefold())
        tagged = name.rpartition("/")[0].casefold()
        return exact or self._names.get(tagged) or (name, None)

    def _rate(self, currency: str, day: date) -> int | None:
        return next((rate for of, rate in self._rates.get(currency, ()) if of <= day), None)


def _cost(price: Price, rate: int, usages: Sequence[Usage]) -> int:
    return sum(charge_of(usage, price, {price.currency: rate}).cost for usage in usages)
