"""Tells meters what was used before they began to count: they do not read the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from xrouter.control.db.engine import Database
from xrouter.control.limits.spent import WINDOWS, spent
from xrouter.domain.errors import XRouterError
from xrouter.domain.limits import Limit
from xrouter.domain.ports import Meters, Spent
from xrouter.domain.snapshot import Snapshot
from xrouter.telemetry.logs import log

LOOK_S = 0.5
AGAIN_S = 5.0
"""Until the next try while the database is away."""
LOST_S = 3.0
"""How long meters that have lost their memory wait, so that each process says what it holds."""

Name: TypeAlias = tuple[str, str | None, str, str]


def _nobody() -> bool:
    return False


class Seeder:
    """Of each limit: at the start, when it is made, when it is switched on again, when meters that
    processes share have lost their memory, and when a process without a database asks.

    drain: puts what is in the journal into the database. lost: whether the meters know nothing.
    asked: whether somebody wants to hear it. publish: where they hear it.
    """

    def __init__(
        self,
        db: Database,
        drain: Callable[[], Awaitable[None]],
        meters: Meters,
        snapshot: Callable[[], Snapshot],
        *,
        lost: Callable[[], bool] = _nobody,
        asked: Callable[[], bool] = _nobody,
        publish: Callable[[Sequence[Spent]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._drain = drain
        self._meters = meters
        self._snapshot = snapshot
        self._lost = lost
        self._asked = asked
        self._publish = publish
        self._clock = clock
        self._seen: Mapping[str, object] | None = None
        self._known: set[Name] | None = None
        self._lost_since: float | None = None
        self._failing = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(AGAIN_S if self._failing else LOOK_S)
            await self.turn()

    async def turn(self) -> None:
        """Look once. Failures are logged, not raised."""
        snapshot, everything = self._snapshot(), self._is_all_wanted()
        if snapshot.limits is self._seen and not everything:
            return
        limits = [limit for each in snapshot.limits.values() for limit in each]
        names = {_name(limit) for limit in limits if limit.window in WINDOWS}
        if not everything and names <= (self._known or set()):
            self._seen, self._known = snapshot.limits, names
            return
        seen = snapshot.limits
        if not everything:
            snapshot = _only(snapshot, names - (self._known or set()))
        try:
            await self._tell(snapshot)
        except (XRouterError, OSError) as error:
            if not self._failing:
                log.error("limits_begin_anew", error=str(error) or type(error).__name__)
            self._failing = True
        else:
            self._failing, self._seen, self._known = False, seen, names

    def _is_all_wanted(self) -> bool:
        if not self._lost():
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = self._clock()
        is_lost = self._lost_since is not None and self._clock() - self._lost_since >= LOST_S
        return self._asked() or is_lost or self._known is None

    async def _tell(self, snapshot: Snapshot) -> None:
        found: list[Spent] = []
        if snapshot.limits:
            await self._drain()
            found = await spent(self._db, snapshot)
        self._meters.seed(found)
        self._lost_since = None
        if self._publish is not None:
            await asyncio.to_thread(self._publish, found)


def _name(limit: Limit) -> Name:
    """One counter for each of its kind."""
    return limit.subject, limit.model, limit.meter, limit.window


def _only(snapshot: Snapshot, names: set[Name]) -> Snapshot:
    kept = {
        subject: tuple(limit for limit in limits if _name(limit) in names)
        for subject, limits in snapshot.limits.items()
    }
    return replace(snapshot, limits={subject: limits for subject, limits in kept.items() if limits})
