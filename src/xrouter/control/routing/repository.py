"""Queries of routes, prices and rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, selectinload

from xrouter.control.db.tables.catalog import EndpointRow, ModelRow
from xrouter.control.db.tables.routing import PriceRow, RateRow, RouteRow, RouteTargetRow
from xrouter.domain.errors import NotFound
from xrouter.domain.routes import ROUTE

_PRICE_ORDER: tuple[InstrumentedAttribute[Any] | ColumnElement[Any], ...] = (
    ModelRow.model_id,
    func.coalesce(PriceRow.version, ""),
    PriceRow.mode,
    PriceRow.effective_from,
    PriceRow.id,
)


async def routes(
    session: AsyncSession, *, after: str | None = None, limit: int | None = None
) -> Sequence[RouteRow]:
    """Routes by name, with their targets; those behind `after`."""
    query = _routes().order_by(RouteRow.name).limit(limit)
    if after is not None:
        query = query.where(RouteRow.name > after.removeprefix(ROUTE))
    return (await session.scalars(query)).all()


async def route(session: AsyncSession, name: str, *, lock: bool = False) -> RouteRow:
    """One route with its targets, with or without `route/` before its name. Raises NotFound.

    lock: others who change the route wait until this transaction ends.
    """
    short = name.removeprefix(ROUTE)
    query = _routes().where(RouteRow.name == short)
    found = await session.scalar(query.with_for_update(of=RouteRow) if lock else query)
    if found is None:
        raise NotFound(
            f"There is no route '{short}'.",
            param="route",
            code="route_not_found",
            hint="GET /control/v1/routes lists them.",
        )
    return found


async def ways(session: AsyncSession) -> list[tuple[str, str]]:
    """What each route leads to: its name, and the name in a target."""
    query = select(RouteRow.name, RouteTargetRow.model).join(
        RouteTargetRow, RouteTargetRow.route_id == RouteRow.id
    )
    return [(name, model) for name, model in await session.execute(query)]


async def endpoints(session: AsyncSession, models: Iterable[str]) -> dict[str, set[str]]:
    """The endpoints' names by model id."""
    query = (
        select(ModelRow.model_id, EndpointRow.name)
        .join(EndpointRow, EndpointRow.provider == ModelRow.provider)
        .where(ModelRow.model_id.in_(set(models)))
    )
    found: dict[str, set[str]] = {}
    for model_id, name in await session.execute(query):
        found.setdefault(model_id, set()).add(name)
    return found


async def prices(
    session: AsyncSession,
    model: str | None,
    *,
    after: int | None = None,
    limit: int | None = None,
) -> list[tuple[str, PriceRow]]:
    """Prices with their model's id, of one model or of all, by scope and moment; those behind the
    price `after`.
    """
    query = (
        select(ModelRow.model_id, PriceRow)
        .join(PriceRow, PriceRow.llm_model_id == ModelRow.id)
        .order_by(*_PRICE_ORDER)
        .limit(limit)
    )
    if model is not None:
        query = query.where(ModelRow.model_id == model)
    if after is not None:
        last = select(*_PRICE_ORDER).join(PriceRow, PriceRow.llm_model_id == ModelRow.id)
        seen = (await session.execute(last.where(PriceRow.id == after))).first()
        if seen is None:
            return []
        there = [literal(value, each.type) for each, value in zip(_PRICE_ORDER, seen, strict=True)]
        query = query.where(
            ModelRow.model_id >= there[0],  # so that the index of models can begin there
            tuple_(*_PRICE_ORDER) > tuple_(*there),
        )
    return [(model_id, row) for model_id, row in await session.execute(query)]


async def in_force(session: AsyncSession, models: Iterable[int], now: datetime) -> set[int]:
    """The prices of these models (ids of rows) that hold at a moment: the last of each scope."""
    scope = (PriceRow.llm_model_id, PriceRow.version, PriceRow.mode)
    newest = (PriceRow.effective_from.desc(), PriceRow.id.desc())
    number = func.row_number().over(partition_by=scope, order_by=newest).label("number")
    begun = (
        select(PriceRow.id, number)
        .where(PriceRow.llm_model_id.in_(set(models)), PriceRow.effective_from <= now)
        .subquery()
    )
    return set(await session.scalars(select(begun.c.id).where(begun.c.number == 1)))


async def price(session: AsyncSession, price_id: int) -> tuple[ModelRow, PriceRow]:
    """One price and its model. Raises NotFound."""
    query = (
        select(ModelRow, PriceRow)
        .join(PriceRow, PriceRow.llm_model_id == ModelRow.id)
        .where(PriceRow.id == price_id)
    )
    found = (await session.execute(query)).first()
    if found is None:
        raise NotFound(
            f"There is no price {price_id}.",
            param="price",
            code="price_not_found",
            hint="GET /control/v1/prices lists them.",
        )
    return found[0], found[1]


async def rates(session: AsyncSession, limit: int) -> Sequence[RateRow]:
    """Rates, the latest first."""
    query = select(RateRow).order_by(RateRow.day.desc(), RateRow.currency).limit(limit)
    return (await session.scalars(query)).all()


def _routes() -> Select[RouteRow]:
    return select(RouteRow).options(selectinload(RouteRow.targets))
