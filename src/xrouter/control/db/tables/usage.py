"""Usage events: append-only, one row for each request."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Double, Index, false, text
from sqlalchemy.orm import Mapped, mapped_column

from xrouter.control.db.tables.base import Base


class UsageRow(Base):
    """The fields of `domain.usage.UsageEvent`, which says what they mean."""

    __tablename__ = "usage_events"
    __table_args__ = (
        Index(None, "at", "event_id"),
        Index(None, "key_id", "at"),
        Index(None, "model_served", "at"),
        Index(None, "project", "at"),
    )

    event_id: Mapped[str] = mapped_column(primary_key=True)
    request_id: Mapped[str]
    at: Mapped[float] = mapped_column(Double)
    operation: Mapped[str]
    key_id: Mapped[str | None]
    project: Mapped[str | None]
    model_requested: Mapped[str | None]
    model_served: Mapped[str | None]
    version: Mapped[str | None]
    upstream_model: Mapped[str | None]
    provider: Mapped[str | None]
    endpoint: Mapped[str | None]
    attempts: Mapped[int]
    streamed: Mapped[bool]
    status: Mapped[int]
    outcome: Mapped[str]
    error_code: Mapped[str | None]
    finish_reason: Mapped[str | None]
    tokens_in: Mapped[int] = mapped_column(BigInteger)
    tokens_out: Mapped[int] = mapped_column(BigInteger)
    tokens_cached: Mapped[int] = mapped_column(BigInteger)
    tokens_reasoning: Mapped[int] = mapped_column(BigInteger)
    tokens_estimated: Mapped[bool]
    queue_ms: Mapped[float] = mapped_column(Double)
    first_token_ms: Mapped[float | None] = mapped_column(Double)
    total_ms: Mapped[float] = mapped_column(Double)
    upstream_request_id: Mapped[str | None]
    route: Mapped[str | None]
    reason: Mapped[str | None]
    cached: Mapped[bool] = mapped_column(default=False, server_default=false())
    build: Mapped[str | None]
    tried: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default=text("'[]'"))
