"""Queries of states, checks and incidents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import delete, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.catalog import EndpointRow, ProviderRow
from xrouter.control.db.tables.health import (
    AttemptCountRow,
    CheckRow,
    EndpointStateRow,
    IncidentRow,
)
from xrouter.control.health.schemas import IncidentQuery

RECENT_S = 3600.0
RECENT_CHECKS = 20

Listed = tuple[EndpointRow, bool, EndpointStateRow | None]
"""An endpoint, whether its provider is enabled, its state where it was ever written."""


async def endpoints(session: AsyncSession) -> Sequence[Listed]:
    """All endpoints by provider and priority."""
    query = (
        select(EndpointRow, ProviderRow.is_enabled, EndpointStateRow)
        .join(ProviderRow, ProviderRow.name == EndpointRow.provider)
        .outerjoin(EndpointStateRow, EndpointStateRow.endpoint_id == EndpointRow.id)
        .order_by(EndpointRow.provider, EndpointRow.priority, EndpointRow.id)
    )
    return [(row, on, state) for row, on, state in await session.execute(query)]


async def states(session: AsyncSession) -> dict[int, EndpointStateRow]:
    """By endpoint."""
    return {row.endpoint_id: row for row in await session.scalars(select(EndpointStateRow))}


async def recent_checks(session: AsyncSession, now: float) -> dict[int, list[CheckRow]]:
    """The last ones of each endpoint, of the last hour, the newest first."""
    number = func.row_number().over(
        partition_by=CheckRow.endpoint_id, order_by=(CheckRow.at.desc(), CheckRow.id.desc())
    )
    last = select(CheckRow.id, number.label("number")).where(CheckRow.at > now - RECENT_S)
    found = last.subquery()
    query = (
        select(CheckRow)
        .join(found, found.c.id == CheckRow.id)
        .where(found.c.number <= RECENT_CHECKS)
        .order_by(CheckRow.at.desc(), CheckRow.id.desc())
    )
    checks: dict[int, list[CheckRow]] = defaultdict(list)
    for row in await session.scalars(query):
        checks[row.endpoint_id].append(row)
    return checks


async def still_there(session: AsyncSession, ids: Iterable[int]) -> set[int]:
    """Which of these endpoints have not been deleted; they stay until the transaction ends."""
    query = select(EndpointRow.id).where(EndpointRow.id.in_(list(ids)))
    return set(await session.scalars(query.with_for_update(read=True, key_share=True)))


async def open_incidents(session: AsyncSession) -> Sequence[IncidentRow]:
    """Those that last."""
    query = select(IncidentRow).where(IncidentRow.ended_at.is_(None)).order_by(IncidentRow.id)
    return (await session.scalars(query)).all()


async def incidents_since(
    session: AsyncSession, last_id: int, known: Collection[int]
) -> Sequence[IncidentRow]:
    """Those that came after `last_id`, and those of these ids."""
    news = or_(IncidentRow.id > last_id, IncidentRow.id.in_(list(known)))
    return (await session.scalars(select(IncidentRow).where(news).order_by(IncidentRow.id))).all()


async def last_incident(session: AsyncSession) -> int:
    """The newest one's id, 0 without any."""
    return await session.scalar(select(func.max(IncidentRow.id))) or 0


async def incidents(session: AsyncSession, wanted: IncidentQuery) -> Sequence[IncidentRow]:
    """The newest first; one more than the limit where there are more."""
    query = select(IncidentRow).order_by(IncidentRow.id.desc()).limit(wanted.limit + 1)
    if wanted.provider is not None:
        query = query.where(IncidentRow.provider == wanted.provider)
    if wanted.open is not None:
        lasts = IncidentRow.ended_at.is_(None)
        query = query.where(lasts if wanted.open else ~lasts)
    if wanted.after is not None:
        query = query.where(IncidentRow.id < wanted.after)
    return (await session.scalars(query)).all()


async def first_open(session: AsyncSession) -> datetime | None:
    """When the oldest incident that lasts began; None without any."""
    return await session.scalar(
        select(func.min(IncidentRow.started_at)).where(IncidentRow.ended_at.is_(None))
    )


async def forget_counts(session: AsyncSession, before: int, limit: int) -> int:
    """Delete counts of attempts in buckets before this one, the oldest first; how many."""
    key = list(AttemptCountRow.__table__.primary_key)
    oldest = select(*key).where(AttemptCountRow.bucket < before).order_by(*key).limit(limit)
    found = [tuple(place) for place in await session.execute(oldest)]
    if found:
        await session.execute(delete(AttemptCountRow).where(tuple_(*key).in_(found)))
    return len(found)


async def forget_checks(session: AsyncSession, before: float, limit: int) -> int:
    """Delete the oldest ones; how many."""
    oldest = select(CheckRow.id).where(CheckRow.at < before).order_by(CheckRow.at).limit(limit)
    ids = list(await session.scalars(oldest))
    if ids:
        await session.execute(delete(CheckRow).where(CheckRow.id.in_(ids)))
    return len(ids)
