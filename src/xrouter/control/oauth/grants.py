"""Grants and what is made of them: codes, access tokens, refresh tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.db.tables.oauth import ClientRow, CodeRow, GrantRow, RefreshRow
from xrouter.control.db.tables.people import UserRow
from xrouter.control.identity.repository import organization
from xrouter.control.oauth import ground
from xrouter.control.oauth.config import CODE_LIFE, GRACE, Means
from xrouter.control.oauth.problems import OAuthError, bad_grant
from xrouter.control.oauth.signing import SigningKeys
from xrouter.domain.usage import new_id

CODE = "xrc_"
REFRESH = "xrr_"
CLIENT_SUBJECT = "client:"
"""No id of a user begins like this."""
REFRESHES = "refresh_token"
_GRANT, _KEY = "grant_", "key_"
_BYTES = 32
_ID_BYTES = 16


class Taken(Struct, frozen=True, kw_only=True):
    """A code that was good, or why it was not. user: its public id."""

    grant: GrantRow
    user: str | None
    refresh: str | None = None


class Grants:
    """Every method is one transaction."""

    def __init__(self, means: Means, keys: SigningKeys) -> None:
        self._db = means.db
        self._vault = means.vault
        self._config = means.config
        self._keys = keys
        self.changed = means.changed
        self.now = means.now

    def code_mac(self, code: str) -> bytes:
        """Under which a code is stored."""
        return self._vault.mac("oauth-code:" + code)

    def refresh_mac(self, token: str) -> bytes:
        """Under which a refresh token is stored."""
        return self._vault.mac("oauth-refresh:" + token)

    async def begin(
        self,
        session: AsyncSession,
        client: ClientRow,
        *,
        user_id: int | None,
        project: str,
        scopes: Sequence[str],
        life: timedelta,
    ) -> GrantRow:
        """Write a new grant down. user_id: of the row."""
        now = self.now()
        grant = GrantRow(
            grant_id=new_id(_GRANT),
            client_id=client.id,
            user_id=user_id,
            project=project,
            scopes=list(scopes),
            created_at=now,
            expires_at=now + life,
        )
        session.add(grant)
        await session.flush()
        return grant

    def code(
        self,
        session: AsyncSession,
        grant: GrantRow,
        redirect_uri: str,
        challenge: str,
        life: timedelta = CODE_LIFE,
    ) -> str:
        """A code for the grant: it works once."""
        code = CODE + secrets.token_urlsafe(_BYTES)
        session.add(
            CodeRow(
                mac=self.code_mac(code),
                grant_id=grant.id,
                redirect_uri=redirect_uri,
                challenge=challenge,
                expires_at=self.now() + life,
            )
        )
        return code

    async def exchange(
        self, client: ClientRow, code: str, verifier: str, redirect_uri: str | None
    ) -> dict[str, Any]:
        """Tokens for a code. Raises OAuthError; a code that came twice ends its grant."""
        async with self._db.write() as session:
            taken = await self.take(session, client, code, verifier, redirect_uri)
            if taken is not None and REFRESHES in client.grant_types:
                token = REFRESH + secrets.token_urlsafe(_BYTES)
                session.add(self._refresh_row(taken.grant, token))
                taken = Taken(grant=taken.grant, user=taken.user, refresh=token)
        if taken is None:
            self.changed()  # a grant may have been revoked; one that was made changes nothing
            raise bad_grant()
        return await self._answer(client, taken, taken.grant.scopes)

    async def take(
        self,
        session: AsyncSession,
        client: ClientRow,
        code: str,
        verifier: str,
        redirect_uri: str | None,
    ) -> Taken | None:
        """Use a code up; None when it gives nothing. The caller must let the session commit."""
        now, mac = self.now(), self.code_mac(code)
        first = update(CodeRow).where(CodeRow.mac == mac, CodeRow.used_at.is_(None))
        done = await session.execute(first.values(used_at=now))
        query = (
            select(CodeRow, GrantRow, UserRow.user_id)
            .join(GrantRow, GrantRow.id == CodeRow.grant_id)
            .outerjoin(UserRow, UserRow.id == GrantRow.user_id)
            .where(CodeRow.mac == mac)
        )
        found = (await session.execute(query)).one_or_none()
        if found is None:
            return None
        row, grant, user = found
        if not getattr(done, "rowcount", 0):
            await ground.revoke(session, now, GrantRow.id == grant.id)
            key = update(KeyRow).where(KeyRow.key_id == key_of(grant), KeyRow.revoked_at.is_(None))
            await session.execute(key.values(revoked_at=now))
            await self._tell(session, "oauth.code_reuse", grant, client)
            return None
        good = (
            row.expires_at > now
            and grant.client_id == client.id
            and hmac.compare_digest(_challenge(verifier), row.challenge)
            and (redirect_uri is None or redirect_uri == row.redirect_uri)
            and await ground.stands(session, grant, now)
        )
        return Taken(grant=grant, user=user) if good else None

    async def refresh(
        self, client: ClientRow, token: str, scopes: Sequence[str] | None
    ) -> dict[str, Any]:
        """Tokens for a refresh token, and its successor. Raises OAuthError.

        One that was replaced before ends its grant, but for GRACE: then the successor is the same.
        """
        async with self._db.write() as session:
            taken = await self._rotate(session, client, token)
            if taken is not None and scopes is not None:
                _require_within(scopes, taken.grant.scopes)
        if taken is None:
            self.changed()
            raise bad_grant()
        return await self._answer(client, taken, scopes or taken.grant.scopes)

    async def _rotate(self, session: AsyncSession, client: ClientRow, token: str) -> Taken | None:
        now, mac = self.now(), self.refresh_mac(token)
        successor = self._successor(token)
        query = (
            select(RefreshRow, GrantRow, UserRow.user_id)
            .join(GrantRow, GrantRow.id == RefreshRow.grant_id)
            .outerjoin(UserRow, UserRow.id == GrantRow.user_id)
            .where(RefreshRow.mac == mac)
            .with_for_update(of=RefreshRow)
        )
        found = (await session.execute(query)).one_or_none()
        if found is None:
            return None
        row, grant, user = found
        if grant.client_id != client.id or row.expires_at <= now:
            return None
        if not await ground.stands(session, grant, now):
            return None
        taken = Taken(grant=grant, user=user, refresh=successor)
        if row.rotated_at is None:
            row.rotated_at, row.successor = now, self.refresh_mac(successor)
            session.add(self._refresh_row(grant, successor))
            return taken
        if await self._is_twin(session, row, now):
            return taken
        await ground.revoke(session, now, GrantRow.id == grant.id)
        await self._tell(session, "oauth.refresh_reuse", grant, client)
        return None

    async def _is_twin(self, session: AsyncSession, row: RefreshRow, now: datetime) -> bool:
        """Whether the token only came twice at about the same time, and nobody went on from it."""
        if row.rotated_at is None or now - row.rotated_at > GRACE:
            return False
        query = select(RefreshRow.rotated_at).where(RefreshRow.mac == row.successor)
        found = (await session.execute(query)).one_or_none()
        return found is not None and found[0] is None

    async def own(self, client: ClientRow, scopes: Sequence[str]) -> dict[str, Any]:
        """A token for the client itself; it has one grant, and another one before that ends."""
        now, life = self.now(), self._config.token_life
        query = (
            select(GrantRow)
            .where(GrantRow.client_id == client.id, GrantRow.user_id.is_(None))
            .where(GrantRow.revoked_at.is_(None), GrantRow.expires_at >= now + life)
            .where(GrantRow.project == client.project)
            .order_by(GrantRow.id.desc())
            .limit(1)
        )
        async with self._db.write() as session:
            grant = await session.scalar(query)
            if grant is None and client.project is not None:
                grant = await self.begin(
                    session,
                    client,
                    user_id=None,
                    project=client.project,
                    scopes=client.scopes,
                    life=2 * life,
                )
            good = grant is not None and await ground.stands(session, grant, now)
        if grant is None or not good:
            raise OAuthError("unauthorized_client", "The client has no active project.")
        return await self._answer(client, Taken(grant=grant, user=None), scopes)

    async def _answer(
        self, client: ClientRow, taken: Taken, scopes: Sequence[str]
    ) -> dict[str, Any]:
        now, grant = self.now(), taken.grant
        ends = min(now + self._config.token_life, grant.expires_at)
        issuer, began = self._config.issuer, int(now.timestamp())
        claims: dict[str, Any] = {
            "iss": issuer,
            "aud": issuer,
            "sub": taken.user or CLIENT_SUBJECT + client.client_id,
            "client_id": client.client_id,
            "iat": began,
            "exp": began + round((ends - now).total_seconds()),
            "jti": secrets.token_urlsafe(_ID_BYTES),
            "gid": grant.grant_id,
            "project": grant.project,
            "scope": " ".join(scopes),
        }
        answer = {
            "access_token": await self._keys.sign(claims),
            "token_type": "Bearer",
            "expires_in": claims["exp"] - claims["iat"],
            "scope": claims["scope"],
        }
        return answer if taken.refresh is None else {**answer, "refresh_token": taken.refresh}

    def _refresh_row(self, grant: GrantRow, token: str) -> RefreshRow:
        return RefreshRow(
            mac=self.refresh_mac(token),
            grant_id=grant.id,
            created_at=self.now(),
            expires_at=grant.expires_at,
        )

    def _successor(self, token: str) -> str:
        """The same for the same token, so that it need not be kept; told by nothing but our key."""
        made = self._vault.mac("oauth-successor:" + token)
        return REFRESH + base64.urlsafe_b64encode(made).decode().rstrip("=")

    async def _tell(
        self, session: AsyncSession, action: str, grant: GrantRow, client: ClientRow
    ) -> None:
        await audit.record(
            session,
            action=action,
            object=f"grant:{grant.grant_id}",
            organization=await organization(session, grant.project),
            by=f"client:{client.client_id}",
        )


def key_of(grant: GrantRow) -> str:
    """The public id of the API key that a grant gives, where it gives one."""
    return _KEY + grant.grant_id.removeprefix(_GRANT)


def _challenge(verifier: str) -> str:
    """S256."""
    made = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def _require_within(scopes: Sequence[str], granted: Sequence[str]) -> None:
    if not set(scopes) <= set(granted):
        raise OAuthError("invalid_scope", "A refresh cannot widen the scope.")
