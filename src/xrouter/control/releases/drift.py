"""An alarm when a name begins to mean another build."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.releases import BuildRow
from xrouter.control.kit.lease import Lease
from xrouter.control.releases.builds import Place
from xrouter.control.releases.tail import LAG_S
from xrouter.telemetry.logs import log

MOST = 500
"""Rows in one turn; the next one goes on."""

_NOTE = text("UPDATE builds SET noted = true WHERE id = :row")

Drift = tuple[BuildRow, str]
"""A build, and which one was there before."""


class DriftWatch:
    """Looks at builds that nobody has looked at, and notes that they were, whichever process did.

    lease: of the process that may write, None where there is but one.
    """

    def __init__(self, db: Database, lease: Lease | None = None) -> None:
        self._db = db
        self._lease = lease

    async def look(self, now: float) -> None:
        """Tell of what is new. Raises DatabaseError."""
        async with self._db.read() as session:
            if not await _news(session, now, 1):
                return
        async with self._db.write() as session:
            if self._lease is not None:
                await self._lease.guard(session)
            found = await _drifts(session, await _news(session, now, MOST))
        for drift in found:
            _alarm(*drift)


async def _news(session: AsyncSession, now: float, limit: int) -> Sequence[BuildRow]:
    """Builds to be looked at, as they were first seen; young ones wait for other processes'."""
    query = (
        select(BuildRow)
        .where(BuildRow.noted.is_(False), BuildRow.first_seen <= now - LAG_S)
        .order_by(BuildRow.first_seen, BuildRow.id)
        .limit(limit)
    )
    return (await session.scalars(query)).all()


async def _drifts(session: AsyncSession, rows: Sequence[BuildRow]) -> list[Drift]:
    """Note builds; those that are not the first of their place, and what they are instead of."""
    found: list[Drift] = []
    last: dict[Place, str | None] = {}
    for row in rows:
        place = (row.model_id, row.version, row.endpoint)
        if place not in last:
            last[place] = await _last(session, place)
        old, last[place] = last[place], row.build
        if old is not None:
            found.append((row, old))
    ordered = sorted(rows, key=lambda row: (row.model_id, row.version, row.endpoint, row.build))
    if ordered:  # in the order in which the drains write them
        await session.execute(_NOTE, [{"row": row.id} for row in ordered])
    return found


async def _last(session: AsyncSession, place: Place) -> str | None:
    """The newest build of a place that was looked at."""
    model_id, version, endpoint = place
    return await session.scalar(
        select(BuildRow.build)
        .where(
            BuildRow.model_id == model_id,
            BuildRow.version == version,
            BuildRow.endpoint == endpoint,
            BuildRow.noted,
        )
        .order_by(BuildRow.first_seen.desc(), BuildRow.id.desc())
        .limit(1)
    )


def _alarm(row: BuildRow, old: str) -> None:
    log.error(
        "drift",
        model=row.model_id,
        version=row.version,
        endpoint=row.endpoint,
        old=old,
        new=row.build,
        hint="The provider answers with another build under the same name: "
        "check the answers, or ask for a pinned version.",
    )
