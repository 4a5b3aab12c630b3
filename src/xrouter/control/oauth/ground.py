"""What a grant stands on: an active client, user, project and organisation, and the user's part."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.oauth import ClientRow, GrantRow
from xrouter.control.db.tables.people import MembershipRow, OrganizationRow, ProjectRow, UserRow
from xrouter.control.people.roles import ACTIONS

RIGHT = "keys.change"
"""What a user must be allowed in a project to let an application act for it."""
PART = 500


def _is_member() -> ColumnElement[bool]:
    roles = sorted(role.value for role in ACTIONS[RIGHT])
    return exists().where(
        MembershipRow.user_id == GrantRow.user_id,
        MembershipRow.organization_id == ProjectRow.organization_id,
        or_(MembershipRow.project_id.is_(None), MembershipRow.project_id == ProjectRow.id),
        MembershipRow.role.in_(roles),
    )


def standing() -> Select[int]:
    """The rows of grants whose ground is there; whether they have ended is another matter."""
    of_user = and_(UserRow.is_active, or_(UserRow.is_operator, _is_member()))
    return (
        select(GrantRow.id)
        .join(ClientRow, ClientRow.id == GrantRow.client_id)
        .join(ProjectRow, ProjectRow.slug == GrantRow.project)
        .join(OrganizationRow, OrganizationRow.id == ProjectRow.organization_id)
        .outerjoin(UserRow, UserRow.id == GrantRow.user_id)
        .where(ClientRow.is_active, ProjectRow.is_active, OrganizationRow.is_active)
        .where(or_(GrantRow.user_id.is_(None), of_user))
    )


async def stands(session: AsyncSession, grant: GrantRow, now: datetime) -> bool:
    """Whether anything more may be made of the grant."""
    if grant.revoked_at is not None or grant.expires_at <= now:
        return False
    return await session.scalar(standing().where(GrantRow.id == grant.id)) is not None


async def is_open(session: AsyncSession, project: str) -> bool:
    """Whether the project and its organisation are switched on."""
    query = (
        select(ProjectRow.id)
        .join(OrganizationRow, OrganizationRow.id == ProjectRow.organization_id)
        .where(ProjectRow.slug == project, ProjectRow.is_active, OrganizationRow.is_active)
    )
    return await session.scalar(query) is not None


async def lost(session: AsyncSession, now: datetime) -> list[GrantRow]:
    """Grants that have lost their ground, at most PART of them."""
    query = (
        select(GrantRow)
        .where(GrantRow.revoked_at.is_(None), GrantRow.expires_at > now)
        .where(GrantRow.id.not_in(standing()))
        .limit(PART)
    )
    return list(await session.scalars(query))


async def revoke_lost(session: AsyncSession, now: datetime) -> list[GrantRow]:
    """Revoke them."""
    found = await lost(session, now)
    if found:
        await revoke(session, now, GrantRow.id.in_([grant.id for grant in found]))
    return found


async def revoke(session: AsyncSession, now: datetime, which: ColumnElement[bool]) -> int:
    """End grants with all tokens made of them; how many had not ended before."""
    query = update(GrantRow).where(which, GrantRow.revoked_at.is_(None)).values(revoked_at=now)
    done = await session.execute(query.execution_options(synchronize_session=False))
    return int(getattr(done, "rowcount", 0))
