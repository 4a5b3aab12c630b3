from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import msgspec
import pytest
from sqlalchemy import insert
from tests.control.conftest import ADMIN, Api

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.kit.rooms import Rooms
from xrouter.control.releases.builds import BuildKeeper
from xrouter.control.releases.job import ReleaseJob
from xrouter.control.releases.service import ReleaseService
from xrouter.control.releases.tail import stamp
from xrouter.control.server import Services, create_app
from xrouter.domain.secret import Secret
from xrouter.domain.usage import UsageEvent

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
VERSIONS = [
    {"label": "v2", "upstream": "two@v2", "channel": "latest"},
    {"label": "v3", "upstream": "two@v3", "channel": "rc"},
    {"label": "v1", "upstream": "two@v1", "channel": "deprecated", "status": "deprecated"},
]


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def after(self, **more: float) -> str:
        """A moment from the start on, as the API takes it."""
        return (START + timedelta(**more)).isoformat()

    def turn_to(self, **more: float) -> None:
        self.now = START + timedelta(**more)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def api(services: Services, clock: Clock) -> AsyncIterator[Api]:
    """The control API with a clock of ours in the room of releases."""
    app = create_app(services, admin_token=Secret(ADMIN))
    rooms: Rooms = app.state.rooms
    rooms._services[ReleaseService] = ReleaseService(services.db, services.changed, clock)
    transport = httpx2.ASGITransport(app=app)
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://control.test", headers=headers
    ) as client:
        yield Api(client)


@pytest.fixture
async def model(api: Api) -> str:
    """A model with three versions."""
    await api.acme()
    await api.acme_model("two", versions=VERSIONS)
    return "acme/two"


@pytest.fixture
def job(services: Services, clock: Clock) -> ReleaseJob:
    return ReleaseJob(services.db, services.changed, now=clock)


class Events:
    """Usage events of a model. seconds: after the start, when their requests end."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._number = 0
        self._keeper = BuildKeeper()

    async def add(self, number: int, seconds: float = 0, **more: Any) -> None:
        at = START.timestamp() + seconds
        rows = [self._row(at, more) for _ in range(number)]
        async with self._db.write() as session:
            await session.execute(insert(UsageRow), rows)
            told = [msgspec.convert(row, UsageEvent) for row in rows]
            await self._keeper.take(session, told)

    def _row(self, at: float, more: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        given = {
            "event_id": stamp(at) + f"{self._number:016d}",
            "request_id": "req_1",
            "at": at - 1,
            "operation": "chat",
            "status": 200,
            "outcome": "ok",
            "model_served": "acme/two",
            "version": "v2",
            "provider": "acme",
            "endpoint": "primary",
            "attempts": 1,
            "streamed": True,
            "tokens_in": 1,
            "tokens_out": 1,
            "tokens_cached": 0,
            "tokens_reasoning": 0,
            "tokens_estimated": False,
            "queue_ms": 5.0,
            "first_token_ms": 105.0,
            "total_ms": 1000.0,
            "tried": [],
            "cached": False,
        }
        return given | more


@pytest.fixture
def events(db: Database) -> Events:
    return Events(db)
