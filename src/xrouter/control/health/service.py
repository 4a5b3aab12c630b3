"""How endpoints are and were."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.health import CheckRow
from xrouter.control.health import repository
from xrouter.control.health.events import Events
from xrouter.control.health.herald import state_of
from xrouter.control.health.schemas import (
    CheckOut,
    EndpointHealth,
    IncidentOut,
    IncidentPage,
    IncidentQuery,
    UptimeOut,
    UptimeQuery,
    UptimeRow,
)
from xrouter.control.health.uptime import Sums, Uptime
from xrouter.control.kit.lease import Clock
from xrouter.control.kit.schemas import MAX_PAGE, Page

_DIGITS = 3


class HealthService:
    """Only reads: the prober writes. events: what listeners of this process are told."""

    def __init__(self, db: Database, events: Events, clock: Clock = time.time) -> None:
        self.events = events
        self._db = db
        self._clock = clock
        self._uptime = Uptime(db, clock)

    async def all(self) -> Page[EndpointHealth]:
        """Every endpoint."""
        async with self._db.read() as session:
            listed = await repository.endpoints(session)
            checks = await repository.recent_checks(session, self._clock())
        data = []
        for endpoint, provider_enabled, row in listed:
            recent = checks.get(endpoint.id, [])
            data.append(
                EndpointHealth(
                    provider=endpoint.provider,
                    endpoint=endpoint.name,
                    enabled=provider_enabled and endpoint.is_enabled,
                    state=state_of(row),
                    since=None if row is None else row.since,
                    cause=None if row is None else row.cause,
                    last_check=CheckOut.model_validate(recent[0]) if recent else None,
                    p50_ms=_middle(recent),
                )
            )
        return Page(data=data)

    async def incidents(self, wanted: IncidentQuery) -> IncidentPage:
        """Incidents, the newest first."""
        async with self._db.read() as session:
            found = await repository.incidents(session, wanted)
        data = [IncidentOut.model_validate(row) for row in found[: wanted.limit]]
        return IncidentPage(data=data, next=data[-1].id if len(found) > wanted.limit else None)

    async def uptime(self, wanted: UptimeQuery) -> UptimeOut:
        """Shares of what was answered, by name; at most a thousand, the most asked."""
        since, found = await self._uptime.read(wanted.window, wanted.by)
        most = sorted(found, key=lambda name: -found[name].asked)[:MAX_PAGE]
        return UptimeOut(
            window=wanted.window,
            by=wanted.by,
            since=datetime.fromtimestamp(since, UTC),
            data=[_row(name, found[name]) for name in sorted(most)],
        )


def _row(name: str, sums: Sums) -> UptimeRow:
    return UptimeRow(
        name=name,
        asked=sums.asked,
        answered=sums.answered,
        uptime=round(100 * sums.answered / sums.asked, _DIGITS),
        minutes=sums.minutes,
        good_minutes=sums.good,
        sla=round(100 * sums.good / sums.minutes, _DIGITS),
    )


def _middle(checks: Sequence[CheckRow]) -> float | None:
    took = [check.took_ms for check in checks if check.ok and check.kind == "list"]
    return round(median(took), _DIGITS) if took else None
