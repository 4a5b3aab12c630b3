"""Shapes of the health API. Durations in milliseconds, shares in percent."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from xrouter.control.kit.schemas import MAX_PAGE, In, Out
from xrouter.domain.catalog import State

Span = Literal["1h", "24h", "30d"]
By = Literal["provider", "endpoint", "model", "version"]


class CheckOut(Out):
    """A probe. kind: `list`, a cheap question, or `token`, a real answer. at: unix seconds."""

    at: float
    kind: str
    ok: bool
    took_ms: float
    error_code: str | None
    model: str | None


class EndpointHealth(Out):
    """How an endpoint is. since: None when it has always been healthy. cause: an error code.

    p50_ms: the middle one of the last probes that answered, None without any.
    """

    provider: str
    endpoint: str
    enabled: bool
    state: State
    since: datetime | None
    cause: str | None
    last_check: CheckOut | None
    p50_ms: float | None


class StateChange(Out):
    """An endpoint is in another state than before."""

    provider: str
    endpoint: str
    state: State
    before: State
    since: datetime | None
    cause: str | None


class IncidentOut(Out):
    """A time in which an endpoint was not healthy. state: the worst of it.

    ended_at: None while it lasts. cause: an error code. failed: attempts that failed there, from a
    minute before the beginning; saved: requests of these that another target answered.
    """

    id: int
    provider: str
    endpoint: str
    state: State
    started_at: datetime
    ended_at: datetime | None
    cause: str
    failed: int
    saved: int


class IncidentQuery(In):
    """Which incidents, the newest first; behind the incident `after`. open: those that last."""

    provider: str | None = None
    open: bool | None = None
    after: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100


class IncidentPage(Out):
    """Part of the incidents. next: what to send as `after`, None at the end."""

    data: list[IncidentOut]
    next: int | None = None


class UptimeQuery(In):
    """Over which time, and of what."""

    window: Span = "24h"
    by: By = "provider"


class UptimeRow(Out):
    """name: `provider`, `provider/endpoint`, `provider/model` or `provider/model:version`.

    asked, answered: attempts; in minutes without attempts, the probes in their place. uptime: the
    share of those answered. minutes: in which anything was asked; good_minutes: of these, those in
    which 95 % or more was answered; sla: their share.
    """

    name: str
    asked: int
    answered: int
    uptime: float
    minutes: int
    good_minutes: int
    sla: float


class UptimeOut(Out):
    """since: the beginning of the window; long ones begin with a full hour."""

    window: Span
    by: By
    since: datetime
    data: list[UptimeRow]
