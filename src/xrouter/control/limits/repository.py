"""Queries of limits."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.billing import LimitRow
from xrouter.domain.errors import NotFound


async def limits(
    session: AsyncSession, *, subject: str | None, after: int, limit: int
) -> Sequence[LimitRow]:
    """Limits by id, behind `after`; of one subject, or of all."""
    query = select(LimitRow).where(LimitRow.id > after).order_by(LimitRow.id).limit(limit)
    if subject is not None:
        query = query.where(LimitRow.subject == subject)
    return (await session.scalars(query)).all()


async def limit(session: AsyncSession, limit_id: int, *, lock: bool = False) -> LimitRow:
    """One limit. Raises NotFound. lock: others who change it wait for this transaction's end."""
    query = select(LimitRow).where(LimitRow.id == limit_id)
    found = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound(
            f"There is no limit {limit_id}.",
            param="limit",
            code="limit_not_found",
            hint="GET /control/v1/limits lists them.",
        )
    return found


async def twin(session: AsyncSession, row: LimitRow) -> int | None:
    """The id of a limit of the same subject, model, meter and window."""
    query = select(LimitRow.id).where(
        LimitRow.subject == row.subject,
        LimitRow.model.is_(None) if row.model is None else LimitRow.model == row.model,
        LimitRow.meter == row.meter,
        LimitRow.window == row.window,
    )
    return await session.scalar(query)
