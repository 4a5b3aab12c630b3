from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.control.conftest import Api
from tests.control.people.conftest import Browser, Invited, NewBrowser

from xrouter.control.people import members

ORG = "/organizations/default"


async def members_of(person: Api, slug: str = "default") -> dict[str, str]:
    page = await person.ask("GET", f"/organizations/{slug}/members")
    return {each["email"]: each["role"] for each in page["data"]}


async def test_an_invite_makes_a_member(operator: Browser, invited: Invited) -> None:
    person = await invited("Dev@A.test", "developer")
    assert person.me["user"]["email"] == "dev@a.test"
    assert not person.me["user"]["is_operator"]
    assert person.me["memberships"][0]["role"] == "developer"
    assert await members_of(operator) == {"op@a.test": "owner", "dev@a.test": "developer"}
    assert (await operator.ask("GET", ORG + "/invites"))["data"] == []


async def test_an_invite_is_taken_once_even_by_two_at_a_time(
    operator: Browser, browser: NewBrowser
) -> None:
    invite = {"email": "dev@a.test", "role": "viewer"}
    link = await operator.ask("POST", ORG + "/invites", json=invite, status=201)
    body = {"secret": link["secret"], "password": "a good password"}
    replies = await asyncio.gather(
        *(browser().http.post("/control/v1/auth/accept", json=body) for _ in range(5))
    )
    assert sorted(reply.status_code for reply in replies).count(201) == 1
    assert {reply.status_code for reply in replies} <= {201, 400, 401, 409}
    assert len(await members_of(operator)) == 2


async def test_who_is_a_user_already_must_know_the_password(
    admin: Api, invited: Invited, browser: NewBrowser
) -> None:
    await admin.ask("POST", "/organizations", json={"slug": "two", "name": "Two"}, status=201)
    person = await invited("dev@a.test", "viewer")
    invite = {"email": "dev@a.test", "role": "owner"}
    link = await admin.ask("POST", "/organizations/two/invites", json=invite, status=201)
    thief = browser()
    body = {"secret": link["secret"], "password": "not the password"}
    error = await thief.error("POST", "/auth/accept", json=body, status=401)
    assert error["code"] == "wrong_password"
    await person.enter("/auth/accept", secret=link["secret"])
    held = {each["organization"]: each["role"] for each in person.me["memberships"]}
    assert held == {"default": "viewer", "two": "owner"}


async def test_a_member_is_not_invited_again(operator: Browser, invited: Invited) -> None:
    await invited("dev@a.test", "viewer")
    error = await operator.error(
        "POST", ORG + "/invites", json={"email": "dev@a.test", "role": "admin"}, status=409
    )
    assert error["code"] == "already_a_member"


async def test_a_newer_invite_ends_the_older(operator: Browser, browser: NewBrowser) -> None:
    invite = {"email": "dev@a.test", "role": "owner"}
    old = await operator.ask("POST", ORG + "/invites", json=invite, status=201)
    invite["role"] = "viewer"
    await operator.ask("POST", ORG + "/invites", json=invite, status=201)
    body = {"secret": old["secret"], "password": "a good password"}
    await browser().error("POST", "/auth/accept", json=body, status=400)


async def test_an_invite_is_withdrawn(operator: Browser, browser: NewBrowser) -> None:
    invite = {"email": "dev@a.test", "role": "viewer"}
    link = await operator.ask("POST", ORG + "/invites", json=invite, status=201)
    (shown,) = (await operator.ask("GET", ORG + "/invites"))["data"]
    assert link["secret"] not in str(shown)
    await operator.ask("DELETE", f"{ORG}/invites/{shown['id']}")
    await operator.error("DELETE", f"{ORG}/invites/{shown['id']}", status=404)
    body = {"secret": link["secret"], "password": "a good password"}
    await browser().error("POST", "/auth/accept", json=body, status=400)


async def invites(person: Browser) -> list[str]:
    """The roles of those that nobody has taken."""
    return sorted(each["role"] for each in (await person.ask("GET", ORG + "/invites"))["data"])


async def invite_oneself(person: Browser) -> list[str]:
    """By other addresses; the secrets."""
    secrets = []
    for role in ("owner", "admin", "viewer"):
        given = {"email": f"{role}@else.test", "role": role}
        link = await person.ask("POST", ORG + "/invites", json=given, status=201)
        secrets.append(link["secret"])
    return secrets


