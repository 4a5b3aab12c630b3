"""Limits through the API, and on to the snapshot."""

from __future__ import annotations

from typing import Any

import pytest
from tests.control.conftest import Api
from tests.control.fakes import adapters

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import LimitRow
from xrouter.control.publish.build import build_snapshot
from xrouter.control.server import Services
from xrouter.domain.limits import Limit
from xrouter.domain.ports import Want
from xrouter.stores.memory.meters import MemoryMeters
from xrouter.stores.vault import Vault

DAILY = {"subject": "key:*", "meter": "requests", "window": "day", "amount": 100}
BUDGET = {"subject": "project:demo", "meter": "money", "window": "month", "amount": "150.50"}


async def made(api: Api, **more: Any) -> Any:
    return await api.ask("POST", "/limits", json={**DAILY, **more}, status=201)


async def test_a_limit_is_made_changed_and_deleted(api: Api, changes: list[None]) -> None:
    limit = await made(api, warn_at=80)
    path = f"/limits/{limit['id']}"

    assert (limit["subject"], limit["amount"], limit["time_zone"]) == (
        "key:*",
        100,
        "Europe/Moscow",
    )
    assert await api.ask("GET", path) == limit
    seen = {"if-match": f'"{limit["etag"]}"'}
    changed = await api.ask("PATCH", path, json={"amount": 5, "warn_at": None}, headers=seen)
    assert (changed["amount"], changed["warn_at"]) == (5, None)
    await api.error("PATCH", path, json={"amount": 6}, headers=seen, status=412)
    await api.error("DELETE", path, headers=seen, status=412)
    await api.ask("DELETE", path)
    assert (await api.error("GET", path, status=404))["code"] == "limit_not_found"
    assert len(changes) == 3


async def test_money_is_rubles_as_text(api: Api) -> None:
    limit = await made(api, **BUDGET)

    assert limit["amount"] == "150.5"
    path = f"/limits/{limit['id']}"
    assert (await api.ask("PATCH", path, json={"amount": 20}))["amount"] == "20"


async def test_limits_are_listed_in_pages_and_by_subject(api: Api) -> None:
    first, second = await made(api), await made(api, **BUDGET)

    page = await api.ask("GET", "/limits", params={"limit": 1})
    assert (page["data"], page["next"]) == ([first], str(first["id"]))
    page = await api.ask("GET", "/limits", params={"after": page["next"]})
    assert (page["data"], page["next"]) == ([second], None)
    page = await api.ask("GET", "/limits", params={"subject": "project:demo"})
    assert page["data"] == [second]
    await api.error("GET", "/limits", params={"after": "x"}, status=400)


async def test_limits_say_what_they_name_and_is_not_there(api: Api) -> None:
    await api.acme()
    await api.acme_model("one", versions=[{"label": "v1", "upstream": "one", "channel": "latest"}])
    await api.project("demo")
    key = (await api.ask("POST", "/keys", json={"name": "k"}, status=201))["key_id"]
    there = ["key:*", "project:*", "user:anna", "organization:default", "project:demo"]
    there += [f"key:{key}", "model:acme/one", "version:acme/one:v1", "version:*"]
    gone = ["key:key_1", "project:x", "organization:x", "model:acme/x", "version:acme/one:latest"]

    made_of = {each: (await made(api, subject=each))["missing"] for each in (*there, *gone)}
    both = await made(api, subject="project:x", model="acme/x", meter="tokens")
    listed = {row["id"]: row["missing"] for row in (await api.ask("GET", "/limits"))["data"]}

    assert made_of == {each: [] for each in there} | {each: [each] for each in gone}
    assert both["missing"] == listed[both["id"]] == ["project:x", "model:acme/x"]


async def test_the_same_limit_twice_is_a_conflict(api: Api) -> None:
    limit = await made(api)
    error = await api.error("POST", "/limits", json=DAILY, status=409)

    assert str(limit["id"]) in error["hint"]
    await made(api, model="acme/one")
    await api.error("POST", "/limits", json={**DAILY, "model": "acme/one"}, status=409)


