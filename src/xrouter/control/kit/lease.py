"""A job that only one process may do: who holds the lease does it, and proves it in each write.

    lease = Lease(db, "probes", holder=instance_id, ttl_s=60)
    if await lease.hold():
        async with db.write() as session:
            await lease.guard(session)
            ...

A holder that was asleep for too long finds out by the token: it rises with every new holder, and
`guard` compares it in the transaction of the write itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import Update, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.health import LeaseRow
from xrouter.domain.errors import XRouterError

Clock = Callable[[], float]
"""Unix seconds."""

_NOBODY = ""
_HOLDS = 3
_LEAVE_S = 2.0
_TAKE = text(
    "INSERT INTO leases (name, holder, token, expires_at) VALUES (:name, :holder, 1, :until) "
    "ON CONFLICT (name) DO UPDATE SET "
    "holder = excluded.holder, token = leases.token + 1, expires_at = excluded.expires_at "
    "WHERE leases.expires_at <= :now OR leases.holder = excluded.holder "
    "RETURNING token"
)


class LeaseLost(Exception):
    """Another process does the job now."""


class Lease:
    """One process's claim to a job. holder: unique for the process.

    ttl_s: for how long it is held without being renewed. clock: None for the database's where that
    is PostgreSQL, and for this machine's where it is SQLite.
    """

    def __init__(
        self, db: Database, name: str, holder: str, ttl_s: float, *, clock: Clock | None = None
    ) -> None:
        self.name = name
        self.often_s = ttl_s / _HOLDS
        """Seconds: who does not hold it so often may lose it."""
        self.token: int | None = None
        self._db = db
        self._holder = holder
        self._ttl_s = ttl_s
        self._clock = clock

    async def acquire(self) -> bool:
        """Take it, where it is free, has run out or was this holder's; the token rises."""
        async with self._db.write() as session:
            now = await database_now(session, self._clock)
            given = {"name": self.name, "holder": self._holder}
            found = await session.scalar(_TAKE, given | {"now": now, "until": now + self._ttl_s})
        self.token = None if found is None else int(found)
        return self.token is not None

    async def renew(self) -> bool:
        """Hold it for longer; False when it was never ours, or is not any more."""
        if self.token is None:
            return False
        async with self._db.write() as session:
            now = await database_now(session, self._clock)
            found = await session.scalar(
                self._ours().values(expires_at=now + self._ttl_s).returning(LeaseRow.token)
            )
        if found is None:
            self.token = None
        return found is not None

    async def hold(self) -> bool:
        """Renew it, or take it; whether it is ours now."""
        return await self.renew() or await self.acquire()

    async def release(self) -> None:
        """Let others have it at once. The row stays: tokens must go on rising."""
        if self.token is None:
            return
        async with self._db.write() as session:
            await session.execute(self._ours().values(holder=_NOBODY, expires_at=0.0))
        self.token = None

    async def leave(self) -> None:
        """As `release`, for a process that ends: bounded, and whatever fails the lease runs out."""
        with suppress(XRouterError, SQLAlchemyError, OSError, TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await self.release()

    async def guard(self, session: AsyncSession) -> None:
        """In the transaction of every write: nobody else can take it before that is committed.

        Raises LeaseLost.
        """
        query = select(LeaseRow.token).where(LeaseRow.name == self.name)
        found = await session.scalar(query.with_for_update(read=True))
        if self.token is None or found != self.token:
            self.token = None
            raise LeaseLost(f"The lease '{self.name}' is another's.")

    def _ours(self) -> Update:
        return update(LeaseRow).where(
            LeaseRow.name == self.name,
            LeaseRow.holder == self._holder,
            LeaseRow.token == self.token,
        )


async def database_now(session: AsyncSession, clock: Clock | None = None) -> float:
    """Unix seconds by the clock that all processes share; `clock` instead where it is given."""
    if clock is not None:
        return clock()
    if session.get_bind().dialect.name == "postgresql":
        return float((await session.scalars(text("SELECT extract(epoch FROM now())"))).one())
    return time.time()
