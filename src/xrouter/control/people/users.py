"""Users as operators see them: made, listed, switched off, given links for new passwords."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.people import UserRow
from xrouter.control.kit.schemas import Page
from xrouter.control.people import invites, links, repository
from xrouter.control.people.links import Links
from xrouter.control.people.schemas import LinkOut, NewUserOut, UserIn, UserOut, UserPatch
from xrouter.control.people.sessions import Sessions
from xrouter.control.people.sign_in import link_out, new_user
from xrouter.domain.errors import Conflict
from xrouter.stores.vault import Vault


class UserService:
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

    async def page(self, *, after: str | None, limit: int) -> Page[UserOut]:
        """Users by e-mail address, behind the address `after`."""
        async with self._db.read() as session:
            found = await repository.users(session, after=after, limit=limit + 1)
        data = [UserOut.model_validate(row) for row in found[:limit]]
        return Page(data=data, next=data[-1].email if len(found) > limit else None)

    async def get(self, user_id: str) -> UserOut:
        """One. Raises NotFound."""
        async with self._db.read() as session:
            return UserOut.model_validate(await repository.user(session, user_id))

    async def create(self, given: UserIn) -> NewUserOut:
        """A user without a password, and the link to choose one. Raises Conflict."""
        async with self._db.write() as session:
            if await repository.user_by_email(session, given.email) is not None:
                raise Conflict(f"There is a user '{given.email}' already.", param="email")
            user = new_user(given.email, given.name, given.language, None)
            user.is_operator = given.is_operator
            session.add(user)
            await session.flush()
            secret, link = await self._links.make(session, links.RESET, email=user.email)
            await audit.record(
                session,
                action="user.create",
                object=f"user:{user.user_id}",
                detail={"email": user.email, "is_operator": user.is_operator},
            )
        return NewUserOut(user=UserOut.model_validate(user), link=link_out(secret, link))

    async def change(self, user_id: str, patch: UserPatch) -> UserOut:
        """Change a user; one who is switched off is out at once.

        Raises NotFound, and Conflict for the last operator.
        """
        new = patch.sent()
        async with self._db.write() as session:
            if new.get("is_active") is False or new.get("is_operator") is False:
                await _keep_operator(session, user_id)
            user = await repository.user(session, user_id, lock=True)
            before = {name: getattr(user, name) for name in new}
            for name, value in new.items():
                setattr(user, name, value)
            if before.keys() - {"name"} and before != new:
                await self._sessions.end(session, user.id)
            await audit.record(
                session,
                action="user.change",
                object=f"user:{user_id}",
                detail={"before": before, "after": new},
            )
            if new.get("is_active") is False or new.get("is_operator") is False:
                await invites.withdraw(session, user_id, self._now())
        return UserOut.model_validate(user)

    async def reset(self, user_id: str) -> LinkOut:
        """A link for a new password; the old one is good until then. Raises NotFound, Conflict."""
        async with self._db.write() as session:
            user = await repository.user(session, user_id)
            if not user.is_active:
                raise Conflict(f"The user '{user_id}' is switched off.", code="user_inactive")
            secret, link = await self._links.make(session, links.RESET, email=user.email)
            await audit.record(session, action="password.link", object=f"user:{user_id}")
        return link_out(secret, link)

    async def sign_out(self, user_id: str) -> UserOut:
        """End all sessions of a user. Raises NotFound."""
        async with self._db.write() as session:
            user = await repository.user(session, user_id)
            await self._sessions.end(session, user.id)
            await audit.record(session, action="session.end_all", object=f"user:{user_id}")
        return UserOut.model_validate(user)


async def _keep_operator(session: AsyncSession, user_id: str) -> None:
    """Raises NotFound, and Conflict when the user is the last operator who can sign in."""
    able = await repository.operators(session)
    user: UserRow = await repository.user(session, user_id)
    if able == [user.id]:
        raise Conflict(
            "A router keeps at least one operator.",
            code="last_operator",
            hint="Make somebody else an operator first.",
        )
