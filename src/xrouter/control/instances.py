"""The processes that share a database, each with the revision of the catalog that it runs."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import repository
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.health import InstanceRow
from xrouter.control.kit.lease import Clock, database_now
from xrouter.control.kit.rooms import room
from xrouter.control.kit.schemas import Out, Page
from xrouter.domain.errors import XRouterError
from xrouter.telemetry.logs import log

EVERY_S = 5.0
LOOK_S = 0.5
GRACE_S = 5.0
SILENT_S = 15.0
FORGET_S = 600.0
_REMEMBERED = 1000
_LEAVE_S = 2.0
_ALARMS = ("revision_disagreement", "instance_silent")


class InstanceOut(Out):
    """A process. revision: that it runs, -1 before the first. Times: unix seconds.

    behind: it should have had a newer revision for more than five seconds. silent: it has not been
    heard for more than fifteen, and has not said that it leaves.
    """

    instance_id: str
    host: str
    pid: int
    role: str
    revision: int
    behind: bool
    silent: bool
    started_at: float
    seen_at: float


class Instances:
    """Who is behind. clock: None for the database's where it has one."""

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock
        self._appeared: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)

    async def all(self) -> Page[InstanceOut]:
        """Those that were seen in the last minutes, by name."""
        async with self._db.read() as session:
            newest = await repository.revision(session)
            rows = await _rows(session)
            now = await database_now(session, self._clock)
        if self._appeared:  # else this process only looks, and knows of no change when it came
            self._remember(newest, now)
        return Page(data=[self._out(row, newest, now) for row in rows])

    async def note(self, session: AsyncSession, now: float) -> list[InstanceOut]:
        """All of them, after a look at the catalog's revision: when it came is remembered."""
        newest = await repository.revision(session)
        self._remember(newest, now)
        return [self._out(row, newest, now) for row in await _rows(session)]

    def _remember(self, newest: int, now: float) -> None:
        if not self._appeared or self._appeared[-1][0] < newest:
            self._appeared.append((newest, now))

    def _out(self, row: InstanceRow, newest: int, now: float) -> InstanceOut:
        fields = {c.key: getattr(row, c.key) for c in InstanceRow.__table__.columns}
        silent = row.seen_at < now - SILENT_S
        return InstanceOut(**fields, behind=self._is_behind(row, newest), silent=silent)

    def _is_behind(self, row: InstanceRow, newest: int) -> bool:
        """A revision that appeared a moment before the process was last seen is no reproach."""
        if row.revision >= newest:
            return False
        came = next((at for revision, at in self._appeared if revision > row.revision), None)
        return came is None or row.seen_at > came + GRACE_S


class Beat:
    """Says every five seconds, and soon when it runs another revision, that this process lives.

    revision: gives the one that it runs.
    """

    def __init__(
        self,
        db: Database,
        instances: Instances,
        instance_id: str,
        role: str,
        revision: Callable[[], int],
        *,
        clock: Clock | None = None,
    ) -> None:
        self._db = db
        self._instances = instances
        self._id = instance_id
        self._role = role
        self._revision = revision
        self._clock = clock
        self._started_at = (clock or time.time)()
        self._behind: set[str] = set()
        self._silent: set[str] = set()
        self._said = -1
        self._failing = False

    async def run(self) -> None:
        """Until cancelled; then it is not missed."""
        try:
            while True:
                await self.turn()
                await self._rest()
        finally:
            with suppress(XRouterError, SQLAlchemyError, OSError, TimeoutError):
                async with asyncio.timeout(_LEAVE_S), self._db.write() as session:
                    ours = delete(InstanceRow).where(InstanceRow.instance_id == self._id)
                    await session.execute(ours)

    async def _rest(self) -> None:
        for _ in range(round(EVERY_S / LOOK_S)):
            await asyncio.sleep(LOOK_S)
            if self._revision() != self._said:
                return

    async def turn(self) -> None:
        """Once. Failures are logged, once, not raised."""
        self._said = self._revision()
        try:
            async with self._db.write() as session:
                now = await database_now(session, self._clock)
                await self._say(session, now)
                listed = await self._instances.note(session, now)
        except (XRouterError, SQLAlchemyError, OSError) as error:
            if not self._failing:
                log.error("instance_not_seen", error=str(error) or type(error).__name__)
            self._failing = True
            return
        self._failing = False
        self._compare(listed)

    async def _say(self, session: AsyncSession, now: float) -> None:
        gone = delete(InstanceRow).where(InstanceRow.seen_at < now - FORGET_S)
        await session.execute(gone)
        await session.merge(
            InstanceRow(
                instance_id=self._id,
                host=platform.node(),
                pid=os.getpid(),
                role=self._role,
                revision=self._revision(),
                started_at=self._started_at,
                seen_at=now,
            )
        )
        await session.flush()

    def _compare(self, listed: Sequence[InstanceOut]) -> None:
        """Tell of each once when something is wrong with it, and once when it is well again."""
        for each in listed:
            if each.behind != (each.instance_id in self._behind):
                _tell("revision_disagreement" if each.behind else "revision_agreement", each)
            if each.silent != (each.instance_id in self._silent):
                _tell("instance_silent" if each.silent else "instance_heard_again", each)
        self._behind = {each.instance_id for each in listed if each.behind}
        self._silent = {each.instance_id for each in listed if each.silent}


def _tell(event: str, each: InstanceOut) -> None:
    tell = log.error if event in _ALARMS else log.info
    tell(event, instance=each.instance_id, host=each.host, revision=each.revision)


async def _rows(session: AsyncSession) -> Sequence[InstanceRow]:
    return (await session.scalars(select(InstanceRow).order_by(InstanceRow.instance_id))).all()


router = APIRouter(tags=["state"])


@router.get("/instances")
async def list_instances(instances: Annotated[Instances, room(Instances)]) -> Page[InstanceOut]:
    """List the running processes and the revisions that they run."""
    return await instances.all()
