"""Who may come in with an identity that a provider has vouched for, and as whom.

An identity is found by issuer and subject. An e-mail address finds a user only where the provider
vouches for it and the operator has allowed that; else an invite decides, or the domains that the
operator has named, or nobody comes in.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.db.tables.people import (
    IdentityRow,
    LinkRow,
    MembershipRow,
    OrganizationRow,
    ProjectRow,
    UserRow,
)
from xrouter.control.kit.actor import SignedIn
from xrouter.control.people import links, repository
from xrouter.control.people.links import Links
from xrouter.control.people.oidc.config import Joining, ProviderConfig
from xrouter.control.people.oidc.provider import Identity
from xrouter.control.people.oidc.words import SignInProblem
from xrouter.control.people.sessions import Sessions
from xrouter.control.people.sign_in import SignInService, new_user
from xrouter.domain.errors import Conflict, InvalidRequest
from xrouter.domain.secret import Secret

MAX_IDENTITIES = 20
"""Of a user."""


class Arrivals:
    """Each method is a part of the caller's transaction. Raises SignInProblem."""

    def __init__(
        self,
        link_book: Links,
        sign_in: SignInService,
        sessions: Sessions,
        now: Callable[[], datetime],
    ) -> None:
        self._links = link_book
        self._sign_in = sign_in
        self._sessions = sessions
        self._now = now

    async def known(self, session: AsyncSession, identity: Identity) -> UserRow | None:
        """The user with this identity, locked; a user who is switched off is refused."""
        query = (
            select(UserRow)
            .join(IdentityRow, IdentityRow.user_id == UserRow.id)
            .where(IdentityRow.issuer == identity.issuer, IdentityRow.subject == identity.subject)
            .with_for_update(of=UserRow)
        )
        found: UserRow | None = await session.scalar(query)
        return None if found is None else _able(found)

    async def arrive(
        self, session: AsyncSession, config: ProviderConfig, identity: Identity, language: str
    ) -> UserRow:
        """Without an invite: the user of the identity, by its address, or a new one."""
        user = await self.known(session, identity)
        if user is not None:
            return user
        if identity.email is None or not identity.is_verified:
            raise SignInProblem("unknown")
        found = await repository.user_by_email(session, identity.email, lock=True)
        if found is not None:
            if not config.link_by_email:
                raise SignInProblem("taken")
            return await self._link_by_email(session, config, identity, found)
        joining = config.domains.get(identity.email.rpartition("@")[2])
        if joining is None:
            raise SignInProblem("unknown")
        return await self._join(session, config, identity, joining, language)

    async def invited(
        self,
        session: AsyncSession,
        config: ProviderConfig,
        identity: Identity,
        secret: str,
        language: str,
    ) -> UserRow:
        """By an invite, which is used up. It is for one address: the user's, or the identity's."""
        try:
            invite: LinkRow = await self._links.use(session, links.INVITE, Secret(secret))
        except InvalidRequest:
            raise SignInProblem("link") from None
        email = invite.email or ""
        user = await self.known(session, identity)
        if user is None:
            user = await self._invitee(session, config, identity, email, language)
        if user.email != email:
            raise SignInProblem("other")
        try:
            await self._sign_in.join(session, user, invite)
        except Conflict:
            raise SignInProblem("member") from None
        except InvalidRequest:
            raise SignInProblem("link") from None
        return user

    async def link(
        self,
        session: AsyncSession,
        user: UserRow,
        identity: Identity,
        provider: str,
        how: str,
    ) -> None:
        """From now on the identity is the user's, which is locked."""
        count = select(func.count()).select_from(IdentityRow).where(IdentityRow.user_id == user.id)
        if (await session.scalars(count)).one() >= MAX_IDENTITIES:
            raise SignInProblem("many")
        row = IdentityRow(
            user_id=user.id,
            issuer=identity.issuer,
            subject=identity.subject,
            created_at=self._now(),
        )
        session.add(row)
        await session.flush()
        await audit.record(
            session,
            action="identity.link",
            object=f"user:{user.user_id}",
            detail={"provider": provider, "subject": identity.subject, "by": how},
            by=f"user:{user.user_id}",
        )

    async def link_own(
        self, session: AsyncSession, person: SignedIn, identity: Identity, provider: str
    ) -> None:
        """To the account of who is signed in."""
        owner = await self.known(session, identity)
        if owner is None:
            user = _able(await repository.user(session, person.user_id, lock=True))
            await self.link(session, user, identity, provider, "session")
        elif owner.id != person.row_id:
            raise SignInProblem("elsewhere")

    async def _link_by_email(
        self, session: AsyncSession, config: ProviderConfig, identity: Identity, found: UserRow
    ) -> UserRow:
        """From now on the user is who has the address. Whoever was before may be somebody else, who
        took an invite for it: the password, other identities and sessions end.
        """
        user = _able(found)
        name = f"user:{user.user_id}"
        user.password = None
        await session.execute(delete(IdentityRow).where(IdentityRow.user_id == user.id))
        await self._sessions.end(session, user.id)
        detail = {"provider": config.name}
        await audit.record(session, action="user.claim", object=name, detail=detail, by=name)
        await self.link(session, user, identity, config.name, "email")
        return user

    async def _invitee(
        self,
        session: AsyncSession,
        config: ProviderConfig,
        identity: Identity,
        email: str,
        language: str,
    ) -> UserRow:
        """Whom an invite is for, when nobody has the identity yet."""
        if identity.email is not None and identity.email != email:
            raise SignInProblem("other")
        found = await repository.user_by_email(session, email, lock=True)
        if found is not None:
            if not (identity.email and identity.is_verified and config.link_by_email):
                raise SignInProblem("taken")
            return await self._link_by_email(session, config, identity, found)
        return await self._make(session, config, identity, email, language)

    async def _join(
        self,
        session: AsyncSession,
        config: ProviderConfig,
        identity: Identity,
        joining: Joining,
        language: str,
    ) -> UserRow:
        """A new user, by the domain of the address."""
        organization, project = await _place(session, joining)
        user = await self._make(session, config, identity, identity.email or "", language)
        session.add(
            MembershipRow(
                user_id=user.id,
                organization_id=organization.id,
                project_id=None if project is None else project.id,
                role=joining.role,
                created_at=self._now(),
            )
        )
        await audit.record(
            session,
            action="member.join",
            object=f"user:{user.user_id}",
            organization=organization.slug,
            detail={"role": joining.role, "project": joining.project, "provider": config.name},
            by=f"user:{user.user_id}",
        )
        return user

    async def _make(
        self,
        session: AsyncSession,
        config: ProviderConfig,
        identity: Identity,
        email: str,
        language: str,
    ) -> UserRow:
        user = new_user(email, identity.name or email.partition("@")[0], language, None)
        session.add(user)
        await session.flush()
        name = f"user:{user.user_id}"
        detail = {"email": email, "provider": config.name}
        await audit.record(session, action="user.create", object=name, detail=detail, by=name)
        await self.link(session, user, identity, config.name, "first")
        return user


def _able(user: UserRow) -> UserRow:
    if not user.is_active:
        raise SignInProblem("disabled", f"user:{user.user_id}")
    return user


async def _place(
    session: AsyncSession, joining: Joining
) -> tuple[OrganizationRow, ProjectRow | None]:
    """Where new users go. Raises SignInProblem when it is not there any more."""
    query = select(OrganizationRow).where(OrganizationRow.slug == joining.organization)
    organization = await session.scalar(query.with_for_update())
    if organization is None or not organization.is_active:
        raise SignInProblem("unknown", f"no organisation '{joining.organization}' to join")
    if joining.project is None:
        return organization, None
    project = await session.scalar(select(ProjectRow).where(ProjectRow.slug == joining.project))
    if project is None or project.organization_id != organization.id:
        raise SignInProblem("unknown", f"no project '{joining.project}' to join")
    return organization, project
