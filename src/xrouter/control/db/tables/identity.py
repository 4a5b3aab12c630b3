"""API keys."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from xrouter.control.db.tables.base import Base, utc_now


class KeyRow(Base):
    """An API key: its MAC, never the key.

    key_id: public, may be logged. pepper_id: of the pepper that made the MAC. rpm: requests a
    minute, None for no limit. groups: access groups whose models and routes it may use.
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
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