async def test_who_lost_the_right_does_not_come_back_by_an_own_invite(
    operator: Browser, invited: Invited, browser: NewBrowser, admin: Api
) -> None:
    head = await invited("head@a.test", "owner")
    path = f"{ORG}/members/{head.user_id}"
    friend = {"email": "friend@a.test", "role": "viewer"}
    await operator.ask("POST", ORG + "/invites", json=friend, status=201)
    secrets = await invite_oneself(head)
    await operator.ask("PATCH", path, json={"role": "admin"})
    assert await invites(operator) == ["admin", "viewer", "viewer"]
    await operator.ask("PATCH", path, json={"role": "developer"})
    assert await invites(operator) == ["viewer"]
    for secret in secrets:
        body = {"secret": secret, "password": "a good password"}
        error = await browser().error("POST", "/auth/accept", json=body, status=400)
        assert error["code"] == "link_not_good"
    log = (await admin.ask("GET", "/audit?action=invite.withdraw&organization=default"))["data"]
    assert [each["actor"] for each in log] == [f"user:{operator.user_id}"] * 3

    await operator.ask("PATCH", path, json={"role": "owner"})
    await head.sign_in("head@a.test")
    await invite_oneself(head)
    await operator.ask("DELETE", path)
    assert await invites(operator) == ["viewer"]


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_operator": False}])
async def test_invites_of_who_is_switched_off_end(
    operator: Browser, invited: Invited, change: dict[str, bool]
) -> None:
    head = await invited("head@a.test", "owner")
    await invite_oneself(head)
    path = f"/users/{head.user_id}"
    await operator.ask("PATCH", path, json={"name": "N"})
    assert await invites(operator) == ["admin", "owner", "viewer"]
    await operator.ask("PATCH", path, json=change)
    assert await invites(operator) == []


