"""How the models are, for everybody: worked out from the snapshot and the board alone.

Runs beside the requests, a few models at a time, and only where something may have changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace
from typing_extensions import override

from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.errors import NotReady
from xrouter.domain.plan import Target
from xrouter.domain.ports import SnapshotSource
from xrouter.domain.routes import Route
from xrouter.domain.snapshot import EMPTY, Snapshot
from xrouter.domain.status import Condition, ModelStatus, PublicStatus, StatusView
from xrouter.flow.board import Board
from xrouter.flow.listing import OWNER, choices_of
from xrouter.flow.resolve import Choice, find

EVERY_S = 5.0
_AT_ONCE = 50
_OUT, _WEAK, _WELL = 0, 1, 2
_BREAKER = {"open": _OUT, "half-open": _WEAK, "closed": _WELL}
_PROBER = {"down": _OUT, "degraded": _WEAK, "healthy": _WELL}


class Watch(PublicStatus):
    """Remembers since when each model is as it is. clock: unix seconds."""

    def __init__(
        self, snapshots: SnapshotSource, board: Board, clock: Callable[[], float] = time.time
    ) -> None:
        self._snapshots = snapshots
        self._board = board
        self._clock = clock
        self._snapshot = EMPTY
        self._troubled: frozenset[int] = frozenset()
        self._rows: dict[str, ModelStatus] = {}
        self._view: StatusView | None = None
        self._looked_at = 0.0
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled: so that nothing between two visitors is missed."""
        while True:
            await self.turn()
            await asyncio.sleep(EVERY_S)

    @override
    async def look(self) -> StatusView:
        if self._is_old():
            async with self._turn:
                if self._is_old():
                    await self._work()
        if self._view is None:
            raise NotReady("XRouter is starting: there is no catalog yet.", retry_after=1.0)
        return self._view

    async def turn(self) -> None:
        """Look at everything that may have changed."""
        async with self._turn:
            await self._work()

    def _is_old(self) -> bool:
        age = self._clock() - self._looked_at
        return not 0 <= age < EVERY_S or self._is_new(self._snapshots.current)

    def _is_new(self, snapshot: Snapshot) -> bool:
        """Whether it says something else of the models than the one that was looked at."""
        seen = self._snapshot
        return (
            snapshot.models is not seen.models
            or snapshot.endpoints is not seen.endpoints
            or snapshot.routes is not seen.routes
        )

    async def _work(self) -> None:
        snapshot, troubled = self._snapshots.current, self._board.troubled
        if snapshot.revision < 0:
            return
        is_new, concerned = self._is_new(snapshot), troubled | self._troubled
        self._looked_at = self._clock()
        if not (is_new or concerned) and self._view is not None:
            return
        look = _Look(snapshot, self._board, troubled)
        rows: dict[str, ModelStatus] = {}
        for number, thing in enumerate(look.things()):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            known = self._rows.get(thing.model_id)
            if is_new or known is None or look.concerns(thing, concerned):
                found = look.row(thing)
                rows[thing.model_id] = replace(found, since=self._since(known, found))
            else:
                rows[thing.model_id] = known
        self._snapshot, self._troubled = snapshot, troubled
        self._show(rows)

    def _since(self, known: ModelStatus | None, found: ModelStatus) -> int | None:
        if known is not None and known.state == found.state:
            return known.since
        return None if self._view is None else int(self._clock())

    def _show(self, rows: dict[str, ModelStatus]) -> None:
        if self._view is None or rows != self._rows:
            since = int(self._clock()) if self._view is None else self._view.watched_since
            self._view = StatusView(since, tuple(rows[name] for name in sorted(rows)))
            self._rows = rows


class _Look:
    """One look at one snapshot. troubled: endpoints of which something is held back."""

    def __init__(self, snapshot: Snapshot, board: Board, troubled: frozenset[int]) -> None:
        self._snapshot = snapshot
        self._board = board
        self._troubled = troubled
        self._public = {m.model_id for m in snapshot.models.values() if m.access_group is None}
        routes = {n: route for n, route in snapshot.routes.items() if n == route.model_id}
        self._choices = {
            name: choices
            for name, route in routes.items()
            if route.access_group is None and (choices := self._open_to_all(route)) is not None
        }
        self._routes = {name: routes[name] for name in self._choices}
        self._public |= self._routes.keys()

    def things(self) -> Iterator[Model | Route]:
        """What everybody may use."""
        yield from self._routes.values()
        yield from (m for m in self._snapshot.models.values() if m.access_group is None)

    def concerns(self, thing: Model | Route, endpoints: frozenset[int]) -> bool:
        """Whether what happens to these endpoints may change how it is."""
        if isinstance(thing, Route):
            return bool(endpoints)
        found = self._snapshot.endpoints.get(thing.provider, ())
        return any(endpoint.id in endpoints for endpoint in found)

    def row(self, thing: Model | Route) -> ModelStatus:
        """How it is; since when is not known here."""
        return self._route(thing) if isinstance(thing, Route) else self._model(thing)

    def _open_to_all(self, route: Route) -> tuple[Choice, ...] | None:
        """Those choices of a route that everybody has; None when there are but others."""
        choices = choices_of(route, self._snapshot)
        found = tuple(c for c in choices if c.model.access_group is None)
        return None if choices and not found else found

    def _route(self, route: Route) -> ModelStatus:
        choices = self._choices[route.model_id] if route.is_enabled else ()
        return ModelStatus(
            id=route.model_id,
            name=route.display_name or route.name,
            provider=OWNER,
            state=_state([rank for choice in choices for rank in self._ranks(choice)]),
            channels=(),
        )

    def _model(self, model: Model) -> ModelStatus:
        first = model.versions[0]
        choices = find(model.model_id, self._snapshot).choices
        state = _state([rank for choice in choices for rank in self._ranks(choice)])
        will_go = "deprecated" in (first.status, first.channel)
        channels = (
            version.channel
            for version in model.versions
            if version.channel is not None and any(self._ranks(Choice(model, version)))
        )
        row = ModelStatus(
            id=model.model_id,
            name=model.display_name,
            provider=model.provider,
            state="deprecated" if will_go and state == "available" else state,
            channels=tuple(channels),
            vanished=model.vanished,
        )
        if not will_go and first.status != "retired":
            return row
        retires_at = None if first.retires_at is None else int(first.retires_at)
        return replace(row, successor=self._successor(first), retires_at=retires_at)

    def _successor(self, version: Version) -> str | None:
        """What everybody may use instead."""
        name = version.successor
        if name is None or self._public.isdisjoint((name, name.rpartition(":")[0])):
            return None
        return name

    def _ranks(self, choice: Choice) -> list[int]:
        """How each endpoint is that may answer for it; [] for what is switched off."""
        model, version = choice.model, choice.version
        if not model.is_available or version.status == "retired":
            return []
        return [
            self._rank(Target(endpoint, model, version))
            for endpoint in self._snapshot.endpoints.get(model.provider, ())
            if choice.endpoint in (None, endpoint.name)
        ]

    def _rank(self, target: Target) -> int:
        endpoint: Endpoint = target.endpoint
        probed = _PROBER[endpoint.state]
        if endpoint.id not in self._troubled:
            return probed
        return min(probed, _BREAKER[self._board.state(target)])


def _state(ranks: list[int]) -> Condition:
    if not any(ranks):
        return "unavailable"
    return "available" if min(ranks) == _WELL else "degraded"
