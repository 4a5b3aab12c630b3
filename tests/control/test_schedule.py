from __future__ import annotations

from typing import Any

from tests.control.conftest import Api
from typing_extensions import override

from xrouter.control.catalog.schedule import SyncSchedule
from xrouter.control.catalog.schemas import SyncIn, SyncOut
from xrouter.control.catalog.sync import SyncService
from xrouter.control.db.engine import Database


class Syncs(SyncService):
    def __init__(self) -> None:
        self.asked: list[SyncIn] = []

    @override
    async def sync(self, given: SyncIn) -> SyncOut:
        self.asked.append(given)
        return SyncOut(added=1)


async def provider(api: Api, name: str, **settings: Any) -> None:
    given = {
        "name": name,
        "base_url": "https://x.test",
        "credential": {"api_key": "k"},
        "settings": settings,
    }
    await api.ask("POST", "/providers", json=given, status=201)


async def test_a_provider_is_asked_when_its_time_has_come(api: Api, db: Database) -> None:
    await provider(api, "acme", sync_every=60)
    now, syncs = [0.0], Syncs()
    schedule = SyncSchedule(db, syncs, clock=lambda: now[0])
    assert await schedule.turn() == []
    now[0] = 59.0
    assert await schedule.turn() == []
    now[0] = 60.0
    assert await schedule.turn() == ["acme"]
    assert syncs.asked == [SyncIn(provider="acme", live=True)]
    assert await schedule.turn() == []
    await api.ask("PATCH", "/providers/acme", json={"settings": {}})
    now[0] = 600.0
    assert await schedule.turn() == []


async def test_new_models_wait_for_approval_where_it_is_asked_for(api: Api) -> None:
    await provider(api, "acme", approve_new_models=True)
    done = await api.ask("POST", "/models/sync", json={"provider": "acme"})
    assert done["added"] > 0
    found = (await api.ask("GET", "/models"))["data"]
    assert {model["is_available"] for model in found} == {False}
    changes = (await api.ask("GET", "/changes?kind=model"))["data"]
    assert {change["action"] for change in changes} == {"sync"}
