"""API keys, and the credentials that projects bring for providers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Double, LargeBinary, UniqueConstraint, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from xrouter.control.db.tables.base import Base, Dated, utc_now


class KeyRow(Base):
    """An API key: its MAC, never the key.

    key_id: public, may be logged. pepper_id: of the pepper that made the MAC. rpm: requests a
    minute, None for no limit. groups: access groups whose models and routes it may use.
    scopes, models, ip_ranges: what it may do, with which models and routes, from where; [] for
    all. previous_mac: of the secret that a rotation replaced, good until `previous_until`.
    revision: of the catalog, in which the row changed last; triggers write it.
    """

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    project: Mapped[str] = mapped_column(default="default", server_default="default")
    pepper_id: Mapped[str]
    mac: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    last4: Mapped[str]
    rpm: Mapped[int | None]
    groups: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'"))
    scopes: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'"))
    models: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'"))
    ip_ranges: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'"))
    tags: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'"))
    previous_mac: Mapped[bytes | None] = mapped_column(LargeBinary)
    previous_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(
        BigInteger, default=0, server_default=text("0"), index=True
    )


class CredentialRow(Dated, Base):
    """With which a project asks a provider on its own account.

    credential: a sealed JSON object, as an endpoint's. is_only: the project's requests never go
    to that provider on the router's account, not even when this credential is refused.
    """

    __tablename__ = "project_credentials"
    __table_args__ = (UniqueConstraint("project", "provider"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str]
    provider: Mapped[str]
    credential: Mapped[bytes] = mapped_column(LargeBinary)
    last4: Mapped[str]
    is_only: Mapped[bool] = mapped_column(default=False, server_default=false())
    is_enabled: Mapped[bool] = mapped_column(default=True, server_default=true())


class KeyUseRow(Base):
    """When a key was used last, unix seconds. Apart: a change of `api_keys` raises the revision."""

    __tablename__ = "key_uses"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(Double)
