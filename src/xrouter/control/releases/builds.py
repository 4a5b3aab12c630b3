"""Writes down which builds answer, as events are drained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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

GONE_S = 600.0
"""A build that was silent for so long while another one answered is new again when it comes back:
two that answer in turn, as during a roll-out, are not."""

Place = tuple[str, str, str]
"""Model id, version, endpoint."""

_AGAIN = (
    "noted = builds.noted AND builds.last_seen >= :gone, "
    "first_seen = CASE "
    "WHEN builds.last_seen < :gone OR {0}first_seen < builds.first_seen "
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

    Remembers the builds that the database has, and when they were last seen as it was read. Their
    rows are updated: an insertion that meets its row all the same would use up an id each time.
    """

    def __init__(self) -> None:
        self._known: dict[Place, dict[str, float]] = {}

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
                gone = _gone(build, known, found[place])
                rows.append(_row(place, build, found[place][build], gone))
        if rows:
            await session.execute(_UPDATE if all_known else _ADD, rows)

    async def _of(
        self, session: AsyncSession, place: Place, builds: Mapping[str, Seen]
    ) -> dict[str, float]:
        """The builds of a place; read again for one that is not among them, while there is room,
        and for one that may have been gone.
        """
        known = self._known.get(place)
        if known is None or _is_old(known, builds):
            if len(self._known) >= MOST_PLACES:
                self._known.clear()
            model_id, version, endpoint = place
            query = select(BuildRow.build, BuildRow.last_seen).where(
                BuildRow.model_id == model_id,
                BuildRow.version == version,
                BuildRow.endpoint == endpoint,
            )
            known = self._known[place] = {row[0]: row[1] for row in await session.execute(query)}
        return known


def _is_old(known: Mapping[str, float], builds: Mapping[str, Seen]) -> bool:
    if len(known) < MOST_BUILDS and not known.keys() >= builds.keys():
        return True
    return any(
        seen.first - known.get(build, seen.first) >= GONE_S for build, seen in builds.items()
    )


def _gone(build: str, known: Mapping[str, float], builds: Mapping[str, Seen]) -> float:
    """If its row was last seen before this moment, the build comes back; 0: it was never away."""
    last, first = known.get(build), builds[build].first
    if last is None or first - last < GONE_S:
        return 0.0
    others = (at for other, at in known.items() if other != build)
    new = (seen.first for seen in builds.values() if seen.first < first)
    return first - GONE_S if any(at > last for at in (*others, *new)) else 0.0


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
        if ended < seen.first:  # noqa: PLR1730 - a call costs more than the rest of the line
            seen.first = ended
        if ended > seen.last:  # noqa: PLR1730
            seen.last = ended
        seen.answers += 1
    return found


def _row(place: Place, build: str, seen: Seen, gone: float) -> dict[str, str | float | int]:
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
        "gone": gone,
    }
