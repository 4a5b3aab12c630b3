"""Keys are of projects: who may see and change them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.control.people.conftest import Browser, Invited


@pytest.fixture
async def secret_key(operator: Browser) -> Any:
    """Of a project of another organisation."""
    await operator.ask("POST", "/organizations", json={"slug": "other", "name": "O"}, status=201)
    given = {"slug": "secret", "name": "S"}
    await operator.ask("POST", "/organizations/other/projects", json=given, status=201)
    key = {"name": "theirs", "project": "secret"}
    return await operator.ask("POST", "/keys", json=key, status=201)


@pytest.mark.usefixtures("secret_key")
@pytest.mark.parametrize("role", ["owner", "admin", "developer"])
async def test_who_makes_things_makes_keys(invited: Invited, role: str) -> None:
    person = await invited("p@a.test", role)
    key = await person.ask("POST", "/keys", json={"name": "mine"}, status=201)
    path = f"/keys/{key['key_id']}"
    assert [each["name"] for each in (await person.ask("GET", "/keys"))["data"]] == ["mine"]
    await person.ask("PATCH", path, json={"scopes": ["chat"]})
    await person.ask("POST", path + "/rotate", json={})
    await person.ask("POST", path + "/revoke")
    drill = {"project": "default", "confirm": "default"}
    assert (await person.ask("POST", "/keys/revoke-all", json=drill))["revoked"] == 0


@pytest.mark.parametrize("role,reads", [("viewer", True), ("billing", False)])
async def test_who_does_not_make_things_makes_no_keys(
    invited: Invited, operator: Browser, role: str, reads: bool
) -> None:
    key = await operator.ask("POST", "/keys", json={"name": "n"}, status=201)
    person, path = await invited("p@a.test", role), f"/keys/{key['key_id']}"
    assert len((await person.ask("GET", "/keys"))["data"]) == int(reads)
    await person.ask("GET", path, status=200 if reads else 403)
    drill = {"project": "default", "confirm": "default"}
    for method, where, body in (
        ("POST", "/keys", {"name": "n"}),
        ("PATCH", path, {"name": "m"}),
        ("POST", path + "/rotate", {}),
        ("POST", path + "/revoke", None),
        ("POST", "/keys/revoke-all", drill),
    ):
        await person.error(method, where, json=body, status=403)
    assert (await operator.ask("GET", path))["etag"] == key["etag"]


async def test_keys_of_others_are_not_there(
    invited: Invited, operator: Browser, secret_key: Any
) -> None:
    person = await invited("p@a.test", "owner")
    path = f"/keys/{secret_key['key_id']}"
    for method, suffix, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "m"}),
        ("POST", "/rotate", {}),
        ("POST", "/revoke", None),
    ):
        error = await person.error(method, path + suffix, json=body, status=404)
        nobody = await person.error(method, "/keys/key_none" + suffix, json=body, status=404)
        assert error == nobody | {"message": error["message"]}
        assert error["code"] == "key_not_found"
    assert (await person.ask("GET", "/keys?project=secret"))["data"] == []
    mine = await person.ask("POST", "/keys", json={"name": "n"}, status=201)
    into = {"project": "secret"}
    for method, where, body in (
        ("POST", "/keys", {"name": "n", **into}),
        ("PATCH", f"/keys/{mine['key_id']}", into),
        ("POST", "/keys/revoke-all", {**into, "confirm": "secret"}),
    ):
        error = await person.error(method, where, json=body, status=404)
        assert error["code"] == "project_not_found"
    assert (await operator.ask("GET", path))["etag"] == secret_key["etag"]


async def test_groups_are_the_operators_to_give(invited: Invited, operator: Browser) -> None:
    person = await invited("p@a.test", "owner")
    given = {"name": "n", "groups": ["lab"]}
    error = await person.error("POST", "/keys", json=given, status=403)
    assert error["param"] == "groups"
    key = await operator.ask("POST", "/keys", json=given, status=201)
    path = f"/keys/{key['key_id']}"
    assert (await person.ask("PATCH", path, json={"groups": ["lab"], "rpm": 5}))["rpm"] == 5
    error = await person.error("PATCH", path, json={"groups": ["lab", "more"]}, status=403)
    assert (await person.ask("PATCH", path, json={"groups": []}))["groups"] == []


async def test_a_key_with_groups_does_not_leave_its_project(
    invited: Invited, operator: Browser
) -> None:
    given = {"slug": "second", "name": "S"}
    await operator.ask("POST", "/organizations/default/projects", json=given, status=201)
    person, into = await invited("p@a.test", "owner"), {"project": "second"}
    key = await operator.ask("POST", "/keys", json={"name": "n", "groups": ["lab"]}, status=201)
    path = f"/keys/{key['key_id']}"
    assert (await person.error("PATCH", path, json=into, status=403))["param"] == "groups"
    moved = await person.ask("PATCH", path, json={**into, "groups": []})
    assert (moved["project"], moved["groups"]) == ("second", [])
    assert (await operator.ask("PATCH", path, json={"groups": ["lab"]}))["groups"] == ["lab"]
    await operator.ask("PATCH", path, json={"project": "default"})


@pytest.mark.usefixtures("secret_key")
async def test_both_organizations_learn_that_a_key_has_moved(operator: Browser) -> None:
    key = await operator.ask("POST", "/keys", json={"name": "n"}, status=201)
    await operator.ask("PATCH", f"/keys/{key['key_id']}", json={"project": "secret"})
    name = f"key:{key['key_id']}"
    log = (await operator.ask("GET", f"/audit?object={name}"))["data"]
    told = [(each["action"], each["organization"]) for each in log]
    assert told == [("key.leave", "default"), ("key.change", "other"), ("key.create", "default")]
