"""What keys may do, their rotation, the leak drill, and when they were used last."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from tests.control.conftest import ADMIN, Api

from xrouter.control.drain import Drain
from xrouter.control.identity.uses import UseKeeper
from xrouter.control.kit.bulk import Finder
from xrouter.control.publish.build import build_snapshot
from xrouter.control.server import Services, create_app
from xrouter.domain.bounds import Bounds, compact
from xrouter.domain.errors import Unauthenticated
from xrouter.domain.identity import KeyRecord
from xrouter.domain.secret import Secret
from xrouter.domain.snapshot import Snapshot
from xrouter.domain.usage import UsageEvent, new_id
from xrouter.stores.journal.reader import JournalReader
from xrouter.stores.journal.writer import JournalWriter
from xrouter.stores.memory.keys import MemoryKeyBook
from xrouter.stores.snapshot_file import SnapshotFile

HELD = {
    "scopes": ["chat", "models"],
    "models": ["acme/*", "other/one", "route/fast"],
    "ip_ranges": ["10.0.0.0/8", "2001:db8::/32"],
    "tags": ["crm", "Отдел-1"],
}


async def snapshot(services: Services) -> Snapshot:
    return await build_snapshot(services.db, services.vault, services.adapters)


async def made(api: Api, **more: Any) -> Any:
    return await api.ask("POST", "/keys", json={"name": "n", **more}, status=201)


async def record(services: Services, key: str) -> KeyRecord:
    return (await snapshot(services)).keys[services.vault.mac(key)]


async def test_what_a_key_is_held_to_comes_into_the_snapshot(
    api: Api, services: Services, tmp_path: Path
) -> None:
    key = await made(api, **HELD)
    assert {name: key[name] for name in HELD} == HELD
    assert await api.ask("GET", f"/keys/{key['key_id']}") == {
        name: value for name, value in key.items() if name != "key"
    }
    held = (await record(services, key["key"])).principal.bounds
    assert held == Bounds(
        scopes=("chat", "models"),
        models=frozenset(HELD["models"]),
        networks=(compact("10.0.0.0/8"), compact("2001:db8::/32")),
    )
    free = await made(api, tags=["only a tag".replace(" ", "-")])
    assert (await record(services, free["key"])).principal.bounds is None
    file = SnapshotFile(tmp_path / "sealed", services.vault)
    built = await snapshot(services)
    file.save(built)
    kept = file.load()
    assert kept is not None
    assert kept.keys == built.keys


async def test_ranges_are_normalised_and_nothing_stands_twice(api: Api) -> None:
    ranges = ["10.1.2.3/8", "10.0.0.0/8", "::ffff:1.2.3.4"]
    key = await made(api, ip_ranges=ranges, scopes=["chat", "chat"], models=["a/b", "a/b"])
    assert key["ip_ranges"] == ["10.0.0.0/8", "1.2.3.4/32"]
    assert (key["scopes"], key["models"]) == (["chat"], ["a/b"])


@pytest.mark.parametrize(
    "given,param",
    [
        ({"scopes": ["all"]}, "scopes[0]"),
        ({"scopes": "chat"}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"models": ["one"]}, "models[0]"),
        ({"models": ["acme/one", "*"]}, "models[1]"),
        ({"models": ["*/one"]}, "models[0]"),
        ({"models": ["acme/o*"]}, "models[0]"),
        ({"models": ["acme/"]}, "models[0]"),
        ({"models": ["acme/a b"]}, "models[0]"),
        ({"models": ["a/b"] * 1001}, "models"),
        ({"ip_ranges": ["10.0.0.0/33"]}, "ip_ranges[0]"),
        ({"ip_ranges": ["10.0.0.0/8", "localhost"]}, "ip_ranges[1]"),
        ({"ip_ranges": ["fe80::1%eth0"]}, "ip_ranges[0]"),
        ({"ip_ranges": ["10.0.0.0/8"] * 101}, "ip_ranges"),
        ({"tags": [""]}, "tags[0]"),
        ({"tags": ["a,b"]}, "tags[0]"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    api: Api, given: dict[str, object], param: str
) -> None:
    error = await api.error("POST", "/keys", json={"name": "n", **given}, status=400)
    assert error["param"] == param
    key = await made(api)
    error = await api.error("PATCH", f"/keys/{key['key_id']}", json=given, status=400)
    assert error["param"] == param


async def test_each_field_is_changed_and_moves_the_etag(api: Api, services: Services) -> None:
    key = await made(api)
    path, seen = f"/keys/{key['key_id']}", {key["etag"]}
    for name, value in HELD.items():
        changed = await api.ask("PATCH", path, json={name: value})
        assert changed[name] == value
        assert changed["etag"] not in seen
        seen.add(changed["etag"])
    back = await api.ask("PATCH", path, json={name: [] for name in HELD})
    assert back["etag"] == key["etag"]
    assert (await record(services, key["key"])).principal.bounds is None


@pytest.mark.parametrize(
    "column,value",
    [("ip_ranges", '["nonsense"]'), ("scopes", '"chat"'), ("models", "[1]"), ("models", "{}")],
)
async def test_a_key_held_to_what_makes_no_sense_is_no_key(
    api: Api, services: Services, column: str, value: str
) -> None:
    """Rows may be written by anybody; the restriction must not be lost."""
    key, other = await made(api), await made(api)
    async with services.db.write() as session:
        await session.execute(
            text(f"UPDATE api_keys SET {column} = '{value}' WHERE key_id = '{key['key_id']}'")
        )
    assert set((await snapshot(services)).keys) == {services.vault.mac(other["key"])}


async def test_an_unknown_project_is_not_found(api: Api) -> None:
    error = await api.error("POST", "/keys", json={"name": "n", "project": "none"}, status=404)
    assert (error["code"], error["param"]) == ("project_not_found", "project")
    assert "xrouter projects" in error["hint"]
    assert (await api.ask("GET", "/keys"))["data"] == []
    key = await made(api)
    path = f"/keys/{key['key_id']}"
    error = await api.error("PATCH", path, json={"project": "none"}, status=404)
    assert error["code"] == "project_not_found"


async def test_rotation_lets_the_old_secret_live_for_the_grace(
    api: Api, services: Services
) -> None:
    key = await made(api, **HELD)
    path = f"/keys/{key['key_id']}"
    fresh = await api.ask("POST", path + "/rotate", json={"grace_seconds": 60})
    assert fresh["key"] != key["key"]
    assert fresh["last4"] == fresh["key"][-4:]
    assert (fresh["key_id"], fresh["scopes"]) == (key["key_id"], HELD["scopes"])
    assert fresh["etag"] != key["etag"]
    assert "key" not in await api.ask("GET", path)
    now = time.time()
    clock = [now]
    book, found = MemoryKeyBook(services.vault.mac, lambda: clock[0]), await snapshot(services)
    new, old = book.find(fresh["key"], found), book.find(key["key"], found)
    assert new is old, "one owner, one limit, the same bounds"
    clock[0] = now + 61
    assert book.find(fresh["key"], found) is new
    with pytest.raises(Unauthenticated) as refused:
        book.find(key["key"], found)
    assert refused.value.code == "api_key_rotated"


async def test_a_second_rotation_ends_the_first_secret_at_once(
    api: Api, services: Services
) -> None:
    key = await made(api)
    path = f"/keys/{key['key_id']}/rotate"
    second = (await api.ask("POST", path, json={"grace_seconds": 60}))["key"]
    third = (await api.ask("POST", path, json={"grace_seconds": 60}))["key"]
    mac = services.vault.mac
    assert set((await snapshot(services)).keys) == {mac(second), mac(third)}
    await api.ask("POST", path, json={})
    book = MemoryKeyBook(mac, lambda: time.time() + 1)
    with pytest.raises(Unauthenticated) as refused:
        book.find(third, await snapshot(services))
    assert refused.value.code == "api_key_rotated", "no grace unless it is asked for"


async def test_the_old_secret_never_outlives_the_key(api: Api, services: Services) -> None:
    ends_at = datetime.fromtimestamp(time.time() + 3600, UTC)
    key = await made(api, expires_at=ends_at.isoformat())
    path = f"/keys/{key['key_id']}"
    await api.ask("POST", path + "/rotate", json={"grace_seconds": 30 * 86400})
    old = await record(services, key["key"])
    assert old.expires_at == pytest.approx(ends_at.timestamp())
    await api.ask("POST", path + "/revoke")
    assert (await snapshot(services)).keys == {}, "both"
    error = await api.error("POST", path + "/rotate", json={}, status=409)
    assert error["code"] == "key_revoked"


@pytest.mark.parametrize("grace", [-1, 30 * 86400 + 1, "x", None])
async def test_the_grace_is_bounded(api: Api, grace: object) -> None:
    key = await made(api)
    path, given = f"/keys/{key['key_id']}/rotate", {"grace_seconds": grace}
    assert (await api.error("POST", path, json=given, status=400))["param"] == "grace_seconds"
    stale = {"if-match": '"other"'}
    assert (await api.error("POST", path, json={}, headers=stale, status=412))["code"]
    assert (await api.ask("GET", f"/keys/{key['key_id']}"))["etag"] == key["etag"]


async def test_the_leak_drill_revokes_a_project_and_no_other(
    api: Api, services: Services, changes: list[None]
) -> None:
    await api.project("leaky")
    keys = [await made(api, project="leaky") for _ in range(3)]
    await api.ask("POST", f"/keys/{keys[0]['key_id']}/revoke")
    await api.ask("POST", f"/keys/{keys[1]['key_id']}/rotate", json={"grace_seconds": 60})
    before = await api.ask("GET", f"/keys/{keys[0]['key_id']}")
    safe = await made(api)
    for wrong in ({}, {"confirm": "yes"}, {"confirm": ""}):
        given = {"project": "leaky", **wrong}
        error = await api.error("POST", "/keys/revoke-all", json=given, status=400)
        assert error["param"] == "confirm"
    assert len((await snapshot(services)).keys) == 4
    changes.clear()
    done = await api.ask("POST", "/keys/revoke-all", json={"project": "leaky", "confirm": "leaky"})
    assert done == {"project": "leaky", "revoked": 2}
    assert changes, "the data plane is told"
    assert set((await snapshot(services)).keys) == {services.vault.mac(safe["key"])}
    assert await api.ask("GET", f"/keys/{keys[0]['key_id']}") == before
    nobody = {"project": "none", "confirm": "none"}
    error = await api.error("POST", "/keys/revoke-all", json=nobody, status=404)
    assert error["code"] == "project_not_found"


async def test_keys_of_one_project_are_listed(api: Api) -> None:
    await api.project("team")
    mine, _ = await made(api, project="team"), await made(api)
    listed = (await api.ask("GET", "/keys", params={"project": "team"}))["data"]
    assert [key["key_id"] for key in listed] == [mine["key_id"]]


async def test_who_did_what_is_in_the_audit_log_without_secrets(
    api: Api, services: Services
) -> None:
    key = await made(api)
    path = f"/keys/{key['key_id']}"
    await api.ask("PATCH", path, json={"scopes": ["chat"]})
    await api.ask("PATCH", path, json={"scopes": ["chat"]})
    fresh = await api.ask("POST", path + "/rotate", json={})
    await api.ask("POST", path + "/revoke")
    await api.ask("POST", path + "/revoke")
    async with services.db.read() as session:
        rows = (
            await session.execute(text("SELECT action, object, detail FROM audit_log ORDER BY id"))
        ).all()
    assert [row.action for row in rows] == ["key.create", "key.change", "key.rotate", "key.revoke"]
    assert {row.object for row in rows} == {f"key:{key['key_id']}"}
    told = str(rows)
    assert key["key"] not in told
    assert fresh["key"] not in told


def event(key_id: str | None, at: float) -> UsageEvent:
    return UsageEvent(event_id=new_id(), request_id="r", at=at, operation="chat", key_id=key_id)


async def test_last_use_is_written_down_once_a_minute(
    api: Api, services: Services, tmp_path: Path
) -> None:
    key, other = await made(api), await made(api)
    assert key["last_used_at"] is None
    writer = JournalWriter(tmp_path / "journal", max_bytes=1 << 20)
    drain = Drain(services.db, JournalReader(tmp_path / "journal"), takers=[UseKeeper()])

    async def used(*moments: float) -> float:
        for at in moments:
            writer.append(event(key["key_id"], at))
            writer.append(event(None, at))
            writer.append(event("client_x", at))
        await drain.drain_once()
        found = await api.ask("GET", f"/keys/{key['key_id']}")
        assert found["etag"] == key["etag"], "a use is no change"
        return datetime.fromisoformat(found["last_used_at"]).timestamp()

    revision = (await snapshot(services)).revision
    assert await used(1000.0, 1030.0, 1010.0) == 1030
    assert await used(1089.0) == 1030
    assert await used(1090.0) == 1090
    assert await used(500.0) == 1090
    writer.close()
    assert (await snapshot(services)).revision == revision
    listed = {each["key_id"]: each for each in (await api.ask("GET", "/keys"))["data"]}
    assert listed[other["key_id"]]["last_used_at"] is None
    async with services.db.read() as session:
        assert await session.scalar(text("SELECT count(*) FROM key_uses")) == 1


async def test_a_use_that_was_not_committed_is_written_with_the_next_one(
    services: Services,
) -> None:
    keeper = UseKeeper()
    for at, fails in ((1000.0, True), (1001.0, False), (1070.0, True), (1071.0, False)):
        with contextlib.suppress(ZeroDivisionError):
            async with services.db.write() as session:
                await keeper.take(session, [event("key_a", at), event("key_b", at)])
                if fails:
                    raise ZeroDivisionError
    async with services.db.read() as session:
        found = await session.execute(text("SELECT key_id, at FROM key_uses ORDER BY key_id"))
        assert [tuple(row) for row in found] == [("key_a", 1071.0), ("key_b", 1071.0)]


async def test_keys_of_which_nothing_is_due_are_not_asked_for(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, asked = UseKeeper(), []

    async def find(self: Finder, session: AsyncSession, keys: Collection[str]) -> Any:
        asked.append(sorted(keys))
        return await really(self, session, keys)

    really = Finder.find
    monkeypatch.setattr(Finder, "find", find)
    for at in (1000.0, 1001.0, 1002.0, 1059.0, 1060.0, 1061.0, 1062.0):
        async with services.db.write() as session:
            await keeper.take(session, [event("key_a", at), event("client_x", at)])
    assert asked == [["key_a"]] * 4


HOSTILE = ["' OR '1'='1", "'; DROP TABLE api_keys; --", "*)(uid=*", "%s%n{0}", "${jndi:x}", "\x00"]


@pytest.mark.parametrize("word", HOSTILE)
async def test_hostile_words_are_no_keys_of_the_control_api(services: Services, word: str) -> None:
    """The control API takes no API keys at all, whatever is in them."""
    app = create_app(services, admin_token=Secret(ADMIN))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://control.test") as http:
        for name in ("authorization", "api-key", "x-api-key", "cookie"):
            value = word.replace("\x00", "\x01").encode()
            reply = await http.get("/control/v1/keys", headers={name.encode(): value})
            assert reply.status_code == 401, reply.text
            assert word not in reply.text
