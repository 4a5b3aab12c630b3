"""Routes, prices and rates. What is written goes through the registry: checked and remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import selectinload

from xrouter.control.catalog import repository
from xrouter.control.db.changes import CREATE, UPDATE
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.catalog import ModelRow
from xrouter.control.db.tables.routing import PriceRow, RateRow, RouteRow
from xrouter.control.kit.schemas import Page, PageQuery
from xrouter.control.registry.schemas import PriceDoc, PricesDoc, RegistryDoc, RouteDoc
from xrouter.control.registry.service import RegistryService
from xrouter.control.routing.schemas import (
    AMOUNTS,
    PriceIn,
    PriceOut,
    RateOut,
    RatesIn,
    RouteIn,
    RouteOut,
    RoutePatch,
    billionths,
    decimal,
)
from xrouter.domain.errors import Conflict, NotFound
from xrouter.domain.routes import ROUTE

_SHOWN_RATES = 1000


class RoutingService:
    """Every method is one transaction."""

    def __init__(
        self, db: Database, registry: RegistryService, changed: Callable[[], None]
    ) -> None:
        self._db = db
        self._registry = registry
        self._changed = changed

    async def routes(self, query: PageQuery) -> Page[RouteOut]:
        """Routes by name, behind the name `after`."""
        wanted = select(RouteRow).options(selectinload(RouteRow.targets)).order_by(RouteRow.name)
        if query.after is not None:
            wanted = wanted.where(RouteRow.name > query.after)
        async with self._db.read() as session:
            found = (await session.scalars(wanted.limit(query.limit + 1))).all()
            data = [_out(row) for row in found[: query.limit]]
        return Page(data=data, next=data[-1].name if len(found) > query.limit else None)

    async def route(self, name: str) -> RouteOut:
        """One route, with or without `route/` before its name. Raises NotFound."""
        short = name.removeprefix(ROUTE)
        query = select(RouteRow).options(selectinload(RouteRow.targets))
        async with self._db.read() as session:
            row = await session.scalar(query.where(RouteRow.name == short))
            if row is None:
                raise NotFound(
                    f"There is no route '{short}'.",
                    param="route",
                    code="route_not_found",
                    hint="GET /control/v1/routes lists them.",
                )
            return _out(row)

    async def create(self, given: RouteIn) -> RouteOut:
        """Make a route. Raises Conflict, InvalidRequest."""
        try:
            await self.route(given.name)
        except NotFound:
            await self._put(given, CREATE)
            return await self.route(given.name)
        raise Conflict(
            f"The route '{given.name}' exists already.",
            param="name",
            hint=f"PATCH /control/v1/routes/{given.name} changes it.",
        )

    async def update(self, name: str, patch: RoutePatch) -> RouteOut:
        """Change a route. Raises NotFound, InvalidRequest."""
        old = await self.route(name)
        said = {field: getattr(patch, field) for field in patch.model_fields_set}
        await self._put(RouteDoc.model_validate(_plain(old) | said), UPDATE)
        return await self.route(old.name)

    async def delete(self, name: str) -> None:
        """Delete a route. Raises NotFound, and InvalidRequest when another one leads to it."""
        found = await self.route(name)
        await self._registry.remove("route", found.name)

    async def prices(self, model: str | None) -> Page[PriceOut]:
        """Prices by model and the moment from which they hold."""
        order = (ModelRow.model_id, PriceRow.version, PriceRow.mode, PriceRow.effective_from)
        query = select(ModelRow.model_id, PriceRow).join(
            PriceRow, PriceRow.llm_model_id == ModelRow.id
        )
        if model is not None:
            query = query.where(ModelRow.model_id == model)
        async with self._db.read() as session:
            if model is not None:
                await repository.model(session, model)
            found = (await session.execute(query.order_by(*order))).all()
        now = utc_now()
        begun = {_scope(name, row): row.id for name, row in found if row.effective_from <= now}
        return Page(data=[_price(name, row, set(begun.values())) for name, row in found])

    async def add_price(self, given: PriceIn) -> PriceOut:
        """Let a price hold from a moment on. Raises ModelNotFound, InvalidRequest."""
        async with self._db.read() as session:
            await repository.model(session, given.model)
        price = PriceDoc.model_validate(given.document())
        document = RegistryDoc(prices=[PricesDoc(model_id=given.model, prices=[price])])
        await self._registry.put(document, dry_run=False, prune=False, action=CREATE)
        for made in (await self.prices(given.model)).data:
            same = (made.version, made.mode, made.effective_from)
            if same == (given.version, given.mode, given.effective_from):
                return made
        raise NotFound("The price was deleted meanwhile.")

    async def rates(self) -> Page[RateOut]:
        """The latest rates."""
        query = select(RateRow).order_by(RateRow.day.desc(), RateRow.currency).limit(_SHOWN_RATES)
        async with self._db.read() as session:
            found = (await session.scalars(query)).all()
        return Page(
            data=[
                RateOut(currency=row.currency, day=row.day, rubles=decimal(row.rubles))
                for row in found
            ]
        )

    async def put_rates(self, given: RatesIn) -> Page[RateOut]:
        """Take rates over; those of the same day are replaced."""
        async with self._db.write() as session:
            for rate in given.rates:
                same = (RateRow.currency == rate.currency, RateRow.day == rate.day)
                await session.execute(delete(RateRow).where(*same))
                amount = billionths(rate.rubles)
                session.add(RateRow(currency=rate.currency, day=rate.day, rubles=amount))
        self._changed()
        return await self.rates()

    async def _put(self, route: RouteDoc, action: str) -> None:
        document = RegistryDoc(routes=[RouteDoc.model_validate(route.model_dump())])
        await self._registry.put(document, dry_run=False, prune=False, action=action)


def _plain(route: RouteOut) -> dict[str, Any]:
    """A route as it could be given anew."""
    return route.model_dump(exclude={"model", "created_at", "updated_at"})


def _out(row: RouteRow) -> RouteOut:
    return RouteOut.model_validate(row.__dict__ | {"model": ROUTE + row.name})


def _scope(model: str, row: PriceRow) -> tuple[str, str | None, str]:
    return model, row.version, row.mode


def _price(model: str, row: PriceRow, in_force: set[int]) -> PriceOut:
    amounts = {
        name: None if value is None else decimal(value)
        for name in AMOUNTS
        for value in (getattr(row, name),)
    }
    said = row.__dict__ | amounts | {"model": model, "in_force": row.id in in_force}
    return PriceOut.model_validate(said)
