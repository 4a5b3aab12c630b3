"""Whose limits are whose: a key's are its project's, a project's are its organisation's."""

from __future__ import annotations

from typing import Any

import pytest
from tests.control.people.conftest import (
    Browser,
    Invited,
    admin,
    app,
    browser,
    invited,
    operator,
)

__all__ = ["admin", "app", "browser", "invited", "operator"]

DAILY = {"meter": "requests", "window": "day", "amount": 100}


async def made(person: Browser, subject: str, **more: Any) -> Any:
    given = {**DAILY, "subject": subject, **more}
    return await person.ask("POST", "/limits", json=given, status=201)


async def subjects(person: Browser) -> list[str]:
    return [each["subject"] for each in (await person.ask("GET", "/limits"))["data"]]


async def refused(person: Browser, limit: Any, status: int) -> None:
    """It can be neither raised, nor switched off, nor deleted."""
    path = f"/limits/{limit['id']}"
    for body in ({"amount": 10**6}, {"is_enabled": False}):
        await person.error("PATCH", path, json=body, status=status)
    await person.error("DELETE", path, status=status)


@pytest.fixture
async def key(operator: Browser) -> str:
    """`key:<id>` of the project `default`."""
    found = await operator.ask("POST", "/keys", json={"name": "k"}, status=201)
    return f"key:{found['key_id']}"


@pytest.fixture
async def foreign(operator: Browser) -> list[Any]:
    """Limits of another organisation, its project and its key, and of all."""
    await operator.ask("POST", "/organizations", json={"slug": "other", "name": "O"}, status=201)
    given = {"slug": "secret", "name": "S"}
    await operator.ask("POST", "/organizations/other/projects", json=given, status=201)
    key = await operator.ask("POST", "/keys", json={"name": "t", "project": "secret"}, status=201)
    names = (f"key:{key['key_id']}", "project:secret", "organization:other")
    every = ("key:*", "project:*", "user:*", "user:ann", "model:a/b", "version:a/b:1")
    return [await made(operator, name) for name in (*names, *every)]


@pytest.mark.parametrize("role,project", [("owner", None), ("admin", "default")])
async def test_admins_manage_the_limits_of_their_keys(
    invited: Invited, key: str, role: str, project: str | None
) -> None:
    person = await invited("p@a.test", role, project=project)
    limit = await made(person, key)
    path = f"/limits/{limit['id']}"
    assert (await person.ask("PATCH", path, json={"amount": 7}))["amount"] == 7
    assert await subjects(person) == [key]
    assert (await person.ask("GET", path))["amount"] == 7
    await person.ask("DELETE", path)
    assert await subjects(person) == []


@pytest.mark.parametrize("role", ["developer", "billing"])
async def test_others_of_a_project_see_them(
    invited: Invited, operator: Browser, key: str, role: str
) -> None:
    limit = await made(operator, key)
    person = await invited("p@a.test", role)
    assert await subjects(person) == [key]
    assert (await person.ask("GET", f"/limits/{limit['id']}"))["amount"] == 100
    await refused(person, limit, 403)
    await person.error("POST", "/limits", json={**DAILY, "subject": key}, status=403)


async def test_what_bounds_a_project_is_not_its_admins(invited: Invited, operator: Browser) -> None:
    """Of the project and of its organisation: seen, and not to be touched."""
    project = await made(operator, "project:default")
    organization = await made(operator, "organization:default")
    person = await invited("p@a.test", "owner", project="default")

    assert await subjects(person) == ["project:default"]
    await refused(person, project, 403)
    await refused(person, organization, 404)
    for subject in ("project:default", "organization:default"):
        given = {**DAILY, "subject": subject, "window": "month"}
        await person.error("POST", "/limits", json=given, status=403)


async def test_an_organisation_bounds_its_projects_and_not_itself(
    invited: Invited, operator: Browser
) -> None:
    organization = await made(operator, "organization:default")
    person = await invited("p@a.test", "admin")

    limit = await made(person, "project:default")
    await person.ask("PATCH", f"/limits/{limit['id']}", json={"amount": 7})
    await person.ask("DELETE", f"/limits/{limit['id']}")
    assert await subjects(person) == ["organization:default"]
    await refused(person, organization, 403)
    given = {**DAILY, "subject": "organization:default", "window": "month"}
    await person.error("POST", "/limits", json=given, status=403)


