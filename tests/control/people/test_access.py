from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from tests.control.conftest import Api
from tests.control.people.conftest import Browser, Invited, NewBrowser

from xrouter.control.kit.access import Access, Doors
from xrouter.control.people.roles import ACTIONS, Role, may, may_grant
from xrouter.control.server import PREFIX
from xrouter.telemetry.logs import log

OPEN = {
    ("POST", "/auth/setup"),
    ("POST", "/auth/sign-in"),
    ("POST", "/auth/accept"),
    ("POST", "/auth/reset"),
    ("GET", "/auth/providers"),
    ("POST", "/auth/providers/{name}/accept"),
}
"""To everybody; each checks by its own means."""
PEOPLE = {
    ("POST", "/auth/sign-out"),
    ("POST", "/auth/sign-out-everywhere"),
    ("GET", "/auth/me"),
    ("PATCH", "/auth/me"),
    ("POST", "/auth/password"),
    ("GET", "/auth/identities"),
    ("POST", "/auth/identities"),
    ("DELETE", "/auth/identities/{identity_id}"),
    ("GET", "/audit"),
    ("GET", "/organizations"),
    ("GET", "/organizations/{slug}"),
    ("PATCH", "/organizations/{slug}"),
    ("GET", "/organizations/{slug}/projects"),
    ("POST", "/organizations/{slug}/projects"),
    ("GET", "/organizations/{slug}/members"),
    ("PATCH", "/organizations/{slug}/members/{user_id}"),
    ("DELETE", "/organizations/{slug}/members/{user_id}"),
    ("GET", "/organizations/{slug}/invites"),
    ("POST", "/organizations/{slug}/invites"),
    ("DELETE", "/organizations/{slug}/invites/{invite_id}"),
    ("GET", "/projects"),
    ("GET", "/projects/{slug}"),
    ("PATCH", "/projects/{slug}"),
    ("DELETE", "/projects/{slug}"),
    ("GET", "/projects/{slug}/credentials"),
    ("GET", "/projects/{slug}/credentials/{provider}"),
    ("PUT", "/projects/{slug}/credentials/{provider}"),
    ("DELETE", "/projects/{slug}/credentials/{provider}"),
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("POST", "/keys/revoke-all"),
    ("GET", "/keys/{key_id}"),
    ("PATCH", "/keys/{key_id}"),
    ("POST", "/keys/{key_id}/revoke"),
    ("POST", "/keys/{key_id}/rotate"),
    ("GET", "/oauth/clients"),
    ("POST", "/oauth/clients"),
    ("GET", "/oauth/clients/{client_id}"),
    ("PATCH", "/oauth/clients/{client_id}"),
    ("POST", "/oauth/clients/{client_id}/secret"),
    ("GET", "/oauth/grants"),
    ("POST", "/oauth/grants/{grant_id}/revoke"),
    ("GET", "/billing/accounts/{account}"),
    ("GET", "/billing/accounts/{account}/lines"),
    ("GET", "/billing/charges"),
    ("GET", "/billing/months/{organization}"),
    ("GET", "/billing/summary"),
    ("GET", "/billing/statements/{organization}/{month}"),
    ("GET", "/billing/documents/{organization}/{month}/{kind}"),
    ("GET", "/usage"),
    ("GET", "/usage/summary"),
    ("GET", "/limits"),
    ("POST", "/limits"),
    ("GET", "/limits/{limit}"),
    ("PATCH", "/limits/{limit}"),
    ("DELETE", "/limits/{limit}"),
    ("GET", "/limits/{limit}/state"),
}
"""To who is signed in; the service checks what may be done where."""
LEAVES = {("POST", "/auth/sign-out"), ("POST", "/auth/sign-out-everywhere")}


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Those of the control API that the document knows."""
    for path, methods in app.openapi()["paths"].items():
        if path.startswith(PREFIX):
            for method in methods:
                yield method.upper(), path.removeprefix(PREFIX)


def filled(path: str) -> str:
    parts = ["1" if part == "{invite_id}" else part for part in path.split("/")]
    return "/".join("other" if part.startswith("{") else part for part in parts)


async def test_every_route_refuses_who_is_not_signed_in(app: FastAPI, browser: NewBrowser) -> None:
    nobody = browser()
    walked = 0
    for method, path in routes(app):
        if (method, path) in OPEN:
            continue
        walked += 1
        reply = await nobody.http.request(method, PREFIX + filled(path), json={})
        assert reply.status_code == 401, (method, path, reply.text)
    assert walked > 80


async def test_a_viewer_gets_no_further_than_what_is_listed(app: FastAPI, invited: Invited) -> None:
    viewer = await invited("v@a.test", "viewer")
    for method, path in routes(app):
        if (method, path) in OPEN | LEAVES:
            continue
        reply = await viewer.http.request(method, PREFIX + filled(path), json={})
        if (method, path) not in PEOPLE:
            assert reply.status_code == 403, (method, path, reply.text)
        elif path == "/audit":
            assert reply.status_code == 403
        else:
            assert reply.status_code in (200, 400, 403, 404), (method, path, reply.text)


async def test_an_operator_gets_everywhere(app: FastAPI, operator: Browser) -> None:
    for method, path in routes(app):
        if (method, path) in LEAVES or path == "/health/events":
            continue
        if method != "GET":
            continue
        reply = await operator.http.request(method, PREFIX + filled(path))
        assert reply.status_code not in (401, 403), (method, path, reply.text)


async def test_the_guard_decides_by_the_route_that_answers(app: FastAPI) -> None:
    doors: Any = app.user_middleware[0].kwargs["doors"]
    for method, path in routes(app):
        wanted = Access.OPERATOR
        if (method, path) in OPEN:
            wanted = Access.GUEST
        elif (method, path) in PEOPLE:
            wanted = Access.PERSON
        assert doors.access(method, PREFIX + filled(path)) is wanted, (method, path)


def test_what_is_not_known_is_the_operators() -> None:
    assert Doors().access("GET", "/") is Access.OPERATOR


async def test_every_change_needs_the_csrf_token(app: FastAPI, operator: Browser) -> None:
    operator.http.headers.pop("x-csrf-token")
    for method, path in routes(app):
        if method == "GET" or (method, path) in OPEN:
            continue
        for token in ({}, {"x-csrf-token": "x"}, {"x-csrf-token": operator.csrf + "x"}):
            reply = await operator.http.request(
                method, PREFIX + filled(path), json={}, headers=token
            )
            assert reply.status_code == 403, (method, path, reply.text)
            assert reply.json()["error"]["code"] == "csrf_token"
    await operator.ask("GET", "/auth/me")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"origin": "http://control.test"},
        {"origin": "https://control.test.evil.test"},
        {"origin": "https://control.test@evil.test"},
        {"origin": ""},
    ],
)
async def test_the_csrf_token_alone_is_not_enough(
    operator: Browser, headers: dict[str, str]
) -> None:
    error = await operator.error(
        "PATCH", "/auth/me", json={"name": "X"}, headers=headers, status=403
    )
    assert error["code"] in ("foreign_origin", "https_needed")


async def test_a_browser_that_names_no_origin_may_say_it_otherwise(operator: Browser) -> None:
    operator.http.headers.pop("origin")
    body = {"name": "X"}
    for site, status in (("same-origin", 200), ("cross-site", 403), ("same-site", 403)):
        headers = {"sec-fetch-site": site}
        await operator.ask("PATCH", "/auth/me", json=body, headers=headers, status=status)
    await operator.ask("PATCH", "/auth/me", json=body)


async def test_a_form_brings_the_token_as_a_field(operator: Browser) -> None:
    """The guard lets it in; what then is wrong is the form itself."""
    operator.http.headers.pop("x-csrf-token")
    reply = await operator.http.post(
        "/control/v1/auth/password", data={"csrf": operator.csrf, "current": "x"}
    )
    assert reply.status_code == 400
    reply = await operator.http.post("/control/v1/auth/password", data={"csrf": "x"})
    assert reply.status_code == 403
    twice = f"csrf={operator.csrf}&csrf={operator.csrf}"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    reply = await operator.http.post("/control/v1/auth/password", content=twice, headers=kind)
    assert reply.status_code == 403


async def test_a_wrong_token_is_not_made_good_by_a_cookie(operator: Browser) -> None:
    for given in ("Bearer wrong", "Basic x", "Bearer"):
        await operator.error("GET", "/users", status=401, headers={"authorization": given})


async def test_who_guesses_the_admin_token_is_in_the_log(browser: NewBrowser) -> None:
    nobody = browser()
    guess = {"authorization": "Bearer a-wrong-guess"}
    with log.captured() as told:
        await nobody.error("GET", "/users", status=401)
        await nobody.error("GET", "/users", status=401, headers=guess)
    (line,) = [each for each in told if each["event"] == "admin_token_refused"]
    assert line["ip"] == "203.0.113.5"
    assert "guess" not in str(told)


async def test_another_tenants_things_are_not_there(admin: Api, invited: Invited) -> None:
    await admin.ask("POST", "/organizations", json={"slug": "other", "name": "O"}, status=201)
    await admin.ask(
        "POST", "/organizations/other/projects", json={"slug": "secret", "name": "S"}, status=201
    )
    stranger = await invited("stranger@a.test", "owner", "other")
    person = await invited("owner@a.test", "owner")
    invite = {"email": "x@a.test", "role": "viewer"}
    link = await stranger.ask("POST", "/organizations/other/invites", json=invite, status=201)
    assert link["secret"]
    (open_invite,) = (await stranger.ask("GET", "/organizations/other/invites"))["data"]
    member = f"/members/{stranger.user_id}"
    tries: list[tuple[str, str, Any]] = [
        ("GET", "/organizations/{}", None),
        ("PATCH", "/organizations/{}", {"name": "X"}),
        ("GET", "/organizations/{}/projects", None),
        ("POST", "/organizations/{}/projects", {"slug": "x", "name": "X"}),
        ("GET", "/organizations/{}/members", None),
        ("PATCH", "/organizations/{}" + member, {"role": "viewer"}),
        ("DELETE", "/organizations/{}" + member, None),
        ("GET", "/organizations/{}/invites", None),
        ("POST", "/organizations/{}/invites", {"email": "a@b.test", "role": "viewer"}),
        ("DELETE", f"/organizations/{{}}/invites/{open_invite['id']}", None),
        ("GET", "/audit?organization={}", None),
    ]
    for method, path, body in tries:
        there = await person.error(method, path.format("other"), json=body, status=404)
        absent = await person.error(method, path.format("absent"), json=body, status=404)
        assert there["code"] == absent["code"]
    for slug in ("secret", "absent"):
        await person.error("GET", f"/projects/{slug}", status=404)
        await person.error("PATCH", f"/projects/{slug}", json={"name": "X"}, status=404)
        await person.error("DELETE", f"/projects/{slug}", status=404)
    for method, path, body in (
        ("PATCH", "/organizations/default" + member, {"role": "viewer"}),
        ("DELETE", "/organizations/default" + member, None),
        ("DELETE", f"/organizations/default/invites/{open_invite['id']}", None),
        ("POST", "/organizations/default/invites", {**invite, "project": "secret"}),
    ):
        await person.error(method, path, json=body, status=404)
    shown = await person.ask("GET", "/projects")
    assert [each["slug"] for each in shown["data"]] == ["default"]
    shown = await person.ask("GET", "/organizations")
    assert [each["slug"] for each in shown["data"]] == ["default"]


@pytest.mark.parametrize(
    "method,path,body",
    [
        ("POST", "/organizations/default/projects", {"slug": "p", "name": "P"}),
        ("POST", "/organizations/default/invites", {"email": "a@b.test", "role": "viewer"}),
        ("PATCH", "/organizations/default", {"name": "X"}),
        ("PATCH", "/projects/default", {"name": "X"}),
    ],
)
@pytest.mark.parametrize("field", ["organization_id", "id", "user_id", "budget", "is_admin"])
async def test_nobody_sets_what_is_not_offered(
    operator: Browser, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    error = await operator.error(method, path, json={**body, field: 1}, status=400)
    assert (error["param"], error["code"]) == (field, "unknown_parameter")


@pytest.mark.parametrize("field", ["margin", "vat", "is_active"])
async def test_owners_do_not_set_what_is_the_operators(invited: Invited, field: str) -> None:
    owner = await invited("owner@a.test", "owner")
    await owner.ask("PATCH", "/organizations/default", json={"name": "X"})
    error = await owner.error("PATCH", "/organizations/default", json={field: 0}, status=403)
    assert error["param"] == field


@pytest.mark.parametrize("field", ["is_operator", "role", "organization_id"])
async def test_an_invite_gives_no_more_than_it_says(
    operator: Browser, browser: NewBrowser, field: str
) -> None:
    invite = {"email": "a@b.test", "role": "viewer"}
    link = await operator.ask("POST", "/organizations/default/invites", json=invite, status=201)
    body = {"secret": link["secret"], "password": "a good password", field: True}
    error = await browser().error("POST", "/auth/accept", json=body, status=400)
    assert error["param"] == field


def test_what_is_not_in_the_table_nobody_may() -> None:
    for role in (*Role, "root", ""):
        assert not may(role, "everything")
    for action in ACTIONS:
        assert not may("root", action)
        assert may("owner", action)
    assert not may("viewer", "keys.change")
    assert not may("billing", "keys.read")
    assert not may("developer", "bills.read")


def test_nobody_grants_above_oneself() -> None:
    assert may_grant("owner", "owner")
    assert may_grant("admin", "admin")
    assert not may_grant("admin", "owner")
    for role in ("developer", "viewer", "billing", "root"):
        assert not any(may_grant(role, granted) for granted in Role)
