"""Sessions of signed-in browsers: rows that are found by the MAC of a cookie's secret.

For other rooms: `Sessions.of(request.headers.raw)` says who is signed in, and `SignedIn.admits`
checks the CSRF token of a form. A session ends IDLE after it was last seen, and LONGEST after it
began.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.people import SessionRow, UserRow
from xrouter.control.kit.actor import SignedIn, actor
from xrouter.control.people import cookies
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
MAX_OF_USER = 20
"""Sessions a user may have; the oldest end first."""
_TOUCH = timedelta(minutes=1)
_BYTES = 32
_SHOWN_AGENT = 200


class Sessions:
    """now: the time in UTC, for tests."""

    def __init__(self, db: Database, vault: Vault, now: Callable[[], datetime] = utc_now) -> None:
        self._db = db
        self._vault = vault
        self._now = now

    async def of(self, headers: cookies.Headers, *, touch: bool = True) -> SignedIn | None:
        """Who is signed in, by the cookie of a request; being asked keeps the session awake.

        headers: as ASGI has them; of a Starlette request: `request.headers.raw`. touch: whether
        to keep it awake. None without a session, for one that has ended, and for a user who is
        disabled. Raises DatabaseError.
        """
        secret = cookies.read(headers)
        if secret is None:
            return None
        now = self._now()
        query = (
            select(SessionRow, UserRow)
            .join(UserRow, UserRow.id == SessionRow.user_id)
            .where(SessionRow.mac == self._mac(secret), SessionRow.expires_at > now)
            .where(SessionRow.seen_at > now - IDLE, UserRow.is_active)
        )
        async with self._db.read() as session:
            found = (await session.execute(query)).one_or_none()
        if found is None:
            return None
        row, user = found
        if touch and now - row.seen_at >= _TOUCH:
            await self._touch(row.id, now)
        return SignedIn(
            row_id=user.id,
            user_id=user.user_id,
            email=user.email,
            name=user.name,
            language=user.language,
            is_operator=user.is_operator,
            session_id=row.id,
            csrf=self.csrf(secret),
        )

    async def begin(self, session: AsyncSession, user: UserRow) -> Secret:
        """A new session for the user, in the caller's transaction; the secret is for the cookie.

        Call it after the user has proved who it is, and `leave` what the browser brought.
        """
        now = self._now()
        secret = Secret(secrets.token_urlsafe(_BYTES))
        who = actor.get()
        await self._sweep(session, user, now)
        session.add(
            SessionRow(
                mac=self._mac(secret),
                csrf=self._vault.mac(self.csrf(secret).reveal()),
                user_id=user.id,
                created_at=now,
                seen_at=now,
                expires_at=now + LONGEST,
                ip=who.ip,
                agent=who.agent[:_SHOWN_AGENT] if who.agent else None,
            )
        )
        return secret

    async def leave(self, session: AsyncSession, headers: cookies.Headers) -> None:
        """End the session that a request's cookie belongs to, where there is one."""
        secret = cookies.read(headers)
        if secret is not None:
            await session.execute(delete(SessionRow).where(SessionRow.mac == self._mac(secret)))

    async def end_one(self, session: AsyncSession, session_id: int) -> None:
        """End one session."""
        await session.execute(delete(SessionRow).where(SessionRow.id == session_id))

    async def end(self, session: AsyncSession, user_row_id: int) -> None:
        """End all sessions of a user: signed out everywhere, or with other rights than before."""
        await session.execute(delete(SessionRow).where(SessionRow.user_id == user_row_id))

    def csrf(self, secret: Secret) -> Secret:
        """The CSRF token of a session: made of its secret, so that it need not be kept."""
        made = self._vault.mac("csrf:" + secret.reveal())
        return Secret(base64.urlsafe_b64encode(made).decode().rstrip("="))

    async def _sweep(self, session: AsyncSession, user: UserRow, now: datetime) -> None:
        """Drop what has ended, and the oldest of a user who has too many."""
        ended = or_(SessionRow.expires_at <= now, SessionRow.seen_at <= now - IDLE)
        await session.execute(delete(SessionRow).where(ended))
        query = select(SessionRow.id).where(SessionRow.user_id == user.id)
        query = query.order_by(SessionRow.id.desc()).offset(MAX_OF_USER - 1)
        surplus = (await session.scalars(query)).all()
        if surplus:
            await session.execute(delete(SessionRow).where(SessionRow.id.in_(surplus)))

    async def _touch(self, session_id: int, now: datetime) -> None:
        query = update(SessionRow).where(SessionRow.id == session_id).values(seen_at=now)
        async with self._db.write() as session:
            await session.execute(query)

    def _mac(self, secret: Secret) -> bytes:
        return self._vault.mac("session:" + secret.reveal())
