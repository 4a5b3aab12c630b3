"""Queries of the keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.identity import KeyRow, KeyUseRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.domain.errors import NotFound


async def keys(
    session: AsyncSession,
    *,
    after: str | None,
    limit: int,
    project: str | None = None,
    among: Sequence[str] | None = None,
) -> Sequence[KeyRow]:
    """Keys, the newest first; those older than `after`. among: projects, None for all."""
    query = select(KeyRow).order_by(KeyRow.key_id.desc()).limit(limit)
    if after is not None:
        query = query.where(KeyRow.key_id < after)
    if project is not None:
        query = query.where(KeyRow.project == project)
    if among is not None:
        query = query.where(KeyRow.project.in_(among))
    return (await session.scalars(query)).all()


async def key(session: AsyncSession, key_id: str, *, lock: bool = False) -> KeyRow:
    """One key. Raises NotFound.

    lock: others who change the key wait until this transaction ends.
    """
    query = select(KeyRow).where(KeyRow.key_id == key_id)
    found: KeyRow | None = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise unknown(key_id)
    return found


def unknown(key_id: str) -> NotFound:
    """For one that is not there, and for one that is another's."""
    return NotFound(
        f"There is no key '{key_id}'.",
        param="key_id",
        code="key_not_found",
        hint="GET /control/v1/keys lists them; the id begins with 'key_'.",
    )


async def used(session: AsyncSession, key_ids: Sequence[str]) -> dict[str, float]:
    """When keys were used last, unix seconds; those that never were are left out."""
    query = select(KeyUseRow.key_id, KeyUseRow.at).where(KeyUseRow.key_id.in_(key_ids))
    return {row.key_id: row.at for row in await session.execute(query)}


async def revoke_all(session: AsyncSession, project: str, at: datetime) -> int:
    """Revoke the keys of a project; how many were not before."""
    query = (
        update(KeyRow)
        .where(KeyRow.project == project, KeyRow.revoked_at.is_(None))
        .values(revoked_at=at)
        .returning(KeyRow.id)
        .execution_options(synchronize_session=False)
    )
    return len((await session.scalars(query)).all())


async def organization(session: AsyncSession, project: str) -> str | None:
    """The slug of the organisation that a project is of."""
    query = (
        select(OrganizationRow.slug)
        .join(ProjectRow, ProjectRow.organization_id == OrganizationRow.id)
        .where(ProjectRow.slug == project)
    )
    found: str | None = await session.scalar(query)
    return found


async def count(session: AsyncSession) -> int:
    """How many keys are not revoked."""
    query = select(func.count()).select_from(KeyRow).where(KeyRow.revoked_at.is_(None))
    return (await session.scalars(query)).one()