@pytest.mark.parametrize(
    "more,param",
    [
        ({"subject": "nobody:x"}, "subject"),
        ({"subject": "key:"}, "subject"),
        ({"meter": "running"}, "window"),
        ({"meter": "streams"}, "window"),
        ({"meter": "wishes"}, "meter"),
        ({"window": "now"}, "window"),
        ({"amount": -1}, "amount"),
        ({"amount": "1.5"}, "amount"),
        ({"meter": "money", "amount": 2**62}, "amount"),
        ({"meter": "money", "amount": "1e5"}, "amount"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"warn_at": 101}, "warn_at"),
    ],
)
async def test_what_makes_no_sense_is_refused(api: Api, more: Any, param: str) -> None:
    error = await api.error("POST", "/limits", json={**DAILY, **more}, status=400)

    assert error["param"].startswith(param)


async def test_limits_and_tenants_are_published(api: Api, db: Database, vault: Vault) -> None:
    organization = {"slug": "acme", "name": "Acme", "time_zone": "Asia/Omsk"}
    await api.ask("POST", "/organizations", json=organization, status=201)
    project = {"slug": "demo", "name": "Demo"}
    await api.ask("POST", "/organizations/acme/projects", json=project, status=201)
    await made(api)
    await made(api, **BUDGET)
    off = await made(api, meter="tokens")
    await api.ask("PATCH", f"/limits/{off['id']}", json={"is_enabled": False})
    async with db.write() as session:
        row = {"meter": "requests", "window": "day", "amount": 1}
        session.add(LimitRow(subject="odd:x", **row))
        session.add(LimitRow(subject="key:odd", **row, time_zone="Mars/Olympus"))
    snapshot = await build_snapshot(db, vault, adapters())

    assert snapshot.limits == {
        "key:*": (Limit(subject="key:*", meter="requests", window="day", amount=100),),
        "project:demo": (
            Limit(subject="project:demo", meter="money", window="month", amount=150_500_000_000),
        ),
    }
    assert snapshot.tenants["demo"].organization == "acme"
    assert snapshot.tenants["demo"].time_zone == "Asia/Omsk"


async def test_without_a_data_plane_nothing_is_counted(api: Api) -> None:
    limit = await made(api, subject="key:one")

    await api.error("GET", f"/limits/{limit['id']}/state", status=404)


class TestState:
    @pytest.fixture
    def meters(self) -> MemoryMeters:
        return MemoryMeters()

    @pytest.fixture
    async def services(
        self, db: Database, vault: Vault, wire_client: Any, meters: MemoryMeters
    ) -> Any:
        from_nothing: Any = None
        return Services(db, vault, adapters(), wire_client, from_nothing, meters=meters)

    async def test_how_much_is_used(self, api: Api, meters: MemoryMeters) -> None:
        limit = await made(api, subject="key:one", window="total")
        want = Want("key:one|*|requests|total", "requests", "total", 100, 30, "Europe/Moscow")
        held = await meters.take([want], 60)
        assert held.hold

        assert await api.ask("GET", f"/limits/{limit['id']}/state") == {
            "id": limit["id"],
            "subject": "key:one",
            "amount": 100,
            "used": 30,
            "remaining": 70,
            "resets_in_s": None,
        }

    async def test_of_a_whole_kind_one_is_named(self, api: Api, meters: MemoryMeters) -> None:
        limit = await made(api, subject="user:*", meter="money", window="total", amount="2")
        path = f"/limits/{limit['id']}/state"
        want = Want("user:demo/ann|*|money|total", "money", "total", 10**12, 10**9, "UTC")
        held = await meters.take([want], 60)
        assert held.hold

        for query in ({}, {"of": "key:x"}, {"of": "user:ann"}, {"of": "user:*"}):
            await api.error("GET", path, params=query, status=400)
        told = await api.ask("GET", path, params={"of": "user:ann", "project": "demo"})
        assert (told["used"], told["remaining"]) == ("1", "1")
