"""API keys."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Double, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from xrouter.control.db.tables.base import Base, utc_now


class KeyRow(Base):
    """An API key: its MAC, never the key.

    key_id: public, may be logged. pepper_id: of the pepper that made the MAC. rpm: requests a
    minute, None for no limit. groups: access groups whose models and routes it may use.
    scopes, models, ip_ranges: what it may do, with which models and routes, from where; [] for
    all. previous_mac: of the secret that a rotation replaced, good until `previous_until`.
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


class KeyUseRow(Base):
    """When a key was used last, unix seconds. Apart: a change of `api_keys` raises the revision."""

    __tablename__ = "key_uses"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(Double)
