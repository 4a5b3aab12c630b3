"""Members of organisations and projects, and invites to become one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.people import LinkRow, OrganizationRow, ProjectRow
from xrouter.control.kit.actor import actor
from xrouter.control.kit.schemas import Deleted, Page
from xrouter.control.people import access, invites, links, repository
from xrouter.control.people.links import Links
from xrouter.control.people.roles import Role, may_grant
from xrouter.control.people.schemas import (
    InviteIn,
    InviteOut,
    LinkOut,
    MemberOut,
    MemberPatch,
)
from xrouter.control.people.sessions import Sessions
from xrouter.control.people.sign_in import link_out
from xrouter.domain.errors import Conflict, Forbidden, NotFound
from xrouter.stores.vault import Vault

MAX_INVITES = 200
"""Of an organisation, that nobody has taken yet."""


class MemberService:
    """Every method is one transaction. Whose rights change must sign in again."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        sessions: Sessions,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._db = db
        self._sessions = sessions
        self._links = Links(vault, now)
        self._now = now

    async def page(self, slug: str, *, after: int | None, limit: int) -> Page[MemberOut]:
        """Members, behind the membership `after`. Raises NotFound, Forbidden."""
        async with self._db.read() as session:
            organization = await access.organization(session, slug, "members.read")
            found = await repository.members(session, organization.id, after=after, limit=limit + 1)
        following = str(found[limit - 1][0].id) if len(found) > limit else None
        return Page(data=[_out(row) for row in found[:limit]], next=following)

    async def change(self, slug: str, user_id: str, patch: MemberPatch) -> MemberOut:
        """Give another role. Raises NotFound, Forbidden, Conflict for the last owner."""
        async with self._db.write() as session:
            organization = await access.organization(session, slug, "members.change", lock=True)
            found = await repository.member(session, organization.id, user_id, patch.project)
            member = found[0]
            await _require_grant(session, organization, member.role, patch.role)
            if patch.role != Role.owner:
                await _keep_owner(session, organization, found)
            before, member.role = member.role, patch.role
            if before != patch.role:
                await self._sessions.end(session, member.user_id)
                await audit.record(
                    session,
                    action="member.change",
                    object=f"user:{user_id}",
                    organization=slug,
                    detail={"project": patch.project, "before": before, "after": patch.role},
                )
                if patch.project is None:
                    await invites.withdraw(
                        session, user_id, self._now(), organization=organization, role=patch.role
                    )
        return _out(found)

    async def remove(self, slug: str, user_id: str, project: str | None) -> Deleted:
        """End a membership; people may end their own. Raises NotFound, Forbidden, Conflict."""
        own = actor.get().name == f"user:{user_id}"
        right = "organization.read" if own else "members.change"
        async with self._db.write() as session:
            organization = await access.organization(session, slug, right, lock=True)
            found = await repository.member(session, organization.id, user_id, project)
            if not own:
                await _require_grant(session, organization, found[0].role)
            await _keep_owner(session, organization, found)
            await session.delete(found[0])
            await self._sessions.end(session, found[0].user_id)
            await audit.record(
                session,
                action="member.remove",
                object=f"user:{user_id}",
                organization=slug,
                detail={"project": project, "role": found[0].role},
            )
            if project is None:
                await invites.withdraw(session, user_id, self._now(), organization=organization)
        return Deleted(id=user_id)

    async def invite(self, slug: str, given: InviteIn) -> LinkOut:
        """A link for one person; an earlier one for the same part works no more.

        Raises NotFound, Forbidden, Conflict, InvalidRequest.
        """
        async with self._db.write() as session:
            organization = await access.organization(session, slug, "members.change", lock=True)
            await _require_grant(session, organization, given.role)
            project = await _project(session, organization, given.project)
            known = await repository.user_by_email(session, given.email)
            if known is not None and await repository.part(
                session, known.id, organization.id, project.id if project else None
            ):
                raise Conflict(
                    f"'{given.email}' is a member already.", param="email", code="already_a_member"
                )
            if len((await session.execute(self._open(organization))).all()) >= MAX_INVITES:
                raise Conflict(
                    f"There are {MAX_INVITES} invites that nobody has taken.",
                    code="too_many_invites",
                )
            secret, row = await self._links.make(
                session,
                links.INVITE,
                email=given.email,
                organization_id=organization.id,
                project_id=project.id if project else None,
                role=given.role,
            )
            await audit.record(
                session,
                action=invites.MADE,
                object=f"invite:{row.id}",
                organization=slug,
                detail=given.model_dump(),
            )
        return link_out(secret, row)

    async def invites(self, slug: str) -> Page[InviteOut]:
        """Those that nobody has taken yet. Raises NotFound, Forbidden."""
        async with self._db.read() as session:
            organization = await access.organization(session, slug, "members.read")
            found = (await session.execute(self._open(organization))).all()
        return Page(data=[_invite(link, project) for link, project in found])

    async def withdraw(self, slug: str, invite_id: int) -> Deleted:
        """Let a link work no more. Raises NotFound, Forbidden."""
        async with self._db.write() as session:
            organization = await access.organization(session, slug, "members.change", lock=True)
            query = self._open(organization).where(LinkRow.id == invite_id)
            found = (await session.execute(query)).one_or_none()
            if found is None:
                raise NotFound(f"There is no invite {invite_id}.", param="invite_id")
            await _require_grant(session, organization, found[0].role or Role.viewer)
            await session.delete(found[0])
            await audit.record(
                session,
                action="invite.withdraw",
                object=f"invite:{invite_id}",
                organization=slug,
                detail={"email": found[0].email},
            )
        return Deleted(id=str(invite_id))

    def _open(self, organization: OrganizationRow) -> Select[LinkRow, str]:
        return (
            select(LinkRow, ProjectRow.slug)
            .outerjoin(ProjectRow, ProjectRow.id == LinkRow.project_id)
            .where(LinkRow.organization_id == organization.id, LinkRow.purpose == links.INVITE)
            .where(LinkRow.used_at.is_(None), LinkRow.expires_at > self._now())
            .order_by(LinkRow.id)
        )


