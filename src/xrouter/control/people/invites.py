"""Invites end with the right of who made them: nobody comes back by a link of one's own."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, cast, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.db.tables.people import AuditRow, LinkRow, OrganizationRow
from xrouter.control.people import links
from xrouter.control.people.roles import may_grant

MADE = "invite.create"
"""In the audit log, which alone knows who made an invite."""


async def withdraw(
    session: AsyncSession,
    user_id: str,
    now: datetime,
    *,
    organization: OrganizationRow | None = None,
    role: str | None = None,
) -> None:
    """Withdraw those of a user that nobody has taken, in one organisation or in all.

    role: that the user has from now on, None for none; what it may give stays.
    """
    query = (
        select(LinkRow, AuditRow.actor, AuditRow.organization)
        .join(AuditRow, AuditRow.object == literal("invite:") + cast(LinkRow.id, String))
        .where(AuditRow.action == MADE)
        .where(LinkRow.purpose == links.INVITE, LinkRow.used_at.is_(None))
        .where(LinkRow.expires_at > now)
        .order_by(AuditRow.id)
    )
    if organization is not None:
        query = query.where(LinkRow.organization_id == organization.id)
    found = {link.id: (link, by, slug) for link, by, slug in await session.execute(query)}
    for link, by, slug in found.values():  # of an id that came twice, the last one
        if by != f"user:{user_id}" or (role and link.role and may_grant(role, link.role)):
            continue
        await session.delete(link)
        await audit.record(
            session,
            action="invite.withdraw",
            object=f"invite:{link.id}",
            organization=slug,
            detail={"email": link.email},
        )
