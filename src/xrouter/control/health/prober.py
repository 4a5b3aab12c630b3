"""Asks the endpoints how they are, listens to what becomes of requests, and writes it down.

One process does it, the holder of the lease; the others stand by and tell their listeners.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from random import uniform
from statistics import median

from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.health import CheckRow
from xrouter.control.health import attempts, machine, repository
from xrouter.control.health.checker import Checked, Checker, Kind
from xrouter.control.health.herald import Herald, state_of
from xrouter.control.health.ledger import Ledger
from xrouter.control.health.machine import NOBODY_ASKED, Check, Health, Window
from xrouter.control.health.roster import Roster, Seat
from xrouter.control.kit.lease import Clock, Lease, LeaseLost
from xrouter.domain.errors import XRouterError
from xrouter.telemetry.logs import log

LEASE = "probes"
TICK_S = 5.0
WINDOW_S = 60.0
COUNT_EVERY_S = 30.0
FORGET_EVERY_S = 600.0
KEEP_S = 30 * 86400.0
COUNTS_KEEP_S = 86400.0
QUICK = 5
"""How many times as often an endpoint is asked whose last probe failed, or that is down."""

LIMIT_FACTOR = 3.0

_BATCH = 500
_BATCHES = 20
_JITTER = 0.1

Places = dict[tuple[str, str], Window]


class ProberOptions(Struct, frozen=True, kw_only=True):
    """every_s: between two cheap questions to an endpoint; token_every_s: between two requests for
    a real token while nobody else gets one there, 0 for none. at_once: how many at a time.
    patience_s: how long a turn waits for them; later ones are read in the next. spread: how far,
    in parts, the times between them vary.
    """

    every_s: float = 15.0
    token_every_s: float = 0.0
    at_once: int = 8
    patience_s: float = 2.0
    spread: float = _JITTER


class Prober:
    """Looks every few seconds. changed: called when a state has changed (`Publisher.poke`)."""

    def __init__(
        self,
        db: Database,
        lease: Lease,
        roster: Roster,
        checker: Checker,
        herald: Herald,
        *,
        changed: Callable[[], None],
        options: ProberOptions = ProberOptions(),  # noqa: B008 - it is frozen
        clock: Clock = time.time,
    ) -> None:
        self._db = db
        self._lease = lease
        self._roster = roster
        self._checker = checker
        self._herald = herald
        self._changed = changed
        self._options = options
        self._clock = clock
        self._places = asyncio.Semaphore(options.at_once)
        self._running: dict[tuple[int, Kind], asyncio.Task[Checked]] = {}
        self._due: dict[tuple[int, Kind], float] = {}
        self._windows: Places = {}
        self._ledger = Ledger()
        self._healths: dict[int, Health] | None = None
        self._seats: Mapping[int, Seat] = {}
        self._count_at = 0.0
        self._forget_at = 0.0
        self._failing = False

    async def run(self) -> None:
        """Until cancelled; then others may go on at once."""
        try:
            while True:
                await self.turn()
                await asyncio.sleep(min(self._tick_s(), self._lease.often_s))
        finally:
            self._stand_by()
            await self._lease.leave()

    def _tick_s(self) -> float:
        """More often while something is wrong, so that its end is seen soon."""
        every_s = self._options.every_s
        if self._healths is not None and any(map(_is_unwell, self._healths.values())):
            every_s /= 2 * QUICK
        return min(TICK_S, every_s)

    async def turn(self) -> None:
        """Look once. Failures are logged, once, not raised."""
        try:
            if await self._lease.hold():
                await self._look()
            else:
                self._stand_by()
            await self._herald.tell()
        except LeaseLost as error:
            log.warning("health_left", error=str(error))
            self._stand_by()
        except (XRouterError, SQLAlchemyError, OSError) as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - a defect must not end the looking
            if not self._failing:
                log.exception("health_defect")
            self._failed(error)
        else:
            if self._failing:
                log.info("health_looked_at_again")
            self._failing = False

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            log.error("health_not_looked_at", error=str(error) or type(error).__name__)
        self._failing = True

    def _stand_by(self) -> None:
        """Another looks: what we knew will be old when it is our turn again."""
        for task in self._running.values():
            task.cancel()
        self._running.clear()
        self._due.clear()
        self._healths = None
        self._ledger = Ledger()

    async def _look(self) -> None:
        seats = await self._roster.read()
        if self._healths is None:
            self._healths = await self._restored()
        before = {id_: self._healths.get(id_, Health()) for id_ in seats}
        checks = [done for done in await self._checks(seats, before) if done.seat.id in seats]
        now = self._clock()
        async with self._db.read() as session:
            self._windows = await attempts.windows(session, now - WINDOW_S)
        after = dict(before)
        for done in checks:
            after[done.seat.id] = machine.noted(after[done.seat.id], done.check)
        for id_, seat in seats.items():
            window = self._window(seat)
            after[id_] = machine.judged(after[id_], window, now, probed=seat.probed)
        await self._write(seats, checks, before, after)
        await self._forget()

    async def _restored(self) -> dict[int, Health]:
        """What was known when somebody looked last."""
        async with self._db.read() as session:
            states = await repository.states(session)
            checks = await repository.recent_checks(session, self._clock())
        return {
            id_: machine.restored(
                state_of(states.get(id_)),
                states[id_].cause if id_ in states else None,
                (_check(row) for row in reversed(checks.get(id_, []))),
                silent=id_ in states and states[id_].is_silent,
            )
            for id_ in states.keys() | checks.keys()
        }

    def _window(self, seat: Seat) -> Window:
        return self._windows.get((seat.provider, seat.name), NOBODY_ASKED)

    # --- asking

    async def _checks(
        self, seats: Mapping[int, Seat], healths: Mapping[int, Health]
    ) -> list[Checked]:
        """Begin those that are due; give those that are done."""
        self._due = {key: at for key, at in self._due.items() if key[0] in seats}
        for seat in seats.values():
            self._begin(seat, healths[seat.id])
        if self._running:
            await asyncio.wait(self._running.values(), timeout=self._options.patience_s)
        done = [key for key, task in self._running.items() if task.done()]
        return [self._running.pop(key).result() for key in done]

    def _begin(self, seat: Seat, health: Health) -> None:
        options = self._options
        if seat.probed and _is_unwell(health):
            self._begin_one(seat, "list", options.every_s / QUICK, _limit_s(health, options))
        elif seat.probed:
            self._begin_one(seat, "list", options.every_s)
        window = self._window(seat)
        if options.token_every_s and seat.target and seat.probed:
            if health.mute:
                self._begin_one(seat, "token", options.every_s)
            elif window.attempts == window.failed:
                self._begin_one(seat, "token", options.token_every_s)

    def _begin_one(
        self, seat: Seat, kind: Kind, every_s: float, limit_s: float | None = None
    ) -> None:
        key, now = (seat.id, kind), self._clock()
        last = self._due.get(key)
        if key in self._running or (last is not None and now < last + every_s):
            return
        spread = self._options.spread
        self._due[key] = now + every_s * uniform(-spread, spread)  # noqa: S311 - spreads the load
        self._running[key] = asyncio.create_task(self._ask(seat, kind, limit_s))

    async def _ask(self, seat: Seat, kind: Kind, limit_s: float | None) -> Checked:
        async with self._places:
            return await self._checker.ask(seat, kind, limit_s)

    # --- writing

    async def _write(
        self,
        seats: Mapping[int, Seat],
        checks: Sequence[Checked],
        before: Mapping[int, Health],
        after: Mapping[int, Health],
    ) -> None:
        now = self._clock()
        changed = [id_ for id_ in seats if before[id_].state != after[id_].state]
        hushed = [id_ for id_ in seats if before[id_].silent != after[id_].silent]
        settle = bool(changed or hushed) or seats is not self._seats or now >= self._count_at
        counted: dict[int, float] = {}
        if checks or settle:
            async with self._db.write() as session:
                await self._lease.guard(session)
                there = await repository.still_there(session, seats)
                session.add_all(_row(done, now) for done in checks if done.seat.id in there)
                if settle:
                    held = {id_: seat for id_, seat in seats.items() if id_ in there}
                    counted = await self._ledger.write(session, held, after, now)
        self._healths = dict(after)
        if settle:
            self._ledger.written(counted)
            self._count_at = now + COUNT_EVERY_S
            self._seats = seats
        if changed or hushed:
            self._changed()
        for id_ in changed:
            _tell(seats[id_], before[id_], after[id_])

    async def _forget(self) -> None:
        """Delete old checks and counts, few at a time: others want to write, too."""
        now = self._clock()
        if now < self._forget_at:
            return
        for _ in range(_BATCHES):
            async with self._db.write() as session:
                await self._lease.guard(session)
                needed = await self._ledger.needs_from(session, now - COUNTS_KEEP_S)
                counts = await repository.forget_counts(session, needed, _BATCH)
                checks = await repository.forget_checks(session, now - KEEP_S, _BATCH)
                if max(counts, checks) < _BATCH:
                    break
        self._forget_at = now + FORGET_EVERY_S


def _is_unwell(health: Health) -> bool:
    return health.failed > 0 or health.state == "down"


def _limit_s(health: Health, options: ProberOptions) -> float | None:
    """How long a probe of an unwell endpoint may take: not much longer than when it was well.

    One that hangs must not keep the next one from seeing that it is well again.
    """
    if not health.latencies:
        return None
    usual_s = median(health.latencies) / 1000
    return max(options.every_s / QUICK, LIMIT_FACTOR * usual_s)


def _row(done: Checked, now: float) -> CheckRow:
    return CheckRow(
        endpoint_id=done.seat.id,
        at=now,
        kind=done.kind,
        ok=done.check.code is None,
        took_ms=done.check.took_ms,
        error_code=done.check.code,
        model=done.model,
    )


def _check(row: CheckRow) -> Check:
    code = None if row.ok else row.error_code or machine.UNKNOWN
    return Check(row.took_ms, code, token=row.kind == "token")


def _tell(seat: Seat, before: Health, after: Health) -> None:
    level = {"down": log.error, "degraded": log.warning, "healthy": log.info}[after.state]
    level(
        "endpoint_state",
        provider=seat.provider,
        endpoint=seat.name,
        state=after.state,
        before=before.state,
        cause=after.cause,
    )
