"""Queries of the keys."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.identity import KeyRow
from xrouter.domain.errors import NotFound


async def keys(session: AsyncSession, *, after: str | None, limit: int) -> Sequence[KeyRow]:
    """Keys, the newest first; those older than `after`."""
    query = select(KeyRow).order_by(KeyRow.key_id.desc()).limit(limit)
    if after is not None:
        query = query.where(KeyRow.key_id < after)
    return (await session.scalars(query)).all()


async def key(session: AsyncSession, key_id: str) -> KeyRow:
    """One key. Raises NotFound."""
    found = await session.scalar(select(KeyRow).where(KeyRow.key_id == key_id))
    if found is None:
        raise NotFound(
            f"There is no key '{key_id}'.",
            param="key_id",
            code="key_not_found",
            hint="GET /control/v1/keys lists them; the id begins with 'key_'.",
        )
    return found


async def count(session: AsyncSession) -> int:
    """How many keys are not revoked."""
    query = select(func.count()).select_from(KeyRow).where(KeyRow.revoked_at.is_(None))
    return (await session.scalars(query)).one()
