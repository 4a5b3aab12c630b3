"""Who may see and change which limits: each level is bounded by the one above it.

A key's limits are its project's admins'; a project's are its organisation's admins'; all others are
the operators'. What one has no part in is not there.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.billing import LimitRow
from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.db.tables.people import MembershipRow, OrganizationRow
from xrouter.control.identity import repository as identity
from xrouter.control.kit.actor import actor
from xrouter.control.limits import repository
from xrouter.control.people import access, roles
from xrouter.domain.errors import Forbidden, NotFound
from xrouter.domain.limits import ALL

READ = "limits.read"
CHANGE = "limits.change"
_CALENDAR = ("day", "month")


async def require(session: AsyncSession, subject: str, action: str) -> None:
    """Raises NotFound for a key or a project in which one has no part, Forbidden."""
    if actor.get().is_operator:
        return
    kind, _, name = subject.partition(":")
    if name == ALL or kind not in ("key", "project", "organization"):
        raise _operators()
    if kind == "key":
        row = await identity.key(session, name)
        try:
            await access.project(session, row.project, action)
        except NotFound:
            raise identity.unknown(name) from None
    elif kind == "project":
        await access.project(session, name, READ)
        owner = await identity.organization(session, name)
        if action == CHANGE and owner is not None:
            await access.organization(session, owner, CHANGE)
    else:
        await access.organization(session, name, READ)
        if action == CHANGE:
            raise _operators()


async def limit(
    session: AsyncSession, limit_id: int, action: str, *, lock: bool = False
) -> LimitRow:
    """One limit. Raises NotFound, also for one that one may not see; Forbidden."""
    row = await repository.limit(session, limit_id, lock=lock)
    try:
        await require(session, row.subject, READ)
    except (NotFound, Forbidden):
        raise repository.unknown(limit_id) from None
    if action != READ:
        await require(session, row.subject, action)
    return row


async def visible(session: AsyncSession) -> ColumnElement[bool] | None:
    """Which limits one may see; None for all."""
    slugs = await access.slugs(session, READ)
    if slugs is None:
        return None
    keys = select(literal("key:") + KeyRow.key_id).where(KeyRow.project.in_(slugs))
    whole = [f"organization:{slug}" for slug in await _organizations(session)]
    named = [f"project:{slug}" for slug in slugs] + whole
    return or_(LimitRow.subject.in_(named), LimitRow.subject.in_(keys))


async def bound(session: AsyncSession, row: LimitRow) -> None:
    """Nobody but operators may give a subject more than each of its kind has, or other days.

    Whose days begin at another hour whenever that is changed has more of them. Raises Forbidden.
    """
    if actor.get().is_operator:
        return
    every = await repository.every(session, row)
    if every is not None and row.amount > every.amount:
        raise Forbidden(
            "This is more than the operators allow each of this kind.",
            param="amount",
            hint="A smaller 'amount' may be set.",
        )
    if every is not None and row.window in _CALENDAR and row.time_zone != every.time_zone:
        raise Forbidden(
            f"The operators count this in the time zone '{every.time_zone}'.", param="time_zone"
        )


async def organization(session: AsyncSession, subject: str) -> str | None:
    """The slug of the organisation whose limit it is; None for the operators' own."""
    kind, _, name = subject.partition(":")
    if name == ALL:
        return None
    if kind == "organization":
        return name
    project: str | None = name if kind == "project" else None
    if kind == "key":
        project = await session.scalar(select(KeyRow.project).where(KeyRow.key_id == name))
    return None if project is None else await identity.organization(session, project)


async def _organizations(session: AsyncSession) -> list[str]:
    """Those of which who asks is a member with the right to see their limits."""
    user = actor.get().user
    if user is None:
        return []
    query = (
        select(OrganizationRow.slug, MembershipRow.role)
        .join(MembershipRow, MembershipRow.organization_id == OrganizationRow.id)
        .where(
            MembershipRow.user_id == user.row_id,
            MembershipRow.project_id.is_(None),
            OrganizationRow.is_active,
        )
    )
    return [slug for slug, role in await session.execute(query) if roles.may(role, READ)]


def _operators() -> Forbidden:
    return Forbidden(
        "This limit is the operators'.",
        hint="Limits of keys are their project's, limits of projects their organisation's.",
    )
