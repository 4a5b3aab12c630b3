"""Asks providers what calls have cost of which nobody heard the end: estimates become exact.

One process does it, the holder of the lease. Whatever it was doing when it died is asked again, and
settled once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from sqlalchemy import and_, delete, or_, text
from sqlalchemy.exc import SQLAlchemyError

from xrouter.control.billing import booked, settling
from xrouter.control.billing.booked import Attempt
from xrouter.control.billing.settling import Exact
from xrouter.control.billing.tariffs import Tariffs
from xrouter.control.catalog.live import LiveLists
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeAttemptRow, ChargeRow, LookupRow
from xrouter.control.health.roster import Roster
from xrouter.control.kit.lease import Lease, LeaseLost
from xrouter.domain.answer import Usage
from xrouter.domain.errors import XRouterError
from xrouter.providers.base import BaseAPIAdapter
from xrouter.telemetry.logs import log

AFTERWARDS = "afterwards"
"""The name of the lease, and of the job."""

LOOK_S = 3.0
PAUSE_S = 5.0
"""Before a call is asked for again that the provider does not know; twice as long each time."""

TRIES = 8
"""Ten minutes in all."""

WINDOW_S = 86_400.0
"""Older estimates are left to statements."""

_SOURCE = "asked"
_AT_ONCE = 4
_BATCH = 100
_NOTE = text(
    "INSERT INTO lookups (event_id, number, tries, next_at)"
    " VALUES (:event_id, :number, :tries, :next_at)"
    " ON CONFLICT (event_id, number) DO UPDATE SET tries = lookups.tries + excluded.tries,"
    " next_at = excluded.next_at + (excluded.next_at - :now) * ((1 << lookups.tries) - 1)"
)

Adapters = dict[tuple[str, str], BaseAPIAdapter]
"""Of providers that can be asked, by provider and endpoint."""


class Afterwards:
    """Looks for estimates of the last day. clock: unix seconds."""

    def __init__(
        self,
        db: Database,
        lease: Lease,
        roster: Roster,
        live: LiveLists,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._lease = lease
        self._roster = roster
        self._live = live
        self._clock = clock
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Until cancelled. Failures are logged and tried again at the next time."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(min(LOOK_S, self._lease.often_s))
        finally:
            await self._lease.leave()

    async def _look(self) -> None:
        try:
            await self.turn()
        except LeaseLost as error:
            log.warning("afterwards_left", error=str(error))
        except (XRouterError, SQLAlchemyError, OSError) as error:
            log.error("afterwards_failed", error=str(error) or type(error).__name__)
        except Exception:  # noqa: BLE001 - a defect must not end the job
            log.exception("afterwards_defect")

    async def turn(self) -> int:
        """Ask for those that are due; how many were made exact. Raises DatabaseError, LeaseLost."""
        if not await self._lease.hold():
            return 0
        adapters = {
            (seat.provider, seat.name): seat.adapter
            for seat in (await self._roster.read()).values()
            if type(seat.adapter).afterwards is not BaseAPIAdapter.afterwards
        }
        due = await self._due(adapters) if adapters else []
        if not due:
            return 0
        answers = await asyncio.gather(*(self._ask(adapters, attempt) for attempt in due))
        return await self._write(due, answers)

    async def _due(self, adapters: Adapters) -> list[Attempt]:
        now = self._clock()
        number = ChargeAttemptRow.number
        mine = and_(
            LookupRow.event_id == ChargeRow.event_id,
            or_(LookupRow.number == number, and_(number.is_(None), LookupRow.number == 1)),
        )
        query = booked.estimates({provider for provider, _ in adapters}, now - WINDOW_S, now)
        query = query.outerjoin(LookupRow, mine).where(
            or_(
                LookupRow.event_id.is_(None),
                and_(LookupRow.tries < TRIES, LookupRow.next_at <= now),
            )
        )
        async with self._db.read() as session:
            return await booked.read(session, query.limit(_BATCH))

    async def _ask(self, adapters: Adapters, attempt: Attempt) -> list[Usage] | None:
        """By call; None while that is not known, [] where it never will be."""
        adapter = adapters.get((attempt.provider, attempt.endpoint))
        names = attempt.upstream_ids
        if adapter is None or len(names) < attempt.calls:
            return []
        found: list[Usage] = []
        for name in names:
            errand = adapter.afterwards(name)
            if errand is None:
                return []
            try:
                async with self._places:
                    usage = await self._live.run(adapter, errand)
            except XRouterError as error:
                log.warning("afterwards_not_told", provider=attempt.provider, error=error.message)
                return None
            if usage is None:
                return None
            found.append(usage)
        return found

    async def _write(self, due: Sequence[Attempt], answers: Sequence[list[Usage] | None]) -> int:
        """What was told, and which are to be asked again."""
        now, exact = self._clock(), list[Exact]()
        notes = []
        async with self._db.write() as session:
            await self._lease.guard(session)
            tariffs = {
                name: await Tariffs.read(session, name) for name in {a.provider for a in due}
            }
            for attempt, usages in zip(due, answers, strict=True):
                cost = tariffs[attempt.provider].again(attempt, usages) if usages else None
                if usages and cost is not None:
                    exact.append(_exact(attempt, usages, cost))
                notes.append(_note(attempt, now, is_over=usages is not None))
            done = await settling.settle(session, exact, source=_SOURCE, now=now)
            await session.execute(_NOTE, notes)
            old = LookupRow.next_at < now - 2 * WINDOW_S
            await session.execute(delete(LookupRow).where(old))
        if done.attempts:
            log.info("afterwards_settled", attempts=done.attempts, billionths=done.cost)
        return done.attempts


def _exact(attempt: Attempt, usages: Sequence[Usage], cost: int) -> Exact:
    return Exact(
        attempt.event_id,
        attempt.number,
        sum(usage.prompt_tokens for usage in usages),
        sum(usage.completion_tokens for usage in usages),
        cost,
    )


def _note(attempt: Attempt, now: float, *, is_over: bool) -> dict[str, str | int | float]:
    """That it was asked for, and when it is to be again."""
    return {
        "event_id": attempt.event_id,
        "number": attempt.number,
        "tries": TRIES if is_over else 1,
        "now": now,
        "next_at": now + PAUSE_S,
    }
