"""Writes down how endpoints are: their states, and the incidents that these make."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.health import EndpointStateRow, IncidentRow
from xrouter.control.health import attempts, repository
from xrouter.control.health.machine import UNKNOWN, Health
from xrouter.control.health.roster import Seat

BEFORE_S = 60.0
"""What failed so long before the beginning of an incident is counted with it."""

SETTLING_S = 2.0
"""Events are in the database so long after the request at the latest, as a rule."""


class Ledger:
    """Knows up to when the failures of open incidents are counted; all else is in the rows."""

    def __init__(self) -> None:
        self._counted: dict[int, float] = {}

    async def write(
        self,
        session: AsyncSession,
        seats: Mapping[int, Seat],
        healths: Mapping[int, Health],
        now: float,
    ) -> dict[int, float]:
        """Bring the rows up to what is known; to be given to `written` after the commit.

        seats: endpoints that are there and in use. The others have no state and no incident.
        """
        moment = datetime.fromtimestamp(now, UTC)
        await _write_states(session, seats, healths, moment)
        ill = {
            (seat.provider, seat.name): healths[seat.id]
            for seat in seats.values()
            if healths[seat.id].state != "healthy"
        }
        counted: dict[int, float] = {}
        for row in await repository.open_incidents(session):
            health = ill.pop((row.provider, row.endpoint), None)
            if health is None:
                row.ended_at = moment
            elif health.state == "down":
                row.state = "down"
            until = now if health is None else attempts.bucket_of(now - SETTLING_S)
            await self._count(session, row, until)
            counted[row.id] = until
        for (provider, endpoint), health in ill.items():
            session.add(
                IncidentRow(
                    provider=provider,
                    endpoint=endpoint,
                    state=health.state,
                    started_at=moment,
                    cause=health.cause or UNKNOWN,
                )
            )
        return counted

    def written(self, counted: Mapping[int, float]) -> None:
        """The transaction is committed."""
        self._counted = dict(counted)

    async def needs_from(self, session: AsyncSession, before: float) -> int:
        """The first bucket that open incidents need, no later than that of a moment."""
        began = await repository.first_open(session)
        if began is not None:
            before = min(before, began.timestamp() - BEFORE_S)
        return int(before // attempts.BUCKET_S)

    async def _count(self, session: AsyncSession, row: IncidentRow, until: float) -> None:
        """Add what is new; count from the beginning what another process has begun."""
        since = self._counted.get(row.id)
        again = since is None
        if since is None:
            since = row.started_at.timestamp() - BEFORE_S
        found = await attempts.counts(session, row.provider, row.endpoint, since, until)
        row.failed = max(row.failed, found.failed) if again else row.failed + found.failed
        row.saved = max(row.saved, found.saved) if again else row.saved + found.saved


async def _write_states(
    session: AsyncSession,
    seats: Mapping[int, Seat],
    healths: Mapping[int, Health],
    moment: datetime,
) -> None:
    """Only what differs: each write raises the revision."""
    rows = await repository.states(session)
    for endpoint_id in seats:
        health, row = healths[endpoint_id], rows.pop(endpoint_id, None)
        was = "healthy" if row is None else row.state
        if health.state == was and (row is None or health.silent == row.is_silent):
            continue
        if row is None:
            row = EndpointStateRow(endpoint_id=endpoint_id)
            session.add(row)
        if health.state != was:
            row.state, row.since, row.cause = health.state, moment, health.cause
        row.is_silent = health.silent
    for row in rows.values():
        await session.delete(row)
