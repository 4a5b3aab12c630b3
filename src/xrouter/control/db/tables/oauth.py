"""OAuth 2.0: clients, what users granted them, codes, tokens, keys to sign with."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from xrouter.control.db.tables.base import Base, Dated, utc_now

_NONE = text("'[]'")


class ClientRow(Dated, Base):
    """An application. secret: MAC of its secret, None for a public client.

    is_first_party: needs no consent page. project: for which client credentials act.
    """

    __tablename__ = "oauth_clients"

    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    redirect_uris: Mapped[list[str]] = mapped_column(default=list, server_default=_NONE)
    grant_types: Mapped[list[str]] = mapped_column(default=list, server_default=_NONE)
    scopes: Mapped[list[str]] = mapped_column(default=list, server_default=_NONE)
    organization_id: Mapped[int | None] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE"), index=True
    )
    project: Mapped[str | None]
    is_first_party: Mapped[bool] = mapped_column(default=False, server_default=false())
    is_active: Mapped[bool] = mapped_column(default=True, server_default=true())


class GrantRow(Base):
    """What a user allowed a client, or a client itself: the family of all tokens made of it."""

    __tablename__ = "oauth_grants"

    id: Mapped[int] = mapped_column(primary_key=True)
    grant_id: Mapped[str] = mapped_column(unique=True)
    client_id: Mapped[int] = mapped_column(
        ForeignKey("oauth_clients.id", ondelete="CASCADE"), index=True
    )
    user_id: Mapped[int | None] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    project: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(default=list, server_default=_NONE)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class CodeRow(Base):
    """An authorization code, by its MAC. challenge: of PKCE, S256, base64url.

    used_at: when it was exchanged; a second use revokes the grant.
    """

    __tablename__ = "oauth_codes"

    id: Mapped[int] = mapped_column(primary_key=True)
    mac: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    grant_id: Mapped[int] = mapped_column(ForeignKey("oauth_grants.id", ondelete="CASCADE"))
    redirect_uri: Mapped[str]
    challenge: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class RefreshRow(Base):
    """A refresh token, by its MAC. rotated_at: when a successor took its place."""

    __tablename__ = "oauth_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    mac: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    grant_id: Mapped[int] = mapped_column(
        ForeignKey("oauth_grants.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    rotated_at: Mapped[datetime | None]
    successor: Mapped[bytes | None] = mapped_column(LargeBinary)


class RevokedRow(Base):
    """An access token that is good no more, until it would have ended anyway."""

    __tablename__ = "revoked_tokens"
    __table_args__ = (Index(None, "expires_at"),)

    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]


class SigningKeyRow(Base):
    """A key to sign access tokens with. private: sealed. Published before it signs."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(primary_key=True)
    algorithm: Mapped[str]
    private: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    signs_from: Mapped[datetime]
    retired_at: Mapped[datetime | None]
