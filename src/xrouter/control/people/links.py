"""Links that work once: for the first set-up, for invites, for a new password."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.people import LinkRow
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault

SETUP = "setup"
INVITE = "invite"
RESET = "reset"
LIVES = {SETUP: timedelta(hours=24), INVITE: timedelta(days=7), RESET: timedelta(hours=24)}
_KEPT = timedelta(days=30)
_BYTES = 32


class Links:
    """Each method is a part of the caller's transaction. now: the time in UTC."""

    def __init__(self, vault: Vault, now: Callable[[], datetime] = utc_now) -> None:
        self._vault = vault
        self._now = now

    async def make(
        self,
        session: AsyncSession,
        purpose: str,
        *,
        email: str | None = None,
        organization_id: int | None = None,
        project_id: int | None = None,
        role: str | None = None,
    ) -> tuple[Secret, LinkRow]:
        """A new link, and its secret, which is kept nowhere. Earlier ones for the same end."""
        now = self._now()
        await session.execute(delete(LinkRow).where(LinkRow.expires_at <= now - _KEPT))
        same = delete(LinkRow).where(LinkRow.purpose == purpose, LinkRow.used_at.is_(None))
        for column, value in (
            (LinkRow.email, email),
            (LinkRow.organization_id, organization_id),
            (LinkRow.project_id, project_id),
        ):
            same = same.where(column.is_(None) if value is None else column == value)
        await session.execute(same)
        secret = Secret(secrets.token_urlsafe(_BYTES))
        row = LinkRow(
            mac=self._mac(secret),
            purpose=purpose,
            email=email,
            organization_id=organization_id,
            project_id=project_id,
            role=role,
            created_at=now,
            expires_at=now + LIVES[purpose],
        )
        session.add(row)
        await session.flush()
        return secret, row

    async def find(self, session: AsyncSession, purpose: str, secret: Secret) -> LinkRow:
        """The link of a secret, while it works. Raises InvalidRequest that names `secret`."""
        query = select(LinkRow).where(
            LinkRow.mac == self._mac(secret),
            LinkRow.purpose == purpose,
            LinkRow.used_at.is_(None),
            LinkRow.expires_at > self._now(),
        )
        found: LinkRow | None = await session.scalar(query)
        if found is None:
            raise InvalidRequest(
                "This link was used already, has ended, or never was.",
                param="secret",
                code="link_not_good",
                hint="Ask for a new one.",
            )
        return found

    async def use(self, session: AsyncSession, purpose: str, secret: Secret) -> LinkRow:
        """As `find`, and never again: of many at once, one gets it."""
        locked = select(LinkRow.id).where(LinkRow.mac == self._mac(secret)).with_for_update()
        await session.execute(locked)
        row = await self.find(session, purpose, secret)
        row.used_at = self._now()
        return row

    def _mac(self, secret: Secret) -> bytes:
        return self._vault.mac("link:" + secret.reveal())
