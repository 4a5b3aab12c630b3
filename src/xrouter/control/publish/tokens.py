"""What the data plane must know to check access tokens by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.oauth import GrantRow, RevokedRow, SigningKeyRow
from xrouter.control.oauth import signing
from xrouter.domain.tokens import TokenKey, Trust
from xrouter.stores.vault import Vault, VaultError


class TokenRows(Struct):
    """Keys, and what was revoked of what would be good still."""

    keys: Sequence[SigningKeyRow]
    revoked: Sequence[str]


async def read(session: AsyncSession, now: datetime | None = None) -> TokenRows:
    """The rows as they are."""
    now = now or utc_now()
    grants = select(GrantRow.grant_id).where(GrantRow.revoked_at.is_not(None))
    tokens = select(RevokedRow.jti).where(RevokedRow.expires_at > now)
    return TokenRows(
        keys=await signing.every(session),
        revoked=[
            *await session.scalars(grants.where(GrantRow.expires_at > now)),
            *await session.scalars(tokens),
        ],
    )


def trust(rows: TokenRows, vault: Vault, issuer: str, skip: Callable[[str, str], None]) -> Trust:
    """For the snapshot. skip: called with why a key was left out, and its id."""
    keys: dict[str, TokenKey] = {}
    for row in rows.keys:
        try:
            keys[row.kid] = signing.public(vault, row)
        except (VaultError, ValueError) as error:
            skip(f"signing key cannot be used: {error}", row.kid)
    return Trust(issuer=issuer, keys=keys, revoked=frozenset(rows.revoked))
