"""Hearing at once, through PostgreSQL, that another process has changed the catalog.

Only a help: who looks at the revision regularly finds every change all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from xrouter.control.db.engine import CONNECT_S, Database
from xrouter.control.db.triggers import CHANNEL
from xrouter.telemetry.logs import log

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
CHECK_S = 15.0
_SETTINGS = {"application_name": "xrouter-signals"}


class Listener:
    """Calls `changed` for each notification.

    Also when its connection was made or lost, for some may have been missed, and who looks rarely
    must look more often. It has a connection of its own. With SQLite there is nothing to listen to.
    """

    def __init__(
        self,
        db: Database,
        changed: Callable[[], None],
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        check_s: float = CHECK_S,
    ) -> None:
        """first_pause_s: before connecting again; doubled each time, up to five seconds.

        check_s: how often the connection is asked whether it is still there, and for how long.
        """
        self._url = db.url
        self._hears = db.dialect == "postgresql"
        self._changed = changed
        self._first_pause_s = first_pause_s
        self._check_s = check_s
        self._failing = False
        self.live = False
        """Whether changes are heard of at the moment."""

    async def run(self) -> None:
        """Until cancelled; with SQLite it returns at once. Failures are logged, not raised."""
        if not self._hears:
            return
        pause = self._first_pause_s
        engine = create_async_engine(
            self._url,
            poolclass=NullPool,
            connect_args={"timeout": CONNECT_S, "server_settings": _SETTINGS},
        )
        try:
            while True:
                if await self.turn(engine):
                    pause = self._first_pause_s
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
        finally:
            await engine.dispose()

    async def turn(self, engine: AsyncEngine) -> bool:
        """Listen as long as one connection lasts; whether it came to that."""
        was_live = False
        try:
            async with _connected(engine) as connection:
                ended = asyncio.Event()
                connection.add_termination_listener(lambda _connection: ended.set())
                await connection.add_listener(CHANNEL, self._heard)
                was_live = self.live = True
                self._worked()
                self._tell()
                await self._last(connection, ended)
        except Exception as error:  # noqa: BLE001 - the driver's errors have no common parent
            self._failed(str(error) or type(error).__name__)
        else:
            self._failed("the connection was closed")
        finally:
            self.live = False
        if was_live:
            self._tell()
        return was_live

    async def _last(self, connection: Any, ended: asyncio.Event) -> None:
        """Until the connection has ended. A network that is gone says nothing, hence the checks."""
        while not ended.is_set():
            try:
                async with asyncio.timeout(self._check_s):
                    await ended.wait()
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=self._check_s)

    def _heard(self, *_what: object) -> None:
        self._tell()

    def _tell(self) -> None:
        try:
            self._changed()
        except Exception:  # noqa: BLE001 - a defect of others must not end the listening
            log.exception("signal_defect")

    def _worked(self) -> None:
        if self._failing:
            log.info("signals_heard_again")
        self._failing = False

    def _failed(self, reason: str) -> None:
        if not self._failing:
            log.error("signals_not_heard", error=reason)
        self._failing = True


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[Any]:
    """The driver's own connection, outside of any transaction."""
    async with engine.connect() as ours:
        connection: Any = (await ours.get_raw_connection()).driver_connection
        try:
            yield connection
        finally:
            connection.terminate()  # a goodbye could wait for ever where the network is gone