async def test_invites_are_bounded(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_INVITES", 1)
    await operator.ask(
        "POST", ORG + "/invites", json={"email": "a@b.test", "role": "viewer"}, status=201
    )
    error = await operator.error(
        "POST", ORG + "/invites", json={"email": "c@b.test", "role": "viewer"}, status=409
    )
    assert error["code"] == "too_many_invites"


async def test_the_last_owner_stays(operator: Browser, admin: Api, invited: Invited) -> None:
    own = f"{ORG}/members/{operator.user_id}"
    for asking in (operator, admin):
        error = await asking.error("PATCH", own, json={"role": "admin"}, status=409)
        assert error["code"] == "last_owner"
        error = await asking.error("DELETE", own, status=409)
        assert error["code"] == "last_owner"
    second = await invited("second@a.test", "owner")
    await admin.ask("PATCH", f"/users/{second.user_id}", json={"is_active": False})
    error = await admin.error("DELETE", own, status=409)
    assert error["code"] == "last_owner"
    await admin.ask("PATCH", f"/users/{second.user_id}", json={"is_active": True})
    await admin.ask("DELETE", own)
    assert await members_of(admin) == {"second@a.test": "owner"}


async def test_two_owners_do_not_remove_each_other(operator: Browser, invited: Invited) -> None:
    second = await invited("second@a.test", "owner")
    replies = await asyncio.gather(
        operator.http.delete(f"/control/v1{ORG}/members/{second.user_id}"),
        second.http.delete(f"/control/v1{ORG}/members/{operator.user_id}"),
    )
    assert min(reply.status_code for reply in replies) == 200
    assert [reply.status_code for reply in replies].count(200) == 1
    remaining = operator if replies[0].status_code == 200 else second
    assert list((await members_of(remaining)).values()) == ["owner"]


async def test_who_gets_another_role_must_sign_in_again(
    operator: Browser, invited: Invited
) -> None:
    person = await invited("dev@a.test", "viewer")
    path = f"{ORG}/members/{person.user_id}"
    await operator.ask("PATCH", path, json={"role": "viewer"})
    await person.ask("GET", "/auth/me")
    await operator.ask("PATCH", path, json={"role": "admin"})
    await person.error("GET", "/auth/me", status=401)
    await person.sign_in("dev@a.test")
    assert await members_of(person)


async def test_a_member_who_is_removed_has_no_part(operator: Browser, invited: Invited) -> None:
    person = await invited("dev@a.test", "admin")
    await operator.ask("DELETE", f"{ORG}/members/{person.user_id}")
    await person.error("GET", "/auth/me", status=401)
    await person.sign_in("dev@a.test")
    await person.error("GET", ORG, status=404)


async def test_an_admin_makes_no_owner_and_ends_none(operator: Browser, invited: Invited) -> None:
    admin = await invited("admin@a.test", "admin")
    dev = await invited("dev@a.test", "developer")
    for user in (admin, dev):
        path = f"{ORG}/members/{user.user_id}"
        await admin.error("PATCH", path, json={"role": "owner"}, status=403)
    await admin.error("DELETE", f"{ORG}/members/{operator.user_id}", status=403)
    invite = {"email": "x@a.test", "role": "owner"}
    await admin.error("POST", ORG + "/invites", json=invite, status=403)
    await operator.ask("POST", ORG + "/invites", json=invite, status=201)
    (shown,) = (await admin.ask("GET", ORG + "/invites"))["data"]
    await admin.error("DELETE", f"{ORG}/invites/{shown['id']}", status=403)
    await admin.ask("PATCH", f"{ORG}/members/{dev.user_id}", json={"role": "admin"})


@pytest.mark.parametrize("role", ["developer", "viewer", "billing"])
async def test_others_change_no_members(invited: Invited, role: str) -> None:
    person = await invited("p@a.test", role)
    own = f"{ORG}/members/{person.user_id}"
    await person.error("PATCH", own, json={"role": "owner"}, status=403)
    await person.error("GET", ORG + "/members", status=403)
    invite = {"email": "x@a.test", "role": "viewer"}
    await person.error("POST", ORG + "/invites", json=invite, status=403)
    await person.error("POST", ORG + "/projects", json={"slug": "x", "name": "X"}, status=403)
    await person.ask("GET", ORG)
    await person.ask("DELETE", own)


async def test_a_part_in_one_project_is_not_one_in_another(
    operator: Browser, invited: Invited
) -> None:
    for slug in ("one", "two"):
        await operator.ask("POST", ORG + "/projects", json={"slug": slug, "name": slug}, status=201)
    person = await invited("p@a.test", "admin", project="one")
    shown = await person.ask("GET", "/projects")
    assert [each["slug"] for each in shown["data"]] == ["one"]
    await person.ask("PATCH", "/projects/one", json={"name": "Mine"})
    await person.error("GET", "/projects/two", status=404)
    await person.error("PATCH", ORG, json={"name": "Mine"}, status=403)
    await person.error("GET", ORG + "/members", status=403)
    await person.ask("GET", ORG)
    await person.ask("DELETE", f"{ORG}/members/{person.user_id}?project=one")


async def test_projects_are_made_and_switched_off_and_their_slug_stays(
    operator: Browser, admin: Api, changes: list[None]
) -> None:
    given = {"slug": "one", "name": "One"}
    before = len(changes)
    made = await operator.ask("POST", ORG + "/projects", json=given, status=201)
    assert (made["organization"], made["is_active"]) == ("default", True)
    await operator.error("POST", ORG + "/projects", json=given, status=409)
    await operator.ask("DELETE", "/projects/one")
    assert not (await operator.ask("GET", "/projects/one"))["is_active"]
    await operator.error("POST", ORG + "/projects", json=given, status=409)
    assert len(changes) == before + 2
    await admin.ask("PATCH", "/projects/one", json={"is_active": True})


async def test_organizations_are_the_operators_to_make(operator: Browser, invited: Invited) -> None:
    given: dict[str, Any] = {"slug": "two", "name": "Two", "vat": 2000, "time_zone": "Asia/Omsk"}
    made = await operator.ask("POST", "/organizations", json=given, status=201)
    assert (made["vat"], made["time_zone"]) == (2000, "Asia/Omsk")
    await operator.error("POST", "/organizations", json=given, status=409)
    error = await operator.error(
        "PATCH", "/organizations/two", json={"time_zone": "Mars/Base"}, status=400
    )
    assert error["param"] == "time_zone"
    owner = await invited("o@a.test", "owner", "two")
    await owner.error("POST", "/organizations", json={**given, "slug": "three"}, status=403)
    await owner.error("DELETE", "/organizations/two", status=403)
    await operator.ask("DELETE", "/organizations/two")
    await owner.error("GET", "/organizations/two", status=404)
    assert (await owner.ask("GET", "/auth/me"))["memberships"] == []


async def test_the_last_operator_stays(operator: Browser, admin: Api, invited: Invited) -> None:
    own = f"/users/{operator.user_id}"
    for patch in ({"is_active": False}, {"is_operator": False}):
        error = await admin.error("PATCH", own, json=patch, status=409)
        assert error["code"] == "last_operator"
    second = await invited("second@a.test", "viewer")
    await operator.ask("PATCH", f"/users/{second.user_id}", json={"is_operator": True})
    await second.error("GET", "/users", status=401)
    await second.sign_in("second@a.test")
    assert len((await second.ask("GET", "/users"))["data"]) == 2
    await second.ask("PATCH", own, json={"is_operator": False})
    await operator.sign_in("op@a.test")
    await operator.error("GET", "/users", status=403)


async def test_operators_make_users_who_choose_their_password(
    operator: Browser, browser: NewBrowser
) -> None:
    given = {"email": "new@a.test", "name": "New"}
    made = await operator.ask("POST", "/users", json=given, status=201)
    await operator.error("POST", "/users", json=given, status=409)
    person = browser()
    body = {"email": "new@a.test", "password": "a good password"}
    await person.error("POST", "/auth/sign-in", json=body, status=401)
    reset = {"secret": made["link"]["secret"], "password": "a good password"}
    await person.ask_nothing("POST", "/auth/reset", json=reset)
    await person.sign_in("new@a.test", "a good password")
    await operator.ask("POST", f"/users/{person.user_id}/sign-out")
    await person.error("GET", "/auth/me", status=401)


async def test_lists_come_in_pages(operator: Browser, invited: Invited) -> None:
    for number in range(3):
        await invited(f"u{number}@a.test", "viewer")
        given = {"slug": f"p{number}", "name": "P"}
        await operator.ask("POST", ORG + "/projects", json=given, status=201)
    for path, name in (("/users", "email"), (ORG + "/members", "email"), ("/projects", "slug")):
        seen: list[str] = []
        after = ""
        while True:
            page = await operator.ask("GET", f"{path}?limit=3{after}")
            seen += [each[name] for each in page["data"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert len(seen) == len(set(seen)) == 4, path
