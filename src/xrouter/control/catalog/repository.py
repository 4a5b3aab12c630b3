"""Queries of the catalog."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, ScalarSelect, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, selectinload

from xrouter.control.db.tables.catalog import CatalogState, EndpointRow, ModelRow, ProviderRow
from xrouter.control.db.tables.releases import ReleaseRow
from xrouter.domain.errors import ModelNotFound, NotFound


async def providers(
    session: AsyncSession,
    name: str | None = None,
    *,
    after: str | None = None,
    limit: int | None = None,
) -> Sequence[ProviderRow]:
    """Providers by name, with their endpoints; one of them when `name` is given."""
    query = select(ProviderRow).options(selectinload(ProviderRow.endpoints)).limit(limit)
    if name is not None:
        query = query.where(ProviderRow.name == name)
    if after is not None:
        query = query.where(ProviderRow.name > after)
    return (await session.scalars(query.order_by(ProviderRow.name))).all()


async def provider(session: AsyncSession, name: str, *, lock: bool = False) -> ProviderRow:
    """One provider with its endpoints. Raises NotFound.

    lock: others who change the provider or add to it wait until this transaction ends.
    """
    if lock:
        await session.execute(
            select(ProviderRow.id).where(ProviderRow.name == name).with_for_update()
        )
    found = await providers(session, name)
    if not found:
        raise NotFound(
            f"There is no provider '{name}'.",
            param="provider",
            code="provider_not_found",
            hint="GET /control/v1/providers lists them.",
        )
    return found[0]


async def lock_endpoints(session: AsyncSession, provider: str) -> None:
    """Let others who use the provider's endpoints wait until this transaction ends."""
    query = select(EndpointRow.id).where(EndpointRow.provider == provider)
    await session.execute(query.order_by(EndpointRow.id).with_for_update())


async def lock_releases(session: AsyncSession, *of: ColumnElement[bool]) -> None:
    """Let others who use releases of these models wait until this transaction ends.

    To be taken before the models themselves: whoever ends a release locks it first.
    """
    query = select(ReleaseRow.id).join(ModelRow, ModelRow.id == ReleaseRow.llm_model_id).where(*of)
    await session.execute(query.order_by(ReleaseRow.id).with_for_update(of=ReleaseRow))


def endpoint_of(row: ProviderRow, name: str) -> EndpointRow:
    """The endpoint of this name. Raises NotFound."""
    for found in row.endpoints:
        if found.name == name:
            return found
    raise NotFound(
        f"The provider '{row.name}' has no endpoint '{name}'.",
        param="endpoint",
        code="endpoint_not_found",
        hint=f"It has: {', '.join(e.name for e in row.endpoints) or 'none'}.",
    )


async def models(
    session: AsyncSession,
    *,
    provider: str | None = None,
    available: bool | None = None,
    after: str | None = None,
    limit: int | None = None,
    lock: bool = False,
) -> Sequence[ModelRow]:
    """Models by id, with their versions. lock: see `model`."""
    query = _models(lock=lock).order_by(ModelRow.model_id).limit(limit)
    if provider is not None:
        query = query.where(ModelRow.provider == provider)
    if available is not None:
        query = query.where(ModelRow.is_available.is_(available))
    if after is not None:
        query = query.where(ModelRow.model_id > after)
    return (await session.scalars(query)).all()


async def model(session: AsyncSession, model_id: str, *, lock: bool = False) -> ModelRow:
    """One model with its versions. Raises ModelNotFound.

    lock: others who change the model wait until this transaction ends.
    """
    found = await session.scalar(_models(lock=lock).where(ModelRow.model_id == model_id))
    if found is None:
        raise ModelNotFound(
            f"There is no model '{model_id}'.",
            param="model_id",
            hint="GET /control/v1/models lists them.",
        )
    return found


async def revision(session: AsyncSession) -> int:
    """The number that every change of the catalog or the keys raises."""
    return (await session.scalars(select(CatalogState.revision))).one()


async def lock(session: AsyncSession) -> None:
    """Let all others who write to the catalog wait until this transaction ends.

    What it changes or refers to must be locked before: triggers take this lock after the row's.
    """
    await session.execute(select(CatalogState.id).with_for_update())


async def counts(session: AsyncSession) -> dict[str, int]:
    """How many rows there are, by what they are."""
    available = select(func.count()).where(ModelRow.is_available)
    query = select(
        _all(ProviderRow.id).label("providers"),
        _all(EndpointRow.id).label("endpoints"),
        _all(ModelRow.id).label("models"),
        available.scalar_subquery().label("models_available"),
    )
    return dict((await session.execute(query)).mappings().one())


def _all(key: InstrumentedAttribute[int]) -> ScalarSelect[int]:
    return select(func.count(key)).scalar_subquery()


def _models(*, lock: bool = False) -> Select[ModelRow]:
    query = select(ModelRow).options(selectinload(ModelRow.versions))
    return query.with_for_update(of=ModelRow) if lock else query
