"""Shapes of the usage API. Times of events are unix seconds, durations milliseconds."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StringConstraints,
    WithJsonSchema,
)

from xrouter.control.billing.amounts import Money
from xrouter.control.kit.schemas import MAX_PAGE, In, Moment, Name, Out

When = Annotated[
    Moment,
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}),
]
"""ISO 8601 with a zone, or unix seconds."""

GroupBy = Literal[
    "organization", "project", "key", "end_user", "model", "requested", "version", "provider",
    "endpoint", "route", "operation", "status", "outcome", "error", "finish", "streamed", "cached",
    "hour", "day", "month",
]  # fmt: skip
MAX_GROUPS = 100_000
_MOST_DIMENSIONS = 5


def _each(given: object) -> object:
    """`a,b` is the same as `a` and `b`."""
    if not isinstance(given, list):
        return given
    return [part for item in given for part in str(item).split(",")]


def _once(given: list[GroupBy]) -> list[GroupBy]:
    if len(set(given)) < len(given):
        raise ValueError("must not name the same twice")
    return given


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ValueError("is no time zone; one is 'Europe/Moscow'") from None
    return text


Groups = Annotated[
    list[GroupBy],
    Field(min_length=1, max_length=_MOST_DIMENSIONS),
    BeforeValidator(_each),
    AfterValidator(_once),
]
Zone = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_zone)]


class Filter(In):
    """Which events. model: as served, or as asked for where none answered. until: not included."""

    organization: Name | None = None
    project: str | None = None
    key_id: str | None = None
    end_user: str | None = None
    model: str | None = None
    version: str | None = None
    provider: str | None = None
    route: str | None = None
    operation: str | None = None
    status: Annotated[int | None, Field(ge=0, le=999)] = None
    outcome: str | None = None
    since: When | None = None
    until: When | None = None


class EventQuery(Filter):
    """Which events, and which part of them."""

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100


class SummaryQuery(Filter):
    """Which events, and what to sum them by: up to five dimensions.

    after: how many groups to leave out. time_zone: of hours, days and months.
    """

    group_by: Groups = Field(default=["model"])
    time_zone: Zone = "UTC"
    after: Annotated[int, Field(ge=0, le=MAX_GROUPS)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = MAX_PAGE
    format: Literal["json", "csv"] = "json"


class EventOut(Out):
    """One request: the fields of `domain.usage.UsageEvent`.

    endpoint, upstream_request_id, tried: shown to operators alone.
    """

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
    """Sums of a group. group: what it has in common, by dimension; None for what has none.

    from_cache: requests that our cache has answered. unknown: those whose price nobody knew. cost,
    margin: shown to operators alone; vat, total: to those who may read all these bills.
    """

    group: dict[GroupBy, str | int | bool | None]
    requests: int
    errors: int
    cancelled: int
    from_cache: int
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tokens_reasoning: int
    unknown: int
    cost: Money | None
    margin: Money | None
    vat: Money | None
    total: Money | None


class SummaryOut(Out):
    """Groups: the latest first, then the one with the most requests. next: `after` of the rest."""

    group_by: list[GroupBy]
    time_zone: str
    data: list[SummaryRow]
    next: int | None = None
