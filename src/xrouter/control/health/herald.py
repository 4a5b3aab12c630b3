"""Tells the listeners of this process what was written down, by whichever process."""

from __future__ import annotations

from typing import get_args

from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.health import EndpointStateRow
from xrouter.control.health import repository
from xrouter.control.health.events import Events
from xrouter.control.health.schemas import IncidentOut, StateChange
from xrouter.domain.catalog import State

STATES: frozenset[State] = frozenset(get_args(State))


def state_of(row: EndpointStateRow | None) -> State:
    """The state of a row; any writer may have written it."""
    for state in STATES:
        if row is not None and row.state == state:
            return state
    return "healthy"


class Herald:
    """Compares what is written with what it has told; begins with what it finds."""

    def __init__(self, db: Database, events: Events) -> None:
        self._db = db
        self._events = events
        self._states: dict[int, State] | None = None
        self._lasting: dict[int, str] = {}
        self._last_id = 0

    async def tell(self) -> None:
        """Publish what is new. Raises DatabaseError."""
        async with self._db.read() as session:
            listed = await repository.endpoints(session)
            if self._states is None:
                self._last_id = await repository.last_incident(session)
                for lasting in await repository.open_incidents(session):
                    self._lasting[lasting.id] = lasting.state
            else:
                await self._tell_incidents(session)
        before = self._states
        self._states = {endpoint.id: state_of(row) for endpoint, _, row in listed}
        for endpoint, _, row in listed:
            state = self._states[endpoint.id]
            was = state if before is None else before.get(endpoint.id, "healthy")
            if state != was:
                change = StateChange(
                    provider=endpoint.provider,
                    endpoint=endpoint.name,
                    state=state,
                    before=was,
                    since=None if row is None else row.since,
                    cause=None if row is None else row.cause,
                )
                self._events.publish("state", change)

    async def _tell_incidents(self, session: AsyncSession) -> None:
        for row in await repository.incidents_since(session, self._last_id, self._lasting):
            if row.ended_at is not None or self._lasting.get(row.id) != row.state:
                self._events.publish("incident", IncidentOut.model_validate(row))
            self._lasting[row.id] = row.state
            if row.ended_at is not None:
                del self._lasting[row.id]
            self._last_id = max(self._last_id, row.id)
