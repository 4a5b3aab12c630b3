"""How endpoints are: their state now, checks, incidents; who may probe; which processes run."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Double, ForeignKey, Index, false, text
from sqlalchemy.orm import Mapped, mapped_column

from xrouter.control.db.tables.base import Base


class EndpointStateRow(Base):
    """state: `healthy`, `degraded` or `down`. is_silent: the probes say so, not callers alone; then
    nobody is sent there. The data plane has both in its snapshot.

    Written only when the state changes: each write raises the catalog's revision.
    """

    __tablename__ = "endpoint_states"

    endpoint_id: Mapped[int] = mapped_column(
        ForeignKey("provider_endpoints.id", ondelete="CASCADE"), primary_key=True
    )
    state: Mapped[str]
    since: Mapped[datetime]
    cause: Mapped[str | None]
    is_silent: Mapped[bool] = mapped_column(default=False, server_default=false())


class CheckRow(Base):
    """One probe. kind: `list` (a cheap call) or `token` (a real answer). model: for `token`."""

    __tablename__ = "health_checks"
    __table_args__ = (Index(None, "endpoint_id", "at"), Index(None, "at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    endpoint_id: Mapped[int] = mapped_column(
        ForeignKey("provider_endpoints.id", ondelete="CASCADE")
    )
    at: Mapped[float] = mapped_column(Double)
    kind: Mapped[str]
    ok: Mapped[bool]
    took_ms: Mapped[float] = mapped_column(Double)
    error_code: Mapped[str | None]
    model: Mapped[str | None]


class IncidentRow(Base):
    """A time in which an endpoint was not healthy; ended_at: None while it lasts.

    failed: attempts that failed there meanwhile; saved: requests that another target answered.
    """

    __tablename__ = "incidents"
    __table_args__ = (Index(None, "provider", "started_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    provider: Mapped[str]
    endpoint: Mapped[str]
    state: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    cause: Mapped[str]
    failed: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    saved: Mapped[int] = mapped_column(default=0, server_default=text("0"))


class AttemptCountRow(Base):
    """How many attempts at an endpoint ended alike in ten seconds.

    bucket: tens of seconds since 1970. code: of the error, '' for answered. saved: requests that
    failed here so and were answered by another target.
    """

    __tablename__ = "attempt_counts"

    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    provider: Mapped[str] = mapped_column(primary_key=True)
    endpoint: Mapped[str] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(primary_key=True)
    attempts: Mapped[int] = mapped_column(BigInteger)
    saved: Mapped[int] = mapped_column(BigInteger)


class LeaseRow(Base):
    """Who does a job that only one process may do. token: rises with every new holder."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    token: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[float] = mapped_column(Double)


class InstanceRow(Base):
    """A running process and the catalog revision it runs. seen_at: unix seconds."""

    __tablename__ = "instances"

    instance_id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    role: Mapped[str]
    revision: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[float] = mapped_column(Double)
    seen_at: Mapped[float] = mapped_column(Double)
