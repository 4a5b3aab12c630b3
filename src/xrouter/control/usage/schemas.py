"""Shapes of the usage API. Times of events are unix seconds, durations milliseconds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, WithJsonSchema

from xrouter.control.kit.schemas import MAX_PAGE, In, Moment, Out

When = Annotated[
    Moment,
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}),
]
"""ISO 8601 with a zone, or unix seconds."""

GroupBy = Literal["model", "key", "provider", "day"]


class Filter(In):
    """Which events. model: as served, or as asked for where none answered. until: not included."""

    model: str | None = None
    key_id: str | None = None
    since: When | None = None
    until: When | None = None


class EventQuery(Filter):
    """Which events, and which part of them."""

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100


class SummaryQuery(Filter):
    """Which events, and what to sum them by."""

    group_by: GroupBy = "model"


class EventOut(Out):
    """One request: the fields of `domain.usage.UsageEvent`."""

    event_id: str
    request_id: str
    at: float
    operation: str
    key_id: str | None
    project: str | None
    model_requested: str | None
    model_served: str | None
    version: str | None
    upstream_model: str | None
    provider: str | None
    endpoint: str | None
    attempts: int
    streamed: bool
    status: int
    outcome: str
    error_code: str | None
    finish_reason: str | None
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tokens_reasoning: int
    tokens_estimated: bool
    queue_ms: float
    first_token_ms: float | None
    total_ms: float
    upstream_request_id: str | None
    route: str | None
    reason: str | None
    cached: bool
    build: str | None
    tried: JsonValue


class SummaryRow(Out):
    """Sums of a group: a model id, key id, provider, or a day in UTC (`2026-01-31`)."""

    group: str | None
    requests: int
    errors: int
    cancelled: int
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tokens_reasoning: int


class SummaryOut(Out):
    """Groups, the one with the most requests first; days, the latest first."""

    group_by: GroupBy
    data: list[SummaryRow]
