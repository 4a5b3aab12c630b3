"""Syncs with the providers' own lists, as often as their settings say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from xrouter.control.catalog.schemas import SyncIn
from xrouter.control.catalog.sync import SyncService
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import ProviderRow
from xrouter.control.kit.lease import Lease
from xrouter.domain.errors import XRouterError
from xrouter.telemetry.logs import log

LOOK_S = 20.0


class SyncSchedule:
    """Asks each provider when its time has come; the first time, one interval after the start."""

    def __init__(
        self,
        db: Database,
        sync: SyncService,
        lease: Lease | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """lease: None where no other process can do the same."""
        self._db = db
        self._sync = sync
        self._lease = lease
        self._clock = clock
        self._due: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled. Failures are logged and tried again at the next time."""
        try:
            await self._go_on()
        finally:
            if self._lease is not None:
                await self._lease.leave()

    async def _go_on(self) -> None:
        look_s = LOOK_S if self._lease is None else min(LOOK_S, self._lease.often_s)
        while True:
            try:
                await self.turn()
            except (XRouterError, SQLAlchemyError, OSError) as error:
                log.error("sync_failed", error=str(error) or type(error).__name__)
            except Exception:  # noqa: BLE001 - a defect must not end the job
                log.exception("sync_defect")
            await asyncio.sleep(look_s)

    async def turn(self) -> list[str]:
        """Sync those whose time has come; their names. Raises DatabaseError."""
        if self._lease is not None and not await self._lease.hold():
            return []
        async with self._db.read() as session:
            query = select(ProviderRow.name, ProviderRow.settings).where(ProviderRow.is_enabled)
            wanted = {row.name: _interval(row.settings) for row in await session.execute(query)}
        now = self._clock()
        done = []
        for name, every_s in wanted.items():
            if every_s is None:
                self._due.pop(name, None)
                continue
            due = min(self._due.get(name, now + every_s), now + every_s)
            if due <= now:
                await self._once(name)
                done.append(name)
                due = now + every_s
            self._due[name] = due
        return done

    async def _once(self, name: str) -> None:
        try:
            found = await self._sync.sync(SyncIn(provider=name, live=True))
        except XRouterError as error:
            log.error("sync_failed", provider=name, error=error.message)
            return
        for failure in found.failed:
            log.error("sync_failed", provider=name, error=failure.error, hint=failure.hint)
        if found.added or found.vanished:
            log.warning("models_changed", provider=name, added=found.added, vanished=found.vanished)


def _interval(settings: Any) -> float | None:
    """Seconds, None for never; any writer may have written it."""
    every = settings.get("sync_every") if isinstance(settings, dict) else None
    good = isinstance(every, int | float) and not isinstance(every, bool) and every > 0
    return float(every) if good and every is not None else None
