"""What goes with a provider or a model, and who would miss it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import objects, repository
from xrouter.control.db import changes
from xrouter.control.db.changes import DELETE
from xrouter.control.db.tables.catalog import ModelRow, ProviderRow
from xrouter.control.db.tables.routing import PriceRow, RouteRow, RouteTargetRow
from xrouter.domain.errors import Conflict

_NAMED = 5


async def of_provider(session: AsyncSession, row: ProviderRow) -> None:
    """Write down that a provider goes, with its models and their prices. Raises Conflict."""
    models = await repository.models(session, provider=row.name)
    await _refuse_if_missed(session, [model.model_id for model in models], row.name)
    for model in models:
        await _note_model(session, model)
    before = objects.provider(row)
    await changes.record(session, DELETE, "provider", row.name, before=before, after=None)


async def of_model(session: AsyncSession, row: ModelRow) -> None:
    """Write down that a model goes, with its prices. Raises Conflict."""
    await _refuse_if_missed(session, [row.model_id], row.model_id)
    await _note_model(session, row)


async def _note_model(session: AsyncSession, row: ModelRow) -> None:
    name = row.model_id
    priced = (await session.scalars(select(PriceRow).where(PriceRow.llm_model_id == row.id))).all()
    if priced:
        before = objects.prices(name, priced)
        await changes.record(session, DELETE, "prices", name, before=before, after=None)
    before = objects.model(row)
    await changes.record(session, DELETE, "model", name, before=before, after=None)


async def _refuse_if_missed(session: AsyncSession, models: Sequence[str], what: str) -> None:
    """Raise Conflict when a route leads there: it would lead nowhere."""
    found: set[str] = set()
    for start in range(0, len(models), 100):
        part = models[start : start + 100]
        named = or_(
            RouteTargetRow.model.in_(part),
            *(RouteTargetRow.model.startswith(model + ":", autoescape=True) for model in part),
        )
        query = select(RouteRow.name).join(RouteTargetRow).where(named).distinct()
        found |= set((await session.scalars(query)).all())
    if found:
        names = ", ".join(sorted(found)[:_NAMED])
        raise Conflict(
            f"'{what}' cannot be deleted: these routes lead there: {names}.",
            code="in_use",
            hint="Change or delete the routes first: /control/v1/routes.",
        )
