"""Coming in, and going out: the first set-up, passwords, invites, sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.people import LinkRow, MembershipRow, OrganizationRow, UserRow
from xrouter.control.kit.actor import actor
from xrouter.control.people import cookies, links, repository
from xrouter.control.people.links import Links
from xrouter.control.people.passwords import Passwords, require_good
from xrouter.control.people.roles import Role
from xrouter.control.people.schemas import (
    Accept,
    LinkOut,
    MembershipOut,
    MeOut,
    MePatch,
    NewPassword,
    Reset,
    SetUp,
    SignIn,
    UserOut,
)
from xrouter.control.people.sessions import Sessions
from xrouter.control.people.throttle import Throttle
from xrouter.domain.errors import Conflict, InvalidRequest, Unauthenticated
from xrouter.domain.secret import Secret
from xrouter.domain.usage import new_id
from xrouter.stores.vault import Vault

FIRST_ORGANIZATION = "default"
PAGES = {
    links.SETUP: "/control/setup",
    links.INVITE: "/control/accept",
    links.RESET: "/control/reset",
}
"""Behind each, the secret as the fragment: it reaches no server's log."""


class Welcomed(Struct, frozen=True):
    """Who came in, and the secret for the cookie."""

    secret: Secret
    me: MeOut


class SignInService:
    """now: the time in UTC, for tests. throttle: for all who ask for passwords."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        sessions: Sessions,
        *,
        passwords: Passwords | None = None,
        throttle: Throttle | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._db = db
        self._sessions = sessions
        self._links = Links(vault, now)
        self._passwords = passwords or Passwords()
        self._throttle = Throttle() if throttle is None else throttle
        self._now = now

    async def setup_link(self) -> LinkOut:
        """The link that makes the first operator; the one before works no more. Raises Conflict."""
        async with self._db.write() as session:
            await _require_nobody(session)
            secret, row = await self._links.make(session, links.SETUP)
            await audit.record(session, action="setup.link", object="link:setup")
        return link_out(secret, row)

    async def set_up(self, given: SetUp) -> Welcomed:
        """Make the first operator, owner of the first organisation, signed in.

        Raises InvalidRequest, and Conflict when there are users already.
        """
        link = Secret(given.secret.get_secret_value())
        await self._look_up(links.SETUP, link)
        password = given.password.get_secret_value()
        require_good(password, given.email)
        kept = await self._passwords.hash(password)
        async with self._db.write() as session:
            await self._links.use(session, links.SETUP, link)
            await _require_nobody(session)
            user = new_user(given.email, given.name, given.language, kept)
            user.is_operator = True
            session.add(user)
            await session.flush()
            await self._own_first(session, user)
            return await self._welcome(session, user, "setup.done")

    async def sign_in(self, given: SignIn, headers: cookies.Headers) -> Welcomed:
        """By e-mail and password. What session the browser brought ends.

        Raises Unauthenticated, the same for whatever is wrong, and RateLimited.
        """
        who = actor.get()
        await self._throttle.enter(given.email, who.ip)
        async with self._db.read() as session:
            found = await repository.user_by_email(session, given.email)
        kept = found.password if found is not None and found.is_active else None
        password = given.password.get_secret_value()
        if not await self._passwords.check(kept, password):
            await self._failed(found)
            raise _wrong()
        fresh = kept
        if kept is not None and self._passwords.is_stale(kept):
            fresh = await self._passwords.hash(password)
        async with self._db.write() as session:
            user = await repository.user_by_email(session, given.email, lock=True)
            if user is None or not user.is_active or user.password != kept:
                raise _wrong()
            user.password = fresh
            await self._sessions.leave(session, headers)
            welcomed = await self._welcome(session, user, "session.begin")
        await self._throttle.passed(given.email, who.ip)
        return welcomed

    async def sign_out(self) -> None:
        """End this session."""
        person = actor.get().person()
        async with self._db.write() as session:
            await self._sessions.end_one(session, person.session_id)
            await audit.record(session, action="session.end", object=f"user:{person.user_id}")

    async def sign_out_everywhere(self) -> None:
        """End all sessions of who asks."""
        person = actor.get().person()
        async with self._db.write() as session:
            await self._sessions.end(session, person.row_id)
            await audit.record(session, action="session.end_all", object=f"user:{person.user_id}")

    async def me(self) -> MeOut:
        """Who asks."""
        person = actor.get().person()
        async with self._db.read() as session:
            user = await repository.user(session, person.user_id)
            return await _me(session, user, person.csrf)

    async def change_me(self, patch: MePatch) -> MeOut:
        """Change the name or the language of who asks."""
        person = actor.get().person()
        async with self._db.write() as session:
            user = await repository.user(session, person.user_id, lock=True)
            new = patch.sent()
            before = {name: getattr(user, name) for name in new}
            for name, value in new.items():
                setattr(user, name, value)
            if before != new:
                await audit.record(
                    session,
                    action="user.change",
                    object=f"user:{user.user_id}",
                    detail={"before": before, "after": new},
                )
            return await _me(session, user, person.csrf)

    async def change_password(self, given: NewPassword) -> Welcomed:
        """All sessions of who asks end, and one begins. Raises InvalidRequest, RateLimited."""
        person = actor.get().person()
        await self._throttle.enter(person.email, actor.get().ip)
        async with self._db.read() as session:
            kept = (await repository.user(session, person.user_id)).password
        if not await self._passwords.check(kept, given.current.get_secret_value()):
            await self._refused("password.refuse", f"user:{person.user_id}")
            raise InvalidRequest(
                "The current password is wrong.", param="current", code="wrong_password"
            )
        await self._throttle.passed(person.email, actor.get().ip)
        fresh = await self._good_hash(given.password.get_secret_value(), person.email)
        async with self._db.write() as session:
            user = await repository.user(session, person.user_id, lock=True)
            user.password = fresh
            await self._sessions.end(session, user.id)
            return await self._welcome(session, user, "password.change")

    async def reset(self, given: Reset) -> None:
        """A new password by a link; all sessions end. Raises InvalidRequest."""
        link = Secret(given.secret.get_secret_value())
        email = await self._look_up(links.RESET, link)
        fresh = await self._good_hash(given.password.get_secret_value(), email)
        async with self._db.write() as session:
            await self._links.use(session, links.RESET, link)
            user = await repository.user_by_email(session, email, lock=True)
            if user is None or not user.is_active:
                raise _no_way_in()
            user.password = fresh
            await self._sessions.end(session, user.id)
            await audit.record(
                session,
                action="password.reset",
                object=f"user:{user.user_id}",
                by=f"user:{user.user_id}",
            )
        await self._throttle.forgive(email)

    async def accept(self, given: Accept, headers: cookies.Headers) -> Welcomed:
        """Become a member by an invite, signed in. A user there is already must know the password.

        Raises InvalidRequest, Unauthenticated, RateLimited, Conflict.
        """
        link = Secret(given.secret.get_secret_value())
        password = given.password.get_secret_value()
        email = await self._look_up(links.INVITE, link)
        async with self._db.read() as session:
            known = await repository.user_by_email(session, email)
        kept = await self._proved(known, password, email)
        async with self._db.write() as session:
            invite = await self._links.use(session, links.INVITE, link)
            user = await repository.user_by_email(session, email, lock=True)
            if known is None and user is None:
                user = new_user(email, given.name or email.partition("@")[0], given.language, kept)
                session.add(user)
                await session.flush()
            if user is None or not user.is_active or user.password != kept:
                raise _wrong()
            await self.join(session, user, invite)
            await self._sessions.leave(session, headers)
            await self._sessions.end(session, user.id)
            return await self._welcome(session, user, "session.begin")

    async def _look_up(self, purpose: str, link: Secret) -> str:
        """For whose address a link is, empty for anybody's. Raises InvalidRequest, RateLimited."""
        ip = actor.get().ip
        await self._throttle.enter(None, ip)
        async with self._db.read() as session:
            email = (await self._links.find(session, purpose, link)).email or ""
        await self._throttle.passed(None, ip)
        return email

    async def _proved(self, known: UserRow | None, password: str, email: str) -> str | None:
        """The hash that the user has, or is to have. Raises Unauthenticated."""
        if known is None:
            return await self._good_hash(password, email)
        who = actor.get()
        await self._throttle.enter(email, who.ip)
        kept = known.password if known.is_active else None
        if not await self._passwords.check(kept, password):
            await self._failed(known)
            raise _wrong()
        await self._throttle.passed(email, who.ip)
        return kept

    async def join(self, session: AsyncSession, user: UserRow, invite: LinkRow) -> None:
        """What the invite promises, in the caller's transaction.

        Raises Conflict when the user is there already, InvalidRequest for what is switched off.
        """
        query = select(OrganizationRow).where(OrganizationRow.id == invite.organization_id)
        organization = (await session.scalars(query.with_for_update())).one()
        part = await repository.part(session, user.id, organization.id, invite.project_id)
        if part is not None:
            raise Conflict("You are a member already.", code="already_a_member")
        if not organization.is_active:
            raise _no_way_in()
        member = MembershipRow(
            user_id=user.id,
            organization_id=organization.id,
            project_id=invite.project_id,
            role=invite.role or Role.viewer,
            created_at=self._now(),
        )
        session.add(member)
        await audit.record(
            session,
            action="member.join",
            object=f"user:{user.user_id}",
            organization=organization.slug,
            detail={"role": member.role, "project_id": member.project_id},
            by=f"user:{user.user_id}",
        )

    async def _own_first(self, session: AsyncSession, user: UserRow) -> None:
        query = select(OrganizationRow).where(OrganizationRow.slug == FIRST_ORGANIZATION)
        organization = await session.scalar(query)
        if organization is None:
            organization = OrganizationRow(slug=FIRST_ORGANIZATION, name="Default")
            session.add(organization)
            await session.flush()
        member = MembershipRow(
            user_id=user.id,
            organization_id=organization.id,
            role=Role.owner,
            created_at=self._now(),
        )
        session.add(member)

    async def _welcome(self, session: AsyncSession, user: UserRow, action: str) -> Welcomed:
        """Begin a session, write it down."""
        user.last_sign_in_at = self._now()
        secret = await self._sessions.begin(session, user)
        name = f"user:{user.user_id}"
        await audit.record(session, action=action, object=name, by=name)
        return Welcomed(secret, await _me(session, user, self._sessions.csrf(secret)))

    async def _failed(self, found: UserRow | None) -> None:
        """What was given as the address of nobody is not kept: it may be a password."""
        name = "user:unknown" if found is None else f"user:{found.user_id}"
        await self._refused("session.refuse", name)

    async def _refused(self, action: str, name: str) -> None:
        async with self._db.write() as session:
            await audit.record(session, action=action, object=name)

    async def _good_hash(self, password: str, email: str) -> str:
        require_good(password, email)
        return await self._passwords.hash(password)


