"""The job of the authorization server: keys on time, grants without ground revoked, rests swept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from xrouter.control.audit import log as audit
from xrouter.control.db.changes import SYSTEM
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.oauth import CodeRow, RefreshRow, RevokedRow
from xrouter.control.identity.repository import organization
from xrouter.control.oauth import ground
from xrouter.control.oauth.grants import Grants
from xrouter.control.oauth.signing import SigningKeys
from xrouter.domain.errors import XRouterError
from xrouter.telemetry.logs import log

EVERY_S = 2.0
"""So long a token may live on after its user, client or project was switched off."""
SWEEP_EVERY_S = 3600.0


class Keeper:
    """Every process may run it: what is done already is not done again."""

    def __init__(
        self,
        db: Database,
        keys: SigningKeys,
        grants: Grants,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._keys = keys
        self._grants = grants
        self._clock = clock
        self._swept: float | None = None

    async def run(self) -> None:
        """Until cancelled. Failures are logged and tried again."""
        while True:
            try:
                await self.turn()
            except (XRouterError, SQLAlchemyError, OSError) as error:
                log.error("oauth_keeper_failed", error=str(error) or type(error).__name__)
            except Exception:  # noqa: BLE001 - a defect must not end the job
                log.exception("oauth_keeper_defect")
            await asyncio.sleep(EVERY_S)

    async def turn(self) -> None:
        """Look once. Raises DatabaseError."""
        changed = await self._keys.turn()
        changed = await self._revoke_lost() or changed
        if changed:
            self._grants.changed()
        now = self._clock()
        if self._swept is None or now - self._swept >= SWEEP_EVERY_S:
            self._swept = now
            await self._sweep()

    async def _revoke_lost(self) -> bool:
        now = self._grants.now()
        async with self._db.read() as session:
            if not await ground.lost(session, now):
                return False
        async with self._db.write() as session:
            for grant in await ground.revoke_lost(session, now):
                await audit.record(
                    session,
                    action="oauth.lost",
                    object=f"grant:{grant.grant_id}",
                    organization=await organization(session, grant.project),
                    by=SYSTEM,
                )
        return True

    async def _sweep(self) -> None:
        """Take away what has ended; grants stay, they say who allowed what."""
        now = self._grants.now()
        async with self._db.write() as session:
            for table in (CodeRow, RefreshRow):
                await session.execute(delete(table).where(table.expires_at <= now))
            await session.execute(delete(RevokedRow).where(RevokedRow.expires_at <= now))
