"""Queries of releases, builds, and of the usage events that tell how they fare."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, String, cast, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from xrouter.control.db.tables.catalog import ModelRow, VersionRow
from xrouter.control.db.tables.releases import BuildRow, ChangeRow, ReleaseRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.releases.moves import RETIRED
from xrouter.domain.errors import NotFound

LIVE = ("planned", "canary")
KIND = "release"
_DUE = 100

Found = tuple[ReleaseRow, ModelRow]


async def release(session: AsyncSession, release_id: int, *, lock: bool = False) -> Found:
    """A release and its model with versions. Raises NotFound."""
    query = _releases().where(ReleaseRow.id == release_id)
    found = (await session.execute(query.with_for_update() if lock else query)).first()
    if found is None:
        raise NotFound(
            f"There is no release {release_id}.",
            param="release_id",
            code="release_not_found",
            hint="GET /control/v1/releases lists them.",
        )
    return found[0], found[1]


async def releases(
    session: AsyncSession,
    *,
    model_id: str | None = None,
    statuses: Sequence[str] = (),
    before: int | None = None,
    limit: int | None = None,
) -> list[Found]:
    """Releases and their models, the newest first."""
    query = _releases().order_by(ReleaseRow.id.desc()).limit(limit)
    if model_id is not None:
        query = query.where(ModelRow.model_id == model_id)
    if statuses:
        query = query.where(ReleaseRow.status.in_(statuses))
    if before is not None:
        query = query.where(ReleaseRow.id < before)
    return [(row[0], row[1]) for row in (await session.execute(query)).all()]


async def retiring(session: AsyncSession, now: datetime) -> list[str]:
    """Ids of models that have a version whose time is over."""
    query = (
        select(ModelRow.model_id)
        .join(VersionRow, VersionRow.llm_model_id == ModelRow.id)
        .where(VersionRow.retires_at <= now, VersionRow.status != RETIRED)
        .distinct()
        .order_by(ModelRow.model_id)
        .limit(_DUE)
    )
    return list((await session.scalars(query)).all())


async def moved(session: AsyncSession, release_id: int) -> dict[str, Any]:
    """What a release has moved, as it was before; {} when that is not known any more."""
    query = (
        select(ChangeRow.after)
        .where(ChangeRow.kind == KIND, ChangeRow.object == str(release_id))
        .order_by(ChangeRow.id.desc())
    )
    for after in await session.scalars(query):
        if after and isinstance(after.get("moved"), dict):
            found: dict[str, Any] = after["moved"]
            return found
    return {}


async def events(
    session: AsyncSession, after: str, until: str, limit: int, *conditions: ColumnElement[bool]
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Usage events with ids between the two, in their order: that in which requests ended."""
    query = (
        select(
            UsageRow.event_id,
            UsageRow.at,
            UsageRow.model_served,
            UsageRow.version,
            UsageRow.provider,
            UsageRow.endpoint,
            UsageRow.upstream_model,
            UsageRow.build,
            UsageRow.status,
            UsageRow.outcome,
            UsageRow.error_code,
            UsageRow.finish_reason,
            UsageRow.streamed,
            UsageRow.queue_ms,
            UsageRow.first_token_ms,
            UsageRow.tried,
        )
        .where(UsageRow.event_id > after, UsageRow.event_id <= until)
        .where(UsageRow.cached.is_(False), *conditions)
        .order_by(UsageRow.event_id)
        .limit(limit)
    )
    return (await session.execute(query)).all()


def concerns(model_id: str) -> ColumnElement[bool]:
    """Whether an event's request was answered by a model, or tried there."""
    tried = cast(UsageRow.tried, String)
    return or_(UsageRow.model_served == model_id, tried.contains(model_id, autoescape=True))


async def builds(
    session: AsyncSession, model_id: str | None, after: int | None, limit: int | None
) -> Sequence[BuildRow]:
    """Builds in the order in which they were first written."""
    query = select(BuildRow).order_by(BuildRow.id).limit(limit)
    if model_id is not None:
        query = query.where(BuildRow.model_id == model_id)
    if after is not None:
        query = query.where(BuildRow.id > after)
    return (await session.scalars(query)).all()


async def drifts(
    session: AsyncSession, model_id: str | None, after: int | None, limit: int
) -> Sequence[Row[*tuple[Any, ...]]]:
    """(id, model id, version, provider, endpoint, old, new, first seen), the newest first."""
    place = (BuildRow.model_id, BuildRow.version, BuildRow.endpoint)
    inner = select(
        BuildRow,
        func.lag(BuildRow.build)
        .over(partition_by=place, order_by=(BuildRow.first_seen, BuildRow.id))
        .label("old"),
    )
    if model_id is not None:
        inner = inner.where(BuildRow.model_id == model_id)
    found = inner.subquery()
    c = found.c
    new = c.build.label("new")
    query = (
        select(c.id, c.model_id, c.version, c.provider, c.endpoint, c.old, new, c.first_seen)
        .where(c.old.is_not(None))
        .order_by(c.first_seen.desc(), c.id.desc())
        .limit(limit)
    )
    if after is not None:
        seen = select(BuildRow.first_seen).where(BuildRow.id == after).scalar_subquery()
        query = query.where(tuple_(c.first_seen, c.id) < tuple_(seen, after))
    return (await session.execute(query)).all()


def _releases() -> Any:
    return (
        select(ReleaseRow, ModelRow)
        .join(ModelRow, ModelRow.id == ReleaseRow.llm_model_id)
        .options(selectinload(ModelRow.versions))
    )
