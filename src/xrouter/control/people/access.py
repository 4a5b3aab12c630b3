"""Whether who asks may do something in an organisation or a project; for all rooms.

What one has no part in is not there: NotFound, as for what does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.people import MembershipRow, OrganizationRow, ProjectRow
from xrouter.control.kit.actor import actor
from xrouter.control.people import roles
from xrouter.domain.errors import Forbidden, NotFound


async def organization(
    session: AsyncSession, slug: str, action: str, *, lock: bool = False
) -> OrganizationRow:
    """The organisation, if who asks may do the action in it. Raises NotFound, Forbidden.

    lock: others who change it or its members wait until this transaction ends.
    """
    query = select(OrganizationRow).where(OrganizationRow.slug == slug)
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise no_organization(slug)
    if actor.get().is_operator:
        return row
    wide, narrow = await _held(session, row.id, None)
    seen = [*wide, *narrow] if action == "organization.read" else wide
    if not (wide or narrow) or not row.is_active:
        raise no_organization(slug)
    _require(seen, action)
    return row


async def project(
    session: AsyncSession, slug: str, action: str, *, lock: bool = False
) -> ProjectRow:
    """The project, if who asks may do the action in it. Raises NotFound, Forbidden.

    lock: others who change it wait until this transaction ends.
    """
    query = select(ProjectRow).where(ProjectRow.slug == slug)
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise no_project(slug)
    if actor.get().is_operator:
        return row
    owner = await session.get(OrganizationRow, row.organization_id)
    wide, narrow = await _held(session, row.organization_id, row.id)
    if not (wide or narrow) or owner is None or not owner.is_active:
        raise no_project(slug)
    _require([*wide, *narrow], action)
    return row


async def slugs(session: AsyncSession, action: str) -> list[str] | None:
    """The projects in which who asks may do the action; None for all of them."""
    who = actor.get()
    if who.is_operator:
        return None
    if who.user is None:
        return []
    query = (
        select(ProjectRow.slug, MembershipRow.role)
        .join(
            MembershipRow,
            (MembershipRow.organization_id == ProjectRow.organization_id)
            & or_(MembershipRow.project_id.is_(None), MembershipRow.project_id == ProjectRow.id),
        )
        .join(OrganizationRow, OrganizationRow.id == ProjectRow.organization_id)
        .where(MembershipRow.user_id == who.user.row_id, OrganizationRow.is_active)
    )
    found = (await session.execute(query)).all()
    return sorted({slug for slug, role in found if roles.may(role, action)})


async def held(session: AsyncSession, organization_id: int) -> list[str]:
    """The roles that who asks has in the whole organisation."""
    return (await _held(session, organization_id, None))[0]


def no_organization(slug: str) -> NotFound:
    """For one that is not there, and for one that is another's."""
    return NotFound(
        f"There is no organization '{slug}'.", param="organization", code="organization_not_found"
    )


def no_project(slug: str) -> NotFound:
    """For one that is not there, and for one that is another's."""
    return NotFound(
        f"There is no project '{slug}'.",
        param="project",
        code="project_not_found",
        hint="`xrouter projects list` and GET /control/v1/projects show those there are.",
    )


async def _held(
    session: AsyncSession, organization_id: int, project_id: int | None
) -> tuple[list[str], list[str]]:
    """Roles in the whole organisation, and in this project; None for any of its projects."""
    user = actor.get().user
    if user is None:
        return [], []
    query = select(MembershipRow.role, MembershipRow.project_id).where(
        MembershipRow.user_id == user.row_id, MembershipRow.organization_id == organization_id
    )
    rows = (await session.execute(query)).all()
    wide = [role for role, where in rows if where is None]
    narrow = [role for role, where in rows if where is not None]
    if project_id is not None:
        narrow = [role for role, where in rows if where == project_id]
    return wide, narrow


def _require(held_roles: Iterable[str], action: str) -> None:
    if not any(roles.may(role, action) for role in held_roles):
        raise Forbidden("Your role does not allow this.", hint=f"It takes the right '{action}'.")