async def test_limits_of_others_are_not_there(
    invited: Invited, operator: Browser, foreign: list[Any]
) -> None:
    person = await invited("p@a.test", "owner")
    assert await subjects(person) == []
    for limit in foreign:
        path = f"/limits/{limit['id']}"
        error = await person.error("GET", path, status=404)
        nobody = await person.error("GET", "/limits/99999", status=404)
        assert error == nobody | {"message": error["message"]}
        await person.error("GET", path + "/state", status=404)
        await refused(person, limit, 404)
        shown = await person.ask("GET", "/limits", params={"subject": limit["subject"]})
        assert shown["data"] == []
        assert (await operator.ask("GET", path))["etag"] == limit["etag"]


async def test_limits_for_others_cannot_be_made(invited: Invited, foreign: list[Any]) -> None:
    person = await invited("p@a.test", "owner")
    theirs, every = foreign[:3], foreign[3:]
    for limit in theirs:
        given = {**DAILY, "subject": limit["subject"], "window": "month"}
        await person.error("POST", "/limits", json=given, status=404)
    for limit in every:
        given = {**DAILY, "subject": limit["subject"], "window": "month"}
        await person.error("POST", "/limits", json=given, status=403)


async def test_nobody_gives_a_key_more_than_the_operators_give_each(
    invited: Invited, operator: Browser, key: str
) -> None:
    """A limit of its own would replace the one for all keys."""
    await made(operator, "key:*", amount=50)
    person = await invited("p@a.test", "owner")

    given = {**DAILY, "subject": key, "amount": 51}
    assert (await person.error("POST", "/limits", json=given, status=403))["param"] == "amount"
    limit = await made(person, key, amount=50)
    await person.error("PATCH", f"/limits/{limit['id']}", json={"amount": 51}, status=403)
    await operator.ask("PATCH", f"/limits/{limit['id']}", json={"amount": 51})
    assert (await made(person, key, amount=99, window="month"))["amount"] == 99


async def test_nobody_has_more_days_than_the_operators_give_each(
    invited: Invited, operator: Browser, key: str
) -> None:
    """Each change of the time zone would begin another day, or end one."""
    await made(operator, "key:*", amount=50)
    await made(operator, "key:*", amount=50, window="minute")
    person = await invited("p@a.test", "owner")
    given = {**DAILY, "subject": key, "amount": 50, "time_zone": "Asia/Omsk"}
    assert (await person.error("POST", "/limits", json=given, status=403))["param"] == "time_zone"
    path = f"/limits/{(await made(person, key, amount=50))['id']}"
    elsewhere = {"time_zone": "Asia/Omsk"}
    assert (await person.error("PATCH", path, json=elsewhere, status=403))["param"] == "time_zone"
    await operator.ask("PATCH", path, json=elsewhere)
    await person.ask("PATCH", path, json={"time_zone": "Europe/Moscow"})
    for window in ("minute", "month"):  # has no days; is nobody's but theirs
        await made(person, key, amount=5, window=window, **elsewhere)


async def test_owners_learn_who_changed_what_they_may(
    operator: Browser, invited: Invited, key: str
) -> None:
    owner = await invited("owner@a.test", "owner")
    for subject in (key, "project:default"):
        limit = await made(owner, subject)
        path = f"/limits/{limit['id']}"
        await owner.ask("PATCH", path, json={"amount": 9})
        await owner.ask("PATCH", path, json={"amount": 9})
        await owner.ask("DELETE", path)
        log = await owner.ask("GET", f"/audit?organization=default&object=limit:{limit['id']}")
        told = [(each["action"], each["actor"]) for each in log["data"][:3]]
        who = f"user:{owner.user_id}"
        assert told == [("limit.delete", who), ("limit.change", who), ("limit.create", who)]
        before, after = log["data"][1]["detail"]["before"], log["data"][1]["detail"]["after"]
        assert (before["amount"], after["amount"]) == (100, 9)
    organization = {"organization:default": "default", "user:*": None, "model:a/b": None}
    for subject, slug in organization.items():
        limit = await made(operator, subject)
        log = await operator.ask("GET", f"/audit?object=limit:{limit['id']}")
        assert log["data"][0]["organization"] == slug
