from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.control.conftest import Api

from xrouter.control.publish.build import build_snapshot
from xrouter.control.server import Services
from xrouter.domain.identity import well_formed
from xrouter.domain.snapshot import Snapshot


async def snapshot(services: Services) -> Snapshot:
    return await build_snapshot(services.db, services.vault, services.adapters)


async def test_a_key_is_shown_once_and_found_in_the_snapshot(api: Api, services: Services) -> None:
    made = await api.ask("POST", "/keys", json={"name": "Бот", "rpm": 60}, status=201)
    key = made.pop("key")
    assert well_formed(key)
    assert made["key_id"].startswith("key_")
    assert made["last4"] == key[-4:]
    listed = (await api.ask("GET", "/keys"))["data"]
    assert listed == [made]
    record = (await snapshot(services)).keys[services.vault.mac(key)]
    assert record.principal.key_id == made["key_id"]
    assert (record.principal.name, record.principal.project) == ("Бот", "default")
    assert (record.principal.rpm, record.expires_at) == (60, None)


async def test_a_revoked_key_leaves_the_snapshot(api: Api, services: Services) -> None:
    made = await api.ask("POST", "/keys", json={"name": "n"}, status=201)
    before = await snapshot(services)
    path = f"/keys/{made['key_id']}/revoke"
    first = await api.ask("POST", path)
    assert first["revoked_at"] is not None
    after = await snapshot(services)
    assert len(before.keys) == 1
    assert after.keys == {}
    assert after.revision > before.revision
    assert await api.ask("POST", path) == first
    error = await api.error("POST", "/keys/key_nobody/revoke", status=404)
    assert error["code"] == "key_not_found"


async def test_a_key_expires(api: Api, services: Services) -> None:
    at = datetime.now(UTC) + timedelta(days=1)
    given = {"name": "n", "expires_at": at.isoformat()}
    key = (await api.ask("POST", "/keys", json=given, status=201))["key"]
    record = (await snapshot(services)).keys[services.vault.mac(key)]
    assert record.expires_at == pytest.approx(at.timestamp())


async def test_keys_are_listed_in_pages_the_newest_first(api: Api) -> None:
    ids = [
        (await api.ask("POST", "/keys", json={"name": f"n{n}"}, status=201))["key_id"]
        for n in range(5)
    ]
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = await api.ask("GET", "/keys", params={"limit": 2, **after})
        found += [key["key_id"] for key in page["data"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert found == sorted(ids, reverse=True)


async def test_keys_have_groups(api: Api) -> None:
    given = {"name": "n", "groups": ["lab", "staff"]}
    assert (await api.ask("POST", "/keys", json=given, status=201))["groups"] == ["lab", "staff"]
    assert (await api.ask("POST", "/keys", json={"name": "m"}, status=201))["groups"] == []
    listed = (await api.ask("GET", "/keys"))["data"]
    assert [key["groups"] for key in listed] == [[], ["lab", "staff"]]
    error = await api.error("POST", "/keys", json={"name": "n", "groups": ["A b"]}, status=400)
    assert error["param"] == "groups[0]"


async def test_a_key_is_changed_and_stays_the_same_key(api: Api, services: Services) -> None:
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    given = {"name": "old", "rpm": 5, "groups": ["lab"], "expires_at": at}
    made = await api.ask("POST", "/keys", json=given, status=201)
    mac = services.vault.mac(made.pop("key"))
    path = f"/keys/{made['key_id']}"
    await api.project("team")
    assert await api.ask("GET", path) == made
    assert await api.ask("PATCH", path, json={}) == made
    new: dict[str, object] = {
        "name": "Новый",
        "project": "team",
        "rpm": None,
        "groups": [],
        "expires_at": None,
    }
    changed = await api.ask("PATCH", path, json=new)
    assert changed == made | new | {"etag": changed["etag"]}
    record = (await snapshot(services)).keys[mac]
    principal = record.principal
    assert (principal.name, principal.project, principal.rpm) == ("Новый", "team", None)
    assert record.expires_at is None
    await api.ask("PATCH", path, json={"rpm": 7, "groups": ["staff"]})
    principal = (await snapshot(services)).keys[mac].principal
    assert (principal.rpm, principal.name) == (7, "Новый")
    page = await api.ask("GET", "/changes")
    assert page["data"] == [], "keys are no part of the catalog"


async def test_a_change_of_a_key_that_somebody_else_changed_is_refused(api: Api) -> None:
    made = await api.ask("POST", "/keys", json={"name": "n"}, status=201)
    path = f"/keys/{made['key_id']}"
    reply = await api.http.get("/control/v1" + path)
    assert reply.headers["etag"] == f'"{made["etag"]}"'
    seen = {"if-match": reply.headers["etag"]}
    changed = await api.ask("PATCH", path, json={"rpm": 5}, headers=seen)
    assert changed["etag"] != made["etag"]
    error = await api.error("PATCH", path, json={"rpm": 6}, headers=seen, status=412)
    assert error["code"] == "precondition_failed"
    assert (await api.ask("GET", path))["rpm"] == 5
    assert (await api.ask("PATCH", path, json={"rpm": None}))["etag"] == made["etag"]


@pytest.mark.parametrize(
    "patch,param",
    [
        ({"rpm": 0}, "rpm"),
        ({"name": None}, "name"),
        ({"groups": None}, "groups"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"key_id": "key_other"}, "key_id"),
        ({"revoked_at": None}, "revoked_at"),
    ],
)
async def test_wrong_changes_of_a_key_are_refused(
    api: Api, patch: dict[str, object], param: str
) -> None:
    made = await api.ask("POST", "/keys", json={"name": "n"}, status=201)
    path = f"/keys/{made['key_id']}"
    assert (await api.error("PATCH", path, json=patch, status=400))["param"] == param
    assert (await api.ask("GET", path))["etag"] == made["etag"]


async def test_what_is_revoked_stays_as_it_is(api: Api) -> None:
    made = await api.ask("POST", "/keys", json={"name": "n"}, status=201)
    path = f"/keys/{made['key_id']}"
    await api.ask("POST", f"{path}/revoke")
    error = await api.error("PATCH", path, json={"name": "m"}, status=409)
    assert error["code"] == "key_revoked"
    assert (await api.error("GET", "/keys/key_nobody", status=404))["code"] == "key_not_found"
    error = await api.error("PATCH", "/keys/key_nobody", json={"name": "m"}, status=404)
    assert error["code"] == "key_not_found"
