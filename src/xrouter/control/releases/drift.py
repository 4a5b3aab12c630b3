"""Builds behind names: which have answered, and an alarm when a name begins to mean another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from sqlalchemy import Row, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.releases import BuildRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.kit.lease import Lease
from xrouter.control.releases.tail import BATCHES, Tail, moment
from xrouter.telemetry.logs import log

FIRST_LOOK_S = 86400.0
"""How far back the first look of all goes."""

MOST_BUILDS = 200
"""Of one version at one endpoint: a provider that names each answer anew is no news."""

MOST_CHARACTERS = 200

_Place = tuple[str, str, str]
"""Model id, version, endpoint."""


class _Seen(Struct):
    """A build in one batch of events."""

    provider: str
    first: float
    last: float
    answers: int = 0


class DriftWatch:
    """Goes on where the newest build was seen, whichever process saw it.

    lease: of the process that may write, None where there is but one.
    """

    def __init__(self, db: Database, lease: Lease | None = None) -> None:
        self._db = db
        self._lease = lease
        self._tail: Tail | None = None
        self._known: dict[_Place, dict[str, None]] = {}

    def forget(self) -> None:
        """Begin anew the next time: another process did this meanwhile, or not all was kept."""
        self._tail = None

    async def look(self, now: float) -> None:
        """Take in what is new. Raises DatabaseError."""
        if self._tail is None:
            self._tail = await self._open(now)
        try:
            for _ in range(BATCHES):
                found = _gathered(await self._tail.read(now))
                if found:
                    await self._keep(found)
                if self._tail.caught_up:
                    return
        except BaseException:
            self.forget()
            raise

    async def _open(self, now: float) -> Tail:
        self._known = {}
        async with self._db.read() as session:
            last = await session.scalar(select(func.max(BuildRow.last_seen)))
            rows = await session.scalars(
                select(BuildRow).order_by(BuildRow.first_seen, BuildRow.id)
            )
            for row in rows:
                place = (row.model_id, row.version, row.endpoint)
                self._known.setdefault(place, {})[row.build] = None
        named = or_(UsageRow.build.is_not(None), UsageRow.upstream_model.is_not(None))
        return Tail(self._db, now - FIRST_LOOK_S if last is None else last, named)

    async def _keep(self, found: dict[_Place, dict[str, _Seen]]) -> None:
        fresh: list[tuple[_Place, str, str | None]] = []
        async with self._db.write() as session:
            if self._lease is not None:
                await self._lease.guard(session)
            for place, builds in found.items():
                known = dict(self._known.get(place, {}))
                for build, seen in builds.items():
                    if build in known:
                        await _again(session, place, build, seen)
                    elif len(known) < MOST_BUILDS:
                        session.add(_row(place, build, seen))
                        fresh.append((place, build, next(reversed(known), None)))
                        known[build] = None
        for place, build, old in fresh:
            self._known.setdefault(place, {})[build] = None
            if old is not None:
                _alarm(place, old, build)


def _gathered(events: Iterable[Row[*tuple[Any, ...]]]) -> dict[_Place, dict[str, _Seen]]:
    """Builds of answers, in the order in which they came."""
    found: dict[_Place, dict[str, _Seen]] = defaultdict(dict)
    for event in events:
        build = event.build or event.upstream_model
        if event.outcome != "ok" or not build or event.model_served is None:
            continue
        ended = moment(event.event_id) or event.at
        place = (event.model_served, event.version or "", event.endpoint or "")
        seen = found[place].setdefault(
            build[:MOST_CHARACTERS], _Seen(event.provider or "", ended, ended)
        )
        seen.last = max(seen.last, ended)
        seen.answers += 1
    return found


async def _again(session: AsyncSession, place: _Place, build: str, seen: _Seen) -> None:
    model_id, version, endpoint = place
    await session.execute(
        update(BuildRow)
        .where(
            BuildRow.model_id == model_id,
            BuildRow.version == version,
            BuildRow.endpoint == endpoint,
            BuildRow.build == build,
        )
        .values(last_seen=seen.last, answers=BuildRow.answers + seen.answers)
    )


def _row(place: _Place, build: str, seen: _Seen) -> BuildRow:
    model_id, version, endpoint = place
    return BuildRow(
        model_id=model_id,
        version=version,
        provider=seen.provider,
        endpoint=endpoint,
        build=build,
        first_seen=seen.first,
        last_seen=seen.last,
        answers=seen.answers,
    )


def _alarm(place: _Place, old: str, new: str) -> None:
    model_id, version, endpoint = place
    log.error(
        "drift",
        model=model_id,
        version=version,
        endpoint=endpoint,
        old=old,
        new=new,
        hint="The provider answers with another build under the same name: "
        "check the answers, or ask for a pinned version.",
    )
