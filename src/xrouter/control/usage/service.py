"""Usage: events and their sums."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from xrouter.control.db.engine import Database
from xrouter.control.kit.schemas import MAX_PAGE, Page
from xrouter.control.usage import repository
from xrouter.control.usage.repository import DAY_S
from xrouter.control.usage.schemas import (
    EventOut,
    EventQuery,
    GroupBy,
    SummaryOut,
    SummaryQuery,
    SummaryRow,
)


class UsageService:
    """Only reads: events come in by the drain."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, wanted: EventQuery) -> Page[EventOut]:
        """Events, the newest first, behind the event `after`. Raises InvalidRequest."""
        limit = wanted.limit
        async with self._db.read() as session:
            found = await repository.events(session, wanted, limit + 1)
        data = [EventOut.model_validate(row) for row in found[:limit]]
        return Page(data=data, next=data[-1].event_id if len(found) > limit else None)

    async def summary(self, wanted: SummaryQuery) -> SummaryOut:
        """Sums by group; at most a thousand groups."""
        group_by = wanted.group_by
        async with self._db.read() as session:
            found = await repository.summary(session, wanted, group_by, MAX_PAGE)
        return SummaryOut(group_by=group_by, data=[_row(group_by, tuple(row)) for row in found])


def _row(group_by: GroupBy, sums: tuple[Any, ...]) -> SummaryRow:
    group, *numbers = sums
    if group_by == "day":
        group = datetime.fromtimestamp(group * DAY_S, UTC).date().isoformat()
    requests, errors, cancelled, *tokens = (int(number) for number in numbers)
    tokens_in, tokens_out, tokens_cached, tokens_reasoning = tokens
    return SummaryRow(
        group=group,
        requests=requests,
        errors=errors,
        cancelled=cancelled,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_cached=tokens_cached,
        tokens_reasoning=tokens_reasoning,
    )
