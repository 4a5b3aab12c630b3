"""Writes down which builds answer, as events are drained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import override

from xrouter.control.db.tables.releases import BuildRow
from xrouter.control.drain import Taker
from xrouter.domain.usage import UsageEvent

MOST_BUILDS = 200
"""Of one version at one endpoint: a provider that names each answer anew is no news."""

MOST_PLACES = 10_000
"""Whose builds are remembered."""

MOST_CHARACTERS = 200

Place = tuple[str, str, str]
"""Model id, version, endpoint."""

_AGAIN = (
    "first_seen = CASE WHEN {0}first_seen < builds.first_seen "
    "THEN {0}first_seen ELSE builds.first_seen END, "
    "last_seen = CASE WHEN {0}last_seen > builds.last_seen "
    "THEN {0}last_seen ELSE builds.last_seen END, "
    "answers = builds.answers + {0}answers"
)
_ADD = text(
    "INSERT INTO builds "  # noqa: S608 - our words
    "(model_id, version, provider, endpoint, build, first_seen, last_seen, answers) VALUES "
    "(:model_id, :version, :provider, :endpoint, :build, :first_seen, :last_seen, :answers) "
    "ON CONFLICT (model_id, version, endpoint, build) DO UPDATE SET " + _AGAIN.format("excluded.")
)
_UPDATE = text(
    f"UPDATE builds SET {_AGAIN.format(':')} "  # noqa: S608 - our words
    "WHERE model_id = :model_id AND version = :version AND endpoint = :endpoint AND build = :build"
)


class Seen(Struct):
    """A build in one batch of events."""

    provider: str
    first: float
    last: float
    answers: int = 0


class BuildKeeper(Taker):
    """Keeps `builds`, in the order of (model id, version, endpoint, build).

    Remembers the builds that the database has. Their rows are updated: an insertion that meets its
    row all the same would use up an id each time.
    """

    def __init__(self) -> None:
        self._known: dict[Place, set[str]] = {}

    @override
    async def take(self, session: AsyncSession, events: Sequence[UsageEvent]) -> None:
        found = gathered(events)
        rows, all_known = [], True
        for place in sorted(found):
            known = await self._of(session, place, found[place])
            room = MOST_BUILDS - len(known)
            for build in sorted(found[place]):
                if build not in known:
                    if room <= 0:
                        continue
                    all_known, room = False, room - 1
                rows.append(_row(place, build, found[place][build]))
        if rows:
            await session.execute(_UPDATE if all_known else _ADD, rows)

    async def _of(self, session: AsyncSession, place: Place, builds: Iterable[str]) -> set[str]:
        """The builds of a place; read again for one that is not among them, while there is room."""
        known = self._known.get(place)
        if known is None or (len(known) < MOST_BUILDS and not known.issuperset(builds)):
            if len(self._known) >= MOST_PLACES:
                self._known.clear()
            model_id, version, endpoint = place
            query = select(BuildRow.build).where(
                BuildRow.model_id == model_id,
                BuildRow.version == version,
                BuildRow.endpoint == endpoint,
            )
            known = self._known[place] = set(await session.scalars(query))
        return known


def gathered(events: Iterable[UsageEvent]) -> dict[Place, dict[str, Seen]]:
    """Builds of answers."""
    found: dict[Place, dict[str, Seen]] = {}
    for event in events:
        build = event.build or event.upstream_model
        if event.outcome != "ok" or not build or event.cached or event.model_served is None:
            continue
        ended = event.at + event.total_ms / 1000
        place = (event.model_served, event.version or "", event.endpoint or "")
        builds = found.get(place)
        if builds is None:
            builds = found[place] = {}
        name = build[:MOST_CHARACTERS]
        seen = builds.get(name)
        if seen is None:
            seen = builds[name] = Seen(event.provider or "", ended, ended)
        seen.first = min(seen.first, ended)
        seen.last = max(seen.last, ended)
        seen.answers += 1
    return found


def _row(place: Place, build: str, seen: Seen) -> dict[str, str | float | int]:
    model_id, version, endpoint = place
    return {
        "model_id": model_id,
        "version": version,
        "provider": seen.provider,
        "endpoint": endpoint,
        "build": build,
        "first_seen": seen.first,
        "last_seen": seen.last,
        "answers": seen.answers,
    }