def link_out(secret: Secret, row: LinkRow) -> LinkOut:
    """A fresh link as it is shown once."""
    text = secret.reveal()
    return LinkOut(
        purpose=row.purpose,
        secret=text,
        page=f"{PAGES[row.purpose]}#{text}",
        email=row.email,
        expires_at=row.expires_at,
    )


async def _me(session: AsyncSession, user: UserRow, csrf: Secret) -> MeOut:
    found = await repository.memberships(session, user.id)
    parts = [
        MembershipOut(organization=slug, organization_name=name, project=project, role=Role(role))
        for slug, name, project, role in found
    ]
    return MeOut(user=UserOut.model_validate(user), memberships=parts, csrf=csrf.reveal())


def new_user(email: str, name: str, language: str, kept: str | None) -> UserRow:
    """A user that is no row yet. kept: the hash of the password."""
    return UserRow(
        user_id=new_id("user_"),
        email=email,
        name=name,
        language=language,
        password=kept,
        is_operator=False,
        is_active=True,
    )


async def _require_nobody(session: AsyncSession) -> None:
    if await repository.count_users(session):
        raise Conflict(
            "This router is set up already.",
            code="already_set_up",
            hint="An operator's password is made anew by `xrouter users reset`.",
        )


def _wrong() -> Unauthenticated:
    return Unauthenticated("The e-mail address or the password is wrong.", code="wrong_password")


def _no_way_in() -> InvalidRequest:
    return InvalidRequest("This link leads nowhere any more.", param="secret", code="link_not_good")
