"""What happens to releases at their times: canaries begin, are watched and end; versions retire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime

from msgspec import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import repository as catalog
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.catalog import ModelRow
from xrouter.control.db.tables.releases import ReleaseRow
from xrouter.control.kit.lease import Lease, LeaseLost
from xrouter.control.releases import moves, repository, steps
from xrouter.control.releases.canary import Watch
from xrouter.control.releases.drift import DriftWatch
from xrouter.control.releases.repository import LIVE
from xrouter.domain.errors import XRouterError
from xrouter.telemetry.logs import log

EVERY_S = 1.0
"""While a canary runs, or something has just been done or has failed."""

IDLE_S = 5.0
"""Else, unless something is due earlier or somebody pokes."""

Step = Callable[[AsyncSession, ReleaseRow, ModelRow, datetime], Awaitable[None]]


class ReleaseJob:
    """Runs in one process at a time: the one that holds the lease; None where there is but one.

    changed: called after each turn that wrote something into the catalog.
    """

    def __init__(
        self,
        db: Database,
        changed: Callable[[], None],
        *,
        lease: Lease | None = None,
        now: Callable[[], datetime] = utc_now,
        every_s: float = EVERY_S,
    ) -> None:
        self._db = db
        self._changed = changed
        self._lease = lease
        self._now = now
        self._every_s = every_s
        self._pause_s = every_s
        self._poked = asyncio.Event()
        self._drift = DriftWatch(db, lease)
        self._watches: dict[int, Watch] = {}
        self._kept: set[tuple[str, str]] = set()

    def poke(self) -> None:
        """Look at once: something was written."""
        self._poked.set()

    async def run(self) -> None:
        """Until cancelled. Failures are logged once and tried again."""
        try:
            await self._go_on()
        finally:
            if self._lease is not None:
                await self._lease.leave()

    async def _go_on(self) -> None:
        failing = False
        while True:
            self._poked.clear()
            self._pause_s = self._every_s
            try:
                await self.turn()
            except (XRouterError, SQLAlchemyError, OSError) as error:
                if not failing:
                    log.error("releases_not_done", error=str(error) or type(error).__name__)
                failing = True
            except Exception:  # noqa: BLE001 - a defect must not end the job
                if not failing:
                    log.exception("releases_defect")
                failing = True
            else:
                failing = False
            await self._rest()

    async def _rest(self) -> None:
        pause_s = self._pause_s
        if self._lease is not None:
            pause_s = min(pause_s, self._lease.often_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._poked.wait()

    async def turn(self) -> None:
        """Do what is due, where this is the process that does it. Raises DatabaseError."""
        try:
            if self._lease is None or await self._lease.hold():
                await self._turn()
                return
        except LeaseLost as error:
            log.warning("releases_left", error=str(error))
        self._watches.clear()
        self._pause_s = IDLE_S

    async def _turn(self) -> None:
        now = self._now()
        async with self._db.read() as session:
            live = await repository.releases(session, statuses=LIVE)
            retiring = await repository.retiring(session, now)
        self._watches = {row.id: w for row, _ in live if (w := self._watches.get(row.id))}
        wrote = False
        for row, model in reversed(live):
            wrote |= await self._release(row, model, now)
        for model_id in retiring:
            wrote |= await self._retire(model_id, now)
        if wrote:
            self._changed()
        await self._drift.look(now.timestamp())
        self._pause_s = self._every_s if wrote else self._until_due((row for row, _ in live), now)

    def _until_due(self, live: Iterable[ReleaseRow], now: datetime) -> float:
        """Seconds until there is something to look at."""
        left = IDLE_S
        for row in live:
            if row.status == "canary":
                return self._every_s
            left = min(left, ((row.canary_from or row.at) - now).total_seconds())
        return max(self._every_s, left)

    async def _release(self, row: ReleaseRow, model: ModelRow, now: datetime) -> bool:
        """One release, as far as it goes now; whether something was written."""
        if row.status == "planned" and row.canary_from is not None:
            return row.canary_from <= now and await self._step(row.id, now, self._begin)
        if row.status == "canary":
            reason = await self._watched(row, model, now)
            if reason is not None:
                return await self._broken(row, now, reason)
            caught_up = row.id not in self._watches or self._watches[row.id].caught_up
            if not caught_up:
                return False
        return row.at <= now and await self._step(row.id, now, self._finish)

    async def _watched(self, row: ReleaseRow, model: ModelRow, now: datetime) -> str | None:
        """Why the canary must go, None while it may stay."""
        watch = self._watches.get(row.id)
        if watch is None:
            try:
                bounds = steps.bounds(row)
            except ValidationError as error:
                return f"its bounds make no sense: {error}"
            usual = moves.holder(model, row.channel)
            began = row.canary_from or row.at
            watch = Watch(
                self._db,
                model.model_id,
                bounds,
                None if usual is None else usual.label,
                began.timestamp(),
            )
            self._watches[row.id] = watch
        await watch.look(now.timestamp())
        return watch.broken() or (watch.unfit() if row.at <= now else None)

    async def _broken(self, row: ReleaseRow, now: datetime, reason: str) -> bool:
        async def roll_back(
            session: AsyncSession, row: ReleaseRow, model: ModelRow, _now: datetime
        ) -> None:
            await steps.roll_back(session, row, model, reason)
            log.error(
                "canary_rolled_back",
                release=row.id,
                model=model.model_id,
                version=row.label,
                reason=reason,
            )

        return await self._step(row.id, now, roll_back)

    async def _begin(
        self, session: AsyncSession, row: ReleaseRow, model: ModelRow, now: datetime
    ) -> None:
        steps.candidate(model, row.label)
        await steps.begin(session, row, model, now)
        log.info("canary_begun", release=row.id, model=model.model_id, version=row.label)

    async def _finish(
        self, session: AsyncSession, row: ReleaseRow, model: ModelRow, _now: datetime
    ) -> None:
        await steps.finish(session, row, model)
        log.info(
            "released",
            release=row.id,
            model=model.model_id,
            version=row.label,
            channel=row.channel,
            replaced=row.replaced,
        )

    async def _step(self, release_id: int, now: datetime, step: Step) -> bool:
        """One transaction; a release that was ended by others meanwhile is left alone."""
        async with self._db.write() as session:
            await self._prove(session)
            row, model = await repository.release(session, release_id, lock=True)
            if row.status not in LIVE:
                return False
            try:
                await step(session, row, model, now)
            except steps.Impossible as error:
                await steps.end(session, row, model, "failed", str(error))
                log.error("release_failed", release=row.id, model=model.model_id, reason=str(error))
        return True

    async def _prove(self, session: AsyncSession) -> None:
        if self._lease is not None:
            await self._lease.guard(session)

    async def _retire(self, model_id: str, now: datetime) -> bool:
        wrote = False
        async with self._db.write() as session:
            await self._prove(session)
            model = await catalog.model(session, model_id)
            for version in model.versions:
                over = version.retires_at is not None and version.retires_at <= now
                if not over or version.status == moves.RETIRED:
                    continue
                if moves.may_retire(model, version):
                    await steps.retire(session, model, version)
                    log.info("version_retired", model=model_id, version=version.label)
                    wrote = True
                elif (model_id, version.label) not in self._kept:
                    self._kept.add((model_id, version.label))
                    log.error(
                        "version_not_retired",
                        model=model_id,
                        version=version.label,
                        hint="It is the model's last active version: release another one.",
                    )
        return wrote