async def _require_grant(session: AsyncSession, organization: OrganizationRow, *given: str) -> None:
    """Nobody gives or takes what is above the own role. Raises Forbidden."""
    if actor.get().is_operator:
        return
    own = await access.held(session, organization.id)
    for role in given:
        if not any(may_grant(each, role) for each in own):
            raise Forbidden(f"Your role does not allow to give or take '{role}'.", param="role")


async def _keep_owner(
    session: AsyncSession, organization: OrganizationRow, found: repository.Member
) -> None:
    """Raises Conflict when the membership is the last owner's."""
    member = found[0]
    if member.role != Role.owner or member.project_id is not None:
        return
    if not await repository.other_owners(session, organization.id, member.user_id):
        raise Conflict(
            "An organization keeps at least one owner.",
            code="last_owner",
            hint="Make somebody else an owner first.",
        )


async def _project(
    session: AsyncSession, organization: OrganizationRow, slug: str | None
) -> ProjectRow | None:
    """One of the organisation's own. Raises InvalidRequest."""
    if slug is None:
        return None
    query = select(ProjectRow).where(
        ProjectRow.slug == slug, ProjectRow.organization_id == organization.id
    )
    found: ProjectRow | None = await session.scalar(query)
    if found is None:
        raise access.no_project(slug)
    return found


def _out(row: repository.Member) -> MemberOut:
    member, user, project = row
    return MemberOut(
        user_id=user.user_id,
        email=user.email,
        name=user.name,
        is_active=user.is_active,
        project=project,
        role=Role(member.role),
        created_at=member.created_at,
    )


def _invite(link: LinkRow, project: str | None) -> InviteOut:
    return InviteOut(
        id=link.id,
        email=link.email or "",
        role=Role(link.role or Role.viewer),
        project=project,
        created_at=link.created_at,
        expires_at=link.expires_at,
    )
