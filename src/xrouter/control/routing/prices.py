"""Prices of models and exchange rates: what strategies and limits of cost compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import objects
from xrouter.control.catalog import repository as catalog
from xrouter.control.db import changes
from xrouter.control.db.changes import CREATE, DELETE, UPDATE
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.catalog import ModelRow
from xrouter.control.db.tables.routing import PriceRow, RateRow
from xrouter.control.kit.schemas import Page
from xrouter.control.routing import repository
from xrouter.control.routing.schemas import (
    AMOUNTS,
    PriceIn,
    PriceOut,
    PriceQuery,
    Rate,
    RateOut,
    RatesIn,
    billionths,
    decimal,
)
from xrouter.domain.errors import Conflict, InvalidRequest

PRICES = "prices"
RATES = "rates"
_SHOWN_RATES = 1000


class PriceService:
    """Every method is one transaction. changed: called after each that wrote something."""

    def __init__(
        self, db: Database, changed: Callable[[], None], now: Callable[[], datetime] = utc_now
    ) -> None:
        self._db = db
        self._changed = changed
        self._now = now

    async def page(self, query: PriceQuery) -> Page[PriceOut]:
        """Prices by model and the moment from which they hold, behind the one with the id `after`.

        Raises ModelNotFound.
        """
        async with self._db.read() as session:
            if query.model is not None:
                await catalog.model(session, query.model)
            found = await repository.prices(
                session, query.model, after=query.after, limit=query.limit + 1
            )
            shown = found[: query.limit]
            models = [row.llm_model_id for _, row in shown]
            in_force = await repository.in_force(session, models, self._now())
        data = [_price(name, row, in_force) for name, row in shown]
        return Page(data=data, next=str(data[-1].id) if len(found) > query.limit else None)

    async def add(self, given: PriceIn) -> PriceOut:
        """Let a price hold from a moment on; one of the same moment is replaced.

        Raises ModelNotFound, InvalidRequest.
        """
        async with self._db.write() as session:
            model = await catalog.model(session, given.model, lock=True)
            _check_version(model, given.version)
            before = await _document(session, model)
            row = await _same(session, model, given) or PriceRow(llm_model_id=model.id)
            for name, value in given.document().items():
                setattr(row, name, value)
            session.add(row)
            await session.flush()
            after = await _document(session, model)
            action = CREATE if before is None else UPDATE
            await changes.record(
                session, action, PRICES, model.model_id, before=before, after=after
            )
            in_force = await repository.in_force(session, [model.id], self._now())
        self._changed()
        return _price(given.model, row, in_force)

    async def delete(self, price_id: int) -> None:
        """Delete a price that has not begun. Raises NotFound, Conflict."""
        async with self._db.write() as session:
            found, row = await repository.price(session, price_id)
            model = await catalog.model(session, found.model_id, lock=True)
            if row.effective_from <= self._now():
                raise Conflict(
                    f"The price {price_id} holds, or has held.",
                    param="price",
                    code="price_has_begun",
                    hint="POST /control/v1/prices sets another one from now on.",
                )
            before = await _document(session, model)
            await session.delete(row)
            await session.flush()
            after = await _document(session, model)
            action = DELETE if after is None else UPDATE
            await changes.record(
                session, action, PRICES, model.model_id, before=before, after=after
            )
        self._changed()

    async def rates(self) -> Page[RateOut]:
        """The latest rates."""
        async with self._db.read() as session:
            found = await repository.rates(session, _SHOWN_RATES)
        return Page(data=[RateOut.model_validate(_rate(row)) for row in found])

    async def put_rates(self, given: RatesIn) -> Page[RateOut]:
        """Take rates over; those of the same day are replaced."""
        days = sorted(rate.day for rate in given.rates)
        async with self._db.write() as session:
            await catalog.lock(session)
            query = select(RateRow).where(RateRow.day >= days[0], RateRow.day <= days[-1])
            known = {(row.currency, row.day): row for row in await session.scalars(query)}
            touched = [row for rate in given.rates if (row := known.get(_day(rate))) is not None]
            before = _rates(touched)
            fresh = []
            for rate in given.rates:
                amount, row = billionths(rate.rubles), known.get(_day(rate))
                if row is None:
                    fresh.append(rate.model_dump() | {"rubles": amount})
                else:
                    row.rubles = amount
            if fresh:
                await session.execute(insert(RateRow), fresh)
            after = _rates(given.rates)
            name = days[-1].isoformat()
            await changes.record(session, UPDATE, RATES, name, before=before, after=after)
        self._changed()
        return await self.rates()


def _day(rate: Rate) -> tuple[Any, Any]:
    return rate.currency, rate.day


def _rates(rates: Iterable[Rate | RateRow]) -> dict[str, Any] | None:
    """What is written down of rates; None for none."""
    shown = sorted(
        (
            {"currency": rate.currency, "day": rate.day.isoformat(), "rubles": amount}
            for rate in rates
            for amount in (rate.rubles if isinstance(rate, Rate) else decimal(rate.rubles),)
        ),
        key=lambda each: (each["currency"], each["day"]),
    )
    return {"rates": shown} if shown else None


def _check_version(model: ModelRow, label: str | None) -> None:
    labels = [version.label for version in model.versions]
    if label is not None and label not in labels:
        raise InvalidRequest(
            f"Invalid value for 'version': '{model.model_id}' has no version '{label}'.",
            param="version",
            code="invalid_value",
            hint=f"It has: {', '.join(labels)}.",
        )


async def _same(session: AsyncSession, model: ModelRow, given: PriceIn) -> PriceRow | None:
    """The price that the given one takes the place of."""
    query = select(PriceRow).where(
        PriceRow.llm_model_id == model.id,
        PriceRow.version.is_not_distinct_from(given.version),
        PriceRow.mode == given.mode,
        PriceRow.effective_from == given.effective_from,
    )
    found: PriceRow | None = await session.scalar(query.limit(1))
    return found


async def _document(session: AsyncSession, model: ModelRow) -> dict[str, Any] | None:
    """All prices of a model as they are written down; None for none."""
    query = select(PriceRow).where(PriceRow.llm_model_id == model.id)
    rows = (await session.scalars(query)).all()
    return objects.prices(model.model_id, rows) if rows else None


def _price(model: str, row: PriceRow, in_force: set[int]) -> PriceOut:
    amounts = {
        name: None if value is None else decimal(value)
        for name in AMOUNTS
        for value in (getattr(row, name),)
    }
    said = row.__dict__ | amounts | {"model": model, "in_force": row.id in in_force}
    return PriceOut.model_validate(said)


def _rate(row: RateRow) -> dict[str, Any]:
    return {"currency": row.currency, "day": row.day, "rubles": decimal(row.rubles)}
