"""Delivers snapshots to the data plane when the catalog's revision changes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from xrouter.control.catalog import repository
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.db.engine import Database
from xrouter.control.publish.build import build_snapshot
from xrouter.control.publish.shelving import Shelving, Sizes
from xrouter.domain.errors import XRouterError
from xrouter.domain.snapshot import Snapshot
from xrouter.stores.vault import Vault
from xrouter.telemetry.logs import log

EVERY_S = 0.25
FAILING_S = 1.0
TURN_S = 60.0


def _nobody(_stale: bool) -> None:  # noqa: FBT001 - the shape of a callback
    return


class Publisher:
    """Looks at the revision four times a second and delivers a snapshot when it has changed, or
    when a price or a date in the last one begins.

    stale: told True when the database cannot be asked any more, False when it can again. The last
    snapshot stays in use meanwhile. every_s: gives how long to wait before the next look.
    now: unix seconds. issuer: of access tokens. folder: of the snapshot file, where files of keys
    lie when there are very many; sizes: from when on.
    """

    def __init__(
        self,
        db: Database,
        vault: Vault,
        adapters: Adapters,
        deliver: Callable[[Snapshot], Awaitable[None]],
        folder: Path,
        *,
        stale: Callable[[bool], None] = _nobody,
        every_s: Callable[[], float] = lambda: EVERY_S,
        now: Callable[[], float] = time.time,
        issuer: str = "",
        sizes: Sizes | None = None,
    ) -> None:
        self._db = db
        self._vault = vault
        self._adapters = adapters
        self._deliver = deliver
        self._stale = stale
        self._every_s = every_s
        self._now = now
        self._issuer = issuer
        self._poked = asyncio.Event()
        self._shelving = Shelving(db, vault.pepper_id, folder, self.poke, sizes=sizes)
        self._failing = False
        self._delivered: int | None = None
        self._awaited_shelf = False
        self._valid_until = math.inf
        self._turn = asyncio.Lock()

    def poke(self) -> None:
        """Look at once: something was written."""
        self._poked.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._poked.clear()
                await self.turn()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_s()):
                        await self._poked.wait()
        finally:
            await self._shelving.close()

    def _pause_s(self) -> float:
        """Until the next look: no longer than until something begins."""
        if self._failing:
            return FAILING_S
        return min(self._every_s(), max(0.0, self._valid_until - self._now()))

    async def turn(self) -> None:
        """Look once, and deliver if there is something new. Failures are logged, not raised."""
        try:
            async with self._turn, asyncio.timeout(TURN_S):
                await self._publish()
        except (XRouterError, SQLAlchemyError, OSError) as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - a defect must not end the publishing
            if not self._failing:
                log.exception("snapshot_defect")
            self._failed(error)
        else:
            self._worked()

    async def _publish(self) -> None:
        async with self._db.read() as session:
            revision = await repository.revision(session)
            need = await self._shelving.look(session, revision)
        is_new = await self._shelving.settle(need)
        stock, now = self._shelving.stock, self._now()
        is_old = revision == self._delivered and stock.awaits_shelf is self._awaited_shelf
        if is_old and now < self._valid_until and not is_new:
            return
        snapshot = await build_snapshot(
            self._db,
            self._vault,
            self._adapters,
            now,
            issuer=self._issuer,
            stock=stock,
        )
        await self._deliver(snapshot)
        self._delivered, self._awaited_shelf = snapshot.revision, stock.awaits_shelf
        self._valid_until = snapshot.valid_until or math.inf
        log.info(
            "snapshot_delivered",
            revision=snapshot.revision,
            models=len(snapshot.models),
            keys=stock.known,
        )

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            hint = getattr(error, "hint", None)
            log.error("catalog_not_read", error=str(error) or type(error).__name__, hint=hint)
        self._failing = True
        self._stale(True)

    def _worked(self) -> None:
        if self._failing:
            log.info("catalog_read_again", revision=self._delivered)
            self._stale(False)
        self._failing = False
