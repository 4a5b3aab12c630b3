"""Releases of versions, the builds that answered behind a name, and who changed the catalog."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Index, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from xrouter.control.db.tables.base import Base, Dated

_EMPTY = text("'{}'")


class ReleaseRow(Dated, Base):
    """The planned or running step of a channel to a new version of a model.

    label: the version that is to be `channel`. at: when. canary: the fields of
    `domain.routes.Canary` while its share is tried first. status: `planned`, `canary`, `done`,
    `rolled_back`, `cancelled` or `failed`. retire_at: when the version that it replaces retires.
    """

    __tablename__ = "releases"
    __table_args__ = (Index(None, "status", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    llm_model_id: Mapped[int] = mapped_column(ForeignKey("llm_models.id", ondelete="CASCADE"))
    label: Mapped[str]
    channel: Mapped[str] = mapped_column(default="latest", server_default="latest")
    at: Mapped[datetime]
    retire_at: Mapped[datetime | None]
    canary: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=_EMPTY)
    canary_from: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(default="planned", server_default="planned")
    replaced: Mapped[str | None]
    reason: Mapped[str | None]
    author: Mapped[str]


class BuildRow(Base):
    """A build that has answered for a version of a model; a new one behind a name is drift.

    noted: whether the one who tells of drift has seen the row.
    """

    __tablename__ = "builds"
    __table_args__ = (
        UniqueConstraint("model_id", "version", "endpoint", "build"),
        Index(None, "noted"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[str]
    version: Mapped[str]
    provider: Mapped[str]
    endpoint: Mapped[str]
    build: Mapped[str]
    first_seen: Mapped[float] = mapped_column(Double)
    last_seen: Mapped[float] = mapped_column(Double)
    answers: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    noted: Mapped[bool] = mapped_column(default=False, server_default=false())


class ChangeRow(Base):
    """One change of the catalog. revision: after it. author: who; kind and object: of what.

    before and after: the whole object as it is exported, None where it did not exist.
    """

    __tablename__ = "catalog_changes"
    __table_args__ = (Index(None, "revision"), Index(None, "kind", "object"))

    id: Mapped[int] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    author: Mapped[str]
    action: Mapped[str]
    kind: Mapped[str]
    object: Mapped[str]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
