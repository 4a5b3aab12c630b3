"""Queries of limits."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.billing import LimitRow
from xrouter.domain.errors import NotFound
from xrouter.domain.limits import ALL


async def limits(
    session: AsyncSession,
    *,
    subject: str | None,
    after: int,
    limit: int,
    among: ColumnElement[bool] | None = None,
) -> Sequence[LimitRow]:
    """Limits by id, behind `after`; of one subject, or of all. among: None for all."""
    query = select(LimitRow).where(LimitRow.id > after).order_by(LimitRow.id).limit(limit)
    if subject is not None:
        query = query.where(LimitRow.subject == subject)
    if among is not None:
        query = query.where(among)
    return (await session.scalars(query)).all()


async def limit(session: AsyncSession, limit_id: int, *, lock: bool = False) -> LimitRow:
    """One limit. Raises NotFound. lock: others who change it wait for this transaction's end."""
    query = select(LimitRow).where(LimitRow.id == limit_id)
    found = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise unknown(limit_id)
    return found


def unknown(limit_id: int) -> NotFound:
    """For one that is not there, and for one that one may not see."""
    return NotFound(
        f"There is no limit {limit_id}.",
        param="limit",
        code="limit_not_found",
        hint="GET /control/v1/limits lists them.",
    )


async def twin(session: AsyncSession, row: LimitRow) -> int | None:
    """The id of a limit of the same subject, model, meter and window."""
    query = select(LimitRow.id).where(
        LimitRow.subject == row.subject,
        LimitRow.model.is_(None) if row.model is None else LimitRow.model == row.model,
        LimitRow.meter == row.meter,
        LimitRow.window == row.window,
    )
    return await session.scalar(query)


async def every(session: AsyncSession, row: LimitRow) -> LimitRow | None:
    """The limit that each of the subject's kind has, of the same meter, window and model."""
    query = select(LimitRow).where(
        LimitRow.subject == f"{row.subject.partition(':')[0]}:{ALL}",
        LimitRow.model.is_(None) if row.model is None else LimitRow.model == row.model,
        LimitRow.meter == row.meter,
        LimitRow.window == row.window,
        LimitRow.is_enabled,
    )
    found: LimitRow | None = await session.scalar(query)
    return found
