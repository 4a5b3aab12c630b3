"""Queries of users, organisations, projects and members."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.people import (
    MembershipRow,
    OrganizationRow,
    ProjectRow,
    UserRow,
)
from xrouter.control.people.roles import Role
from xrouter.domain.errors import NotFound

Member = Row[MembershipRow, UserRow, str]
"""A membership, its user, the slug of the project or None."""


async def count_users(session: AsyncSession) -> int:
    """How many users there are, disabled ones too."""
    return (await session.scalars(select(func.count()).select_from(UserRow))).one()


async def user_by_email(session: AsyncSession, email: str, *, lock: bool = False) -> UserRow | None:
    """The user, also a disabled one."""
    query = select(UserRow).where(UserRow.email == email)
    found: UserRow | None = await session.scalar(query.with_for_update() if lock else query)
    return found


async def user(session: AsyncSession, user_id: str, *, lock: bool = False) -> UserRow:
    """The user, also a disabled one. Raises NotFound."""
    query = select(UserRow).where(UserRow.user_id == user_id)
    found: UserRow | None = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound(
            f"There is no user '{user_id}'.",
            param="user_id",
            code="user_not_found",
            hint="GET /control/v1/users lists them; the id begins with 'user_'.",
        )
    return found


async def users(session: AsyncSession, *, after: str | None, limit: int) -> Sequence[UserRow]:
    """Users by e-mail address, behind the address `after`."""
    query = select(UserRow).order_by(UserRow.email).limit(limit)
    if after is not None:
        query = query.where(UserRow.email > after)
    return (await session.scalars(query)).all()


async def operators(session: AsyncSession) -> list[int]:
    """The rows of operators who can sign in; others who change one of them wait."""
    query = select(UserRow.id).where(UserRow.is_operator, UserRow.is_active)
    return list(await session.scalars(query.order_by(UserRow.id).with_for_update()))


async def memberships(session: AsyncSession, user_row_id: int) -> Sequence[Row[str, str, str, str]]:
    """Of a user: slug and name of the organisation, slug of the project or None, role."""
    query = (
        select(OrganizationRow.slug, OrganizationRow.name, ProjectRow.slug, MembershipRow.role)
        .join(OrganizationRow, OrganizationRow.id == MembershipRow.organization_id)
        .outerjoin(ProjectRow, ProjectRow.id == MembershipRow.project_id)
        .where(MembershipRow.user_id == user_row_id, OrganizationRow.is_active)
        .order_by(OrganizationRow.slug, ProjectRow.slug)
    )
    return (await session.execute(query)).all()


def _members(organization_id: int) -> Select[MembershipRow, UserRow, str]:
    return (
        select(MembershipRow, UserRow, ProjectRow.slug)
        .join(UserRow, UserRow.id == MembershipRow.user_id)
        .outerjoin(ProjectRow, ProjectRow.id == MembershipRow.project_id)
        .where(MembershipRow.organization_id == organization_id)
    )


async def members(
    session: AsyncSession, organization_id: int, *, after: int | None, limit: int
) -> Sequence[Member]:
    """Memberships with their users and projects' slugs, in the order in which they were made."""
    query = _members(organization_id).order_by(MembershipRow.id).limit(limit)
    if after is not None:
        query = query.where(MembershipRow.id > after)
    return (await session.execute(query)).all()


async def member(
    session: AsyncSession, organization_id: int, user_id: str, project: str | None
) -> Member:
    """One membership, its user, the project's slug. Raises NotFound."""
    where = ProjectRow.slug == project if project else MembershipRow.project_id.is_(None)
    query = _members(organization_id).where(UserRow.user_id == user_id, where)
    found = (await session.execute(query)).one_or_none()
    if found is None:
        raise NotFound(f"There is no member '{user_id}'.", param="user_id", code="member_not_found")
    return found


async def part(
    session: AsyncSession, user_row_id: int, organization_id: int, project_id: int | None
) -> MembershipRow | None:
    """The user's membership in the organisation as a whole, or in one project."""
    where = MembershipRow.project_id
    query = select(MembershipRow).where(
        MembershipRow.user_id == user_row_id,
        MembershipRow.organization_id == organization_id,
        where.is_(None) if project_id is None else where == project_id,
    )
    found: MembershipRow | None = await session.scalar(query)
    return found


async def other_owners(session: AsyncSession, organization_id: int, but: int) -> int:
    """How many owners of the whole organisation can sign in, beside one user's row."""
    query = (
        select(func.count())
        .select_from(MembershipRow)
        .join(UserRow, UserRow.id == MembershipRow.user_id)
        .where(MembershipRow.organization_id == organization_id, UserRow.is_active)
        .where(MembershipRow.project_id.is_(None), MembershipRow.role == Role.owner)
        .where(MembershipRow.user_id != but)
    )
    return (await session.scalars(query)).one()
