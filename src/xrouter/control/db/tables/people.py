"""Organisations, projects, people and their sessions; what happened to all of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, UniqueConstraint, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from xrouter.control.db.tables.base import Base, Dated, utc_now

_EMPTY = text("'{}'")


class OrganizationRow(Dated, Base):
    """Who pays. slug: unique, never changes. time_zone: of its months and days.

    margin and vat: hundredths of a percent, put on what requests cost. groups: access groups that
    all its keys have.
    """

    __tablename__ = "organizations"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    time_zone: Mapped[str] = mapped_column(default="Europe/Moscow", server_default="Europe/Moscow")
    margin: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    vat: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    groups: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'"))
    details: Mapped[dict[str, str]] = mapped_column(default=dict, server_default=_EMPTY)
    is_active: Mapped[bool] = mapped_column(default=True, server_default=true())


class ProjectRow(Dated, Base):
    """What keys belong to. slug: unique among all projects, never changes."""

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = mapped_column(
        ForeignKey("organizations.id", ondelete="RESTRICT"), index=True
    )
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    is_active: Mapped[bool] = mapped_column(default=True, server_default=true())


class UserRow(Dated, Base):
    """A person. email: in lower case. password: an argon2 hash, None without one.

    is_operator: runs this router, and may see and do all.
    """

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    password: Mapped[str | None]
    language: Mapped[str] = mapped_column(default="ru", server_default="ru")
    is_operator: Mapped[bool] = mapped_column(default=False, server_default=false())
    is_active: Mapped[bool] = mapped_column(default=True, server_default=true())
    last_sign_in_at: Mapped[datetime | None]


class IdentityRow(Base):
    """A user as a sign-in provider (OIDC) knows them: by issuer and subject, never by e-mail."""

    __tablename__ = "user_identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    issuer: Mapped[str]
    subject: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class MembershipRow(Base):
    """What a user may do. project_id: None for the whole organisation.

    role: `owner`, `admin`, `developer`, `viewer` or `billing`.
    """

    __tablename__ = "memberships"
    __table_args__ = (UniqueConstraint("user_id", "organization_id", "project_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    organization_id: Mapped[int] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE"), index=True
    )
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class SessionRow(Base):
    """A signed-in browser. mac: of the cookie. csrf: of the token that forms must bring."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    mac: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    csrf: Mapped[bytes] = mapped_column(LargeBinary)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ip: Mapped[str | None]
    agent: Mapped[str | None]


class LinkRow(Base):
    """A link that works once. purpose: `setup`, `invite`, `reset`. mac: of its secret."""

    __tablename__ = "one_time_links"

    id: Mapped[int] = mapped_column(primary_key=True)
    mac: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    purpose: Mapped[str]
    email: Mapped[str | None]
    organization_id: Mapped[int | None] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE")
    )
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    role: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class AuditRow(Base):
    """A security event or a change. Append-only: triggers refuse to change or delete a row.

    actor: `user:<id>`, `key:<id>`, `client:<id>`, `admin` or `system`. object: `<kind>:<id>`.
    digest: SHA-256 over this row and the digest of the one before it.
    """

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "organization", "id"), Index(None, "object"))

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=utc_now)
    actor: Mapped[str]
    ip: Mapped[str | None]
    action: Mapped[str]
    object: Mapped[str]
    organization: Mapped[str | None]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=_EMPTY)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
