"""Keeps the publisher's stock of keys small: where there are many, they go on a shelf."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import repository
from xrouter.control.db.engine import Database
from xrouter.control.publish.press import UNFINISHED, Order, Pressed, order, press_apart
from xrouter.control.publish.stock import NOTHING, KeyStock, is_short
from xrouter.domain.errors import XRouterError
from xrouter.telemetry.logs import log

FEW, CHANGED, MOST = 20_000, 10_000, 40_000
"""Rows that need no shelf; rows beside a shelf before a new one is made; rows read at once."""
COUNT_EVERY_S = 5.0
AGAIN_S = 60.0


class Sizes(Struct, frozen=True):
    """few, changed, most: as the constants."""

    few: int = FEW
    changed: int = CHANGED
    most: int = MOST


class Need(Enum):
    """Of a new shelf: before anything can be published, in the background, or none."""

    NOW = "now"
    SOON = "soon"
    NONE = "none"


class Shelving:
    """Belongs to one publisher. folder: where files of keys lie, beside the snapshot file.

    ready: called when a new shelf waits to be taken into use. clock: monotonic seconds.
    """

    def __init__(
        self,
        db: Database,
        pepper_id: str,
        folder: Path,
        ready: Callable[[], None],
        *,
        sizes: Sizes | None = None,
        make: Callable[[Order], Awaitable[Pressed]] = press_apart,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stock = KeyStock(pepper_id)
        self._db = db
        self._pepper_id = pepper_id
        self._folder = folder
        self._ready = ready
        self._sizes = sizes or Sizes()
        self._make = make
        self._clock = clock
        self._work: asyncio.Task[Pressed] | None = None
        self._again_at = 0.0
        self._is_short = False
        self._counted = NOTHING
        self._count_at = 0.0

    async def look(self, session: AsyncSession, revision: int) -> Need:
        """Whether there is need of a new shelf. revision: that the session sees."""
        sizes, stock = self._sizes, self.stock
        if await self._is_much(session, revision):
            return Need.NOW
        if stock.has_shelf and revision != self._counted and self._clock() >= self._count_at:
            self._is_short = await stock.is_short(session)
            self._counted, self._count_at = revision, self._clock() + COUNT_EVERY_S
        most = sizes.changed if stock.has_shelf else sizes.few
        is_off = self._is_short or stock.is_damaged
        return Need.SOON if is_off or stock.size > most else Need.NONE

    async def settle(self, need: Need) -> bool:
        """Make a shelf where there is need, and take a finished one into use; whether it did.

        Waits for the first one; then raises XRouterError, OSError.
        """
        is_first = need is Need.NOW and not self.stock.has_shelf
        if self._work is None and (is_first or self._is_due(need)):
            self._work = asyncio.create_task(self._press(is_urgent=is_first))
            self._work.add_done_callback(lambda _: self._ready())
        if self._work is not None and is_first:
            await asyncio.wait({self._work})
        is_new, self.stock.awaits_shelf = False, need is Need.NOW
        if self._work is not None and self._work.done():
            work, self._work = self._work, None
            try:
                is_new = await self._adopt(work.result(), needed=is_first)
            except (XRouterError, OSError) as error:
                if is_first:
                    raise
                self._again_at = self._clock() + AGAIN_S
                log.error("key_file_not_made", error=str(error))
        return is_new

    async def close(self) -> None:
        """Give up what is being made."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _is_much(self, session: AsyncSession, revision: int) -> bool:
        most = self._sizes.most
        return await self.stock.waiting(session, revision, most + 1) > most

    def _is_due(self, need: Need) -> bool:
        return need is not Need.NONE and self._clock() >= self._again_at

    async def _press(self, *, is_urgent: bool) -> Pressed:
        given = order(self._db, self._folder, self._pepper_id, is_urgent=is_urgent)
        return await self._make(given)

    async def _adopt(self, pressed: Pressed, *, needed: bool) -> bool:
        """Whether it was taken into use. needed: whether there is nothing else to go on with."""
        name, folder = pressed.info.name, self._folder
        async with self._db.read() as session:
            revision = await repository.revision(session)
            if revision < pressed.revision:
                return False  # of another database
            if await is_short(session, pressed) and not needed:
                return False  # rows were deleted meanwhile: they must not come back
            (folder / (name + UNFINISHED)).rename(folder / name)
            self.stock.adopt(pressed, folder)
            self.stock.awaits_shelf = await self._is_much(session, revision)
        self._is_short, self._counted = False, NOTHING
        log.info("key_file_made", file=name, revision=pressed.revision, keys=pressed.count)
        for what, count in (("foreign", pressed.foreign), ("unreadable", pressed.unreadable)):
            if count:
                log.error("keys_skipped", reason=what, count=count)
        if pressed.rows <= self._sizes.few:
            self.stock.forget()  # they need no shelf any more
        return True
