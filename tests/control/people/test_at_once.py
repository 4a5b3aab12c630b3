"""Two do the same thing at the same moment: one is first, the other is told so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.control.conftest import Api
from tests.control.people.conftest import PASSWORD, Browser, Invited, NewBrowser

MANY = 6


async def at_once(person: Api, method: str, *tries: tuple[str, Any]) -> list[int]:
    asked = (person.http.request(method, "/control/v1" + path, json=body) for path, body in tries)
    replies = await asyncio.gather(*asked)
    return sorted(reply.status_code for reply in replies)


async def test_of_many_who_make_the_same_thing_one_is_first(admin: Api) -> None:
    for slug in ("one", "two"):
        await admin.ask("POST", "/organizations", json={"slug": slug, "name": slug}, status=201)
    project = {"slug": "same", "name": "S"}
    ways: tuple[tuple[tuple[str, Any], ...], ...] = (
        (("/organizations", {"slug": "same", "name": "S"}),),
        (("/users", {"email": "same@a.test", "name": "S"}),),
        (("/organizations/one/projects", project), ("/organizations/two/projects", project)),
    )
    for tries in ways:
        found = await at_once(admin, "POST", *(tries * MANY)[:MANY])
        assert found == [201, *[409] * (MANY - 1)], tries


async def test_one_who_is_new_takes_two_invites(browser: NewBrowser, admin: Api) -> None:
    """Whoever is second tries again, and is not new any more."""
    invite = {"email": "new@a.test", "role": "viewer"}
    bodies = []
    for slug in ("one", "two"):
        await admin.ask("POST", "/organizations", json={"slug": slug, "name": slug}, status=201)
        link = await admin.ask("POST", f"/organizations/{slug}/invites", json=invite, status=201)
        bodies.append({"secret": link["secret"], "password": PASSWORD})
    replies = await asyncio.gather(
        *(browser().http.post("/control/v1/auth/accept", json=body) for body in bodies)
    )
    assert {reply.status_code for reply in replies} <= {201, 401, 409}
    assert 201 in {reply.status_code for reply in replies}
    for reply, body in zip(replies, bodies, strict=True):
        if reply.status_code != 201:
            await browser().enter("/auth/accept", secret=body["secret"])
    person = browser()
    me = await person.sign_in("new@a.test")
    assert {each["organization"] for each in me["memberships"]} == {"one", "two"}


async def test_two_owners_who_go_at_once_leave_one(admin: Api, invited: Invited) -> None:
    await admin.ask("POST", "/organizations", json={"slug": "duel", "name": "D"}, status=201)
    owners = [await invited(f"{name}@duel.test", "owner", "duel") for name in ("a", "b")]
    members = "/organizations/duel/members"
    replies = await asyncio.gather(
        *(owner.http.delete(f"/control/v1{members}/{owner.user_id}") for owner in owners)
    )
    assert sorted(reply.status_code for reply in replies) == [200, 409]
    (left,) = (await admin.ask("GET", members))["data"]
    assert left["role"] == "owner"


async def test_the_last_two_operators_cannot_switch_each_other_off(
    admin: Api, operator: Browser, browser: NewBrowser
) -> None:
    given = {"email": "second@a.test", "name": "S", "is_operator": True}
    made = await admin.ask("POST", "/users", json=given, status=201)
    for path, body in (("/auth/reset", {"secret": made["link"]["secret"], "password": PASSWORD}),):
        await browser().ask_nothing("POST", path, json=body)
    second = browser()
    await second.sign_in("second@a.test")
    pairs = ((operator, second), (second, operator))
    replies = await asyncio.gather(
        *(
            one.http.patch(f"/control/v1/users/{other.user_id}", json={"is_active": False})
            for one, other in pairs
        )
    )
    assert 200 in {reply.status_code for reply in replies}
    assert {reply.status_code for reply in replies} <= {200, 401, 403, 409}
    users = (await admin.ask("GET", "/users"))["data"]
    assert sum(user["is_operator"] and user["is_active"] for user in users) == 1


@pytest.mark.parametrize("kind", ["top-ups", "adjustments"])
async def test_money_that_is_told_of_many_times_has_come_once(
    admin: Api, operator: Browser, kind: str
) -> None:
    body: dict[str, Any] = {"project": "default", "amount": "10"}
    if kind == "adjustments":
        body = {"source": "bank", "target": "project:default", "amount": "10", "memo": "x"}
    replies = await asyncio.gather(
        *(
            admin.http.post(
                f"/control/v1/billing/{kind}", json=body, headers={"idempotency-key": "once"}
            )
            for _ in range(MANY)
        )
    )
    assert {reply.status_code for reply in replies} == {200}
    balance = (await operator.ask("GET", "/billing/accounts/project:default"))["balance"]
    assert balance["billionths"] == 10 * 10**9


async def test_a_month_is_closed_once_and_nothing_comes_into_it_afterwards(
    admin: Api, operator: Browser
) -> None:
    close = "/control/v1/billing/months/default/2026-01/close"
    late = {"project": "default", "amount": "1", "at": "2026-01-15T00:00:00Z"}
    closing = [admin.http.post(close) for _ in range(3)]
    paying = [
        admin.http.post(
            "/control/v1/billing/top-ups", json=late, headers={"idempotency-key": f"late-{number}"}
        )
        for number in range(3)
    ]
    replies = await asyncio.gather(
        *(each for pair in zip(closing, paying, strict=True) for each in pair)
    )
    assert {reply.status_code for reply in replies[0::2]} == {200}
    paid = [reply.status_code for reply in replies[1::2]]
    assert set(paid) <= {200, 409}
    closed = (await admin.ask("GET", "/audit?action=month.close"))["data"]
    assert len(closed) == 1
    balance = (await operator.ask("GET", "/billing/accounts/project:default"))["balance"]
    assert balance["billionths"] == paid.count(200) * 10**9
    headers = {"idempotency-key": "after"}
    await admin.error("POST", "/billing/top-ups", json=late, headers=headers, status=409)
