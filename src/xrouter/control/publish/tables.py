"""What a snapshot is made of, as it is in the database: all of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from xrouter.control.catalog import repository
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import LimitRow
from xrouter.control.db.tables.catalog import ModelRow, ProviderRow, VersionRow
from xrouter.control.db.tables.health import EndpointStateRow
from xrouter.control.db.tables.identity import CredentialRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.control.db.tables.releases import ReleaseRow
from xrouter.control.db.tables.routing import PriceRow, RateRow, RouteRow
from xrouter.control.publish import tokens
from xrouter.control.publish.stock import KeyChanges, KeyStock

CANARY = "canary"
SYNC, DEFERRED = "sync", "deferred"
"""How an answer is asked for, which may change its price."""

_PART = 1000

_MODELS = select(
    ModelRow.id,
    ModelRow.model_id,
    ModelRow.provider,
    ModelRow.adapter_class,
    ModelRow.display_name,
    ModelRow.kind,
    ModelRow.context_length,
    ModelRow.is_available,
    ModelRow.created_at,
    ModelRow.listed,
    ModelRow.capabilities,
    ModelRow.access_group,
    ModelRow.policy,
    ModelRow.vanished_at,
).order_by(ModelRow.model_id)
_VERSIONS = select(
    VersionRow.llm_model_id,
    VersionRow.label,
    VersionRow.upstream,
    VersionRow.channel,
    VersionRow.status,
    VersionRow.weight,
    VersionRow.released_at,
    VersionRow.retires_at,
    VersionRow.successor,
).order_by(VersionRow.llm_model_id, VersionRow.position, VersionRow.id)
_PRICES = select(
    PriceRow.id,
    PriceRow.llm_model_id,
    PriceRow.version,
    PriceRow.mode,
    PriceRow.effective_from,
    PriceRow.currency,
    PriceRow.input,
    PriceRow.output,
    PriceRow.cached_input,
    PriceRow.cache_write,
    PriceRow.reasoning,
    PriceRow.request,
    PriceRow.image,
    PriceRow.source,
).order_by(PriceRow.effective_from, PriceRow.id)
_RATES = select(RateRow.currency, RateRow.day, RateRow.rubles).order_by(RateRow.day)
_ROUTES = select(RouteRow).options(selectinload(RouteRow.targets)).order_by(RouteRow.name)
_CANARIES = select(ReleaseRow).where(ReleaseRow.status == CANARY).order_by(ReleaseRow.id)
_CREDENTIALS = select(CredentialRow).where(CredentialRow.is_enabled).order_by(CredentialRow.id)
_STATES = select(EndpointStateRow.endpoint_id, EndpointStateRow.state, EndpointStateRow.is_silent)

_LIMITS = (
    select(
        LimitRow.id,
        LimitRow.subject,
        LimitRow.meter,
        LimitRow.window,
        LimitRow.amount,
        LimitRow.model,
        LimitRow.time_zone,
        LimitRow.warn_at,
    )
    .where(LimitRow.is_enabled)
    .order_by(LimitRow.id)
)
_TENANTS = (
    select(
        ProjectRow.slug.label("project"),
        OrganizationRow.slug.label("organization"),
        OrganizationRow.time_zone,
        OrganizationRow.margin,
        OrganizationRow.groups,
        OrganizationRow.vat,
        ProjectRow.is_active,
        OrganizationRow.is_active.label("organization_is_active"),
    )
    .join(OrganizationRow, OrganizationRow.id == ProjectRow.organization_id)
    .order_by(ProjectRow.slug)
)


class Tables(Struct):
    """Rows. Prices by the moment from which they hold, rates by day; the last ones count.

    The columns of versions stand in the order in which they are taken. keys: what has changed of
    them.
    """

    revision: int
    providers: Sequence[ProviderRow]
    models: list[Row[Any]]
    versions: list[Row[Any]]
    keys: KeyChanges
    prices: list[Row[Any]]
    rates: list[Row[Any]]
    routes: Sequence[RouteRow]
    canaries: Sequence[ReleaseRow]
    states: list[Row[Any]]
    tokens: tokens.TokenRows
    limits: list[Row[Any]]
    tenants: list[Row[Any]]
    credentials: Sequence[CredentialRow]


async def read(db: Database, stock: KeyStock) -> Tables:
    """Read all of it, of the keys what is not in the stock yet. Raises DatabaseError."""
    async with db.read() as session:
        revision = await repository.revision(session)
        return Tables(
            revision=revision,
            providers=await repository.providers(session),
            models=await _all(session, _MODELS),
            versions=await _all(session, _VERSIONS),
            keys=await stock.read(session, revision),
            prices=await _all(session, _PRICES),
            rates=await _all(session, _RATES),
            routes=(await session.scalars(_ROUTES)).all(),
            canaries=(await session.scalars(_CANARIES)).all(),
            states=await _all(session, _STATES),
            tokens=await tokens.read(session),
            limits=await _all(session, _LIMITS),
            tenants=await _all(session, _TENANTS),
            credentials=(await session.scalars(_CREDENTIALS)).all(),
        )


async def _all(session: AsyncSession, query: Select[*tuple[Any, ...]]) -> list[Row[Any]]:
    """All rows, in parts: others get their turn between them."""
    result = await session.stream(query.execution_options(yield_per=_PART))
    found: list[Row[Any]] = []
    async for part in result.partitions():
        found += part
    return found
