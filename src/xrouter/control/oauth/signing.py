"""The keys that sign access tokens: made, published before they sign, replaced, forgotten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.db.changes import SYSTEM
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.catalog import CatalogState
from xrouter.control.db.tables.oauth import SigningKeyRow
from xrouter.control.db.triggers import CHANNEL
from xrouter.control.oauth.config import OAuthConfig
from xrouter.domain.tokens import TOKEN_TYPE, TokenKey
from xrouter.stores.vault import Vault

ROTATE_EVERY = timedelta(days=90)
PUBLISHED_AHEAD = timedelta(days=1)
"""From the day a key can be seen to the first token that it signs."""
_RSA_BITS = 2048
_MARGIN = timedelta(days=1)

Key = ECKey | RSAKey


def opened(vault: Vault, row: SigningKeyRow) -> Key:
    """The private key of a row. Raises VaultError."""
    data = json.loads(vault.open(row.private, context(row.kid)))
    return _kind(row.algorithm).import_key(data)


def public(vault: Vault, row: SigningKeyRow) -> TokenKey:
    """What everybody may know of it. Raises VaultError."""
    told: dict[str, Any] = dict(opened(vault, row).as_dict(private=False))
    told |= {"kid": row.kid, "alg": row.algorithm, "use": "sig"}
    return TokenKey(row.algorithm, json.dumps(told, sort_keys=True))


class SigningKeys:
    """now: the time in UTC, for tests."""

    def __init__(self, db: Database, vault: Vault, config: OAuthConfig, now: Any = utc_now) -> None:
        self._db = db
        self._vault = vault
        self._config = config
        self._now = now
        self._kept: dict[str, Key] = {}
        self._public: dict[str, TokenKey] = {}

    async def sign(self, claims: dict[str, Any]) -> str:
        """An access token. Raises DatabaseError, VaultError."""
        row = await self._current()
        if row is None:
            await self.turn()
            row = await self._current()
        if row is None:
            raise RuntimeError("there is no key to sign with, though it was made")
        header = {"alg": row.algorithm, "kid": row.kid, "typ": TOKEN_TYPE}
        key = self._kept.get(row.kid)
        if key is None:
            key = await asyncio.to_thread(opened, self._vault, row)
            self._kept = {row.kid: key}
        return jwt.encode(header, claims, key, algorithms=[row.algorithm])

    async def published(self) -> dict[str, TokenKey]:
        """The public keys by `kid`, also those that sign no more or not yet."""
        async with self._db.read() as session:
            return await self.public_in(session)

    async def public_in(self, session: AsyncSession) -> dict[str, TokenKey]:
        """The same, in a session that is there."""
        rows = {row.kid: row for row in await every(session)}
        for kid in rows.keys() - self._public.keys():
            self._public[kid] = public(self._vault, rows[kid])
        self._public = {kid: self._public[kid] for kid in rows}
        return self._public

    async def turn(self) -> bool:
        """Look once whether a key is to be made, retired or forgotten; whether one was."""
        async with self._db.read() as session:
            rows = await every(session)
        now = self._now()
        newest = _newest(rows, self._config.algorithm)
        nobody = self._signing(rows, now) is None
        stale = newest is None or newest.signs_from <= now - ROTATE_EVERY
        fresh = await self._make(now, first=nobody) if nobody or stale else None
        if fresh is None and not self._is_work(rows, now):
            return False
        async with self._db.write() as session:
            await _raise_revision(session)
            again = await every(session)
            if fresh is not None and [row.kid for row in again] == [row.kid for row in rows]:
                session.add(fresh)
                await session.flush()
                await _tell(session, "create", fresh.kid, by=SYSTEM)
            await self._retire(session, now)
        return True

    async def rotate(self) -> SigningKeyRow:
        """Make the next key ahead of its time."""
        row = await self._make(self._now(), first=False)
        async with self._db.write() as session:
            session.add(row)
            await _raise_revision(session)
            await _tell(session, "create", row.kid)
        return row

    async def forget(self, kid: str) -> bool:
        """Take a key away with every token that it signed; whether it was there."""
        self._kept.pop(kid, None)
        async with self._db.write() as session:
            gone = await session.execute(delete(SigningKeyRow).where(SigningKeyRow.kid == kid))
            if not getattr(gone, "rowcount", 0):
                return False
            await _raise_revision(session)
            await _tell(session, "forget", kid)
        return True

    async def _current(self) -> SigningKeyRow | None:
        query = (
            select(SigningKeyRow)
            .where(SigningKeyRow.algorithm == self._config.algorithm)
            .where(SigningKeyRow.signs_from <= self._now())
            .order_by(SigningKeyRow.signs_from.desc(), SigningKeyRow.kid)
            .limit(1)
        )
        async with self._db.read() as session:
            found: SigningKeyRow | None = await session.scalar(query)
        return found

    async def _make(self, now: datetime, *, first: bool) -> SigningKeyRow:
        key = await asyncio.to_thread(_generate, self._config.algorithm)
        kid = key.thumbprint()
        private = json.dumps(key.as_dict(private=True)).encode()
        return SigningKeyRow(
            kid=kid,
            algorithm=self._config.algorithm,
            private=self._vault.seal(private, context(kid)),
            created_at=now,
            signs_from=now if first else now + PUBLISHED_AHEAD,
        )

    async def _retire(self, session: AsyncSession, now: datetime) -> None:
        rows = await every(session)
        for row in self._replaced(rows, now):
            row.retired_at = now
        for row in self._over(rows, now):
            await session.delete(row)

    def _is_work(self, rows: Sequence[SigningKeyRow], now: datetime) -> bool:
        return bool(self._replaced(rows, now) or self._over(rows, now))

    def _replaced(self, rows: Sequence[SigningKeyRow], now: datetime) -> list[SigningKeyRow]:
        """Those in whose place another one signs."""
        current = self._signing(rows, now)
        if current is None:
            return []
        began = (row for row in rows if row.signs_from <= now)
        return [row for row in began if row is not current and row.retired_at is None]

    def _signing(self, rows: Sequence[SigningKeyRow], now: datetime) -> SigningKeyRow | None:
        """The one that signs now; None also where each begins later, the one before being gone."""
        return _newest([row for row in rows if row.signs_from <= now], self._config.algorithm)

    def _over(self, rows: Sequence[SigningKeyRow], now: datetime) -> list[SigningKeyRow]:
        """Those of which no token can be good any more."""
        until = now - self._config.token_life - _MARGIN
        return [row for row in rows if row.retired_at is not None and row.retired_at < until]


async def _tell(session: AsyncSession, verb: str, kid: str, by: str | None = None) -> None:
    await audit.record(session, action=f"signing_key.{verb}", object=f"signing_key:{kid}", by=by)


async def _raise_revision(session: AsyncSession) -> None:
    """All processes look at once; no trigger does that for this table."""
    await session.execute(update(CatalogState).values(revision=CatalogState.revision + 1))
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text(f"NOTIFY {CHANNEL}"))


async def every(session: AsyncSession) -> Sequence[SigningKeyRow]:
    """All keys, in the order in which they sign."""
    query = select(SigningKeyRow).order_by(SigningKeyRow.signs_from, SigningKeyRow.kid)
    return (await session.scalars(query)).all()


def _newest(rows: Sequence[SigningKeyRow], algorithm: str) -> SigningKeyRow | None:
    ours = [row for row in rows if row.algorithm == algorithm]
    return max(ours, key=lambda row: row.signs_from, default=None)


def _generate(algorithm: str) -> Key:
    if algorithm == "RS256":
        return RSAKey.generate_key(_RSA_BITS)
    return ECKey.generate_key("P-256")


def _kind(algorithm: str) -> type[ECKey | RSAKey]:
    return RSAKey if algorithm == "RS256" else ECKey


def context(kid: str) -> str:
    """Where the private key lies."""
    return f"signing_keys:{kid}"
