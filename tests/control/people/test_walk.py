"""Every address that is for people, from the document itself: walked by those who have no part.

Who has no part in a tenant is told what is told of nothing: 404. Who has one, but not the right:
403. Neither changes anything. A new route must get its row here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from msgspec import Struct
from tests.control.conftest import Api
from tests.control.people.conftest import Browser, Invited

from xrouter.control.kit.access import Access
from xrouter.control.people.roles import ACTIONS, Role, may
from xrouter.control.server import PREFIX

pytestmark = pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)

ORG, PROJECT, BESIDE = "theirs", "theirs-a", "theirs-b"
NEVER = "operators alone"
LIMIT = {"meter": "requests", "window": "minute", "amount": 5}
IN_PROJECT = {"project": "{project}"}
APPLICATION: dict[str, Any] = {"name": "C", "redirect_uris": ["https://c.test/cb"]}


class Door(Struct, frozen=True):
    """right: of `roles.ACTIONS`. path, body: with names of ids in braces, which `ids` has."""

    method: str
    path: str
    right: str
    body: Any = None

    def at(self, ids: dict[str, str]) -> tuple[str, Any]:
        body = self.body and {
            name: value.format(**ids) if isinstance(value, str) else value
            for name, value in self.body.items()
        }
        return self.path.format(**ids), body


ORGANIZATION = "/organizations/{slug}"
CREDENTIALS = "/projects/{project}/credentials"
SALES = "/billing/{}/{{slug}}/2026-01"
HAS_PART = "organization.read"
OF_ORGANIZATIONS = [
    Door("PATCH", ORGANIZATION, "organization.change", {"name": "X"}),
    Door("POST", ORGANIZATION + "/projects", "project.create", {"slug": "x", "name": "X"}),
    Door("GET", ORGANIZATION + "/members", "members.read"),
    Door("PATCH", ORGANIZATION + "/members/{user_id}", "members.change", {"role": "viewer"}),
    Door("DELETE", ORGANIZATION + "/members/{user_id}", "members.change"),
    Door("GET", ORGANIZATION + "/invites", "members.read"),
    Door("POST", ORGANIZATION + "/invites", "members.change", {"email": "x@x.t", "role": "viewer"}),
    Door("DELETE", ORGANIZATION + "/invites/{invite_id}", "members.change"),
    Door("GET", "/audit?organization={slug}", "audit.read"),
    Door("GET", "/billing/accounts/organization:{slug}", "bills.read"),
    Door("GET", "/billing/accounts/organization:{slug}/lines", "bills.read"),
    Door("GET", "/billing/months/{slug}", "bills.read"),
    Door("GET", SALES.format("statements"), "bills.read"),
    Door("GET", SALES.format("documents") + "/act?format=json", "bills.read"),
    Door("POST", "/limits", NEVER, {"subject": "organization:{slug}", **LIMIT}),
]
"""A part in one project is not enough."""
OF_PROJECTS = [
    Door("GET", "/projects/{project}", "project.read"),
    Door("PATCH", "/projects/{project}", "project.change", {"name": "X"}),
    Door("DELETE", "/projects/{project}", "project.change"),
    Door("GET", CREDENTIALS, "credentials.read"),
    Door("GET", CREDENTIALS + "/{provider}", "credentials.read"),
    Door("PUT", CREDENTIALS + "/{provider}", "credentials.change", {"is_only": True}),
    Door("DELETE", CREDENTIALS + "/{provider}", "credentials.change"),
    Door("POST", "/keys", "keys.change", {"name": "X", **IN_PROJECT}),
    Door("POST", "/keys/revoke-all", "keys.change", {"confirm": "{project}", **IN_PROJECT}),
    Door("GET", "/keys/{key_id}", "keys.read"),
    Door("PATCH", "/keys/{key_id}", "keys.change", {"name": "X"}),
    Door("POST", "/keys/{key_id}/revoke", "keys.change"),
    Door("POST", "/keys/{key_id}/rotate", "keys.change", {}),
    Door("POST", "/oauth/clients", "clients.change", {**APPLICATION, **IN_PROJECT}),
    Door("GET", "/oauth/clients/{client_id}", "clients.read"),
    Door("PATCH", "/oauth/clients/{client_id}", "clients.change", {"name": "X"}),
    Door("POST", "/oauth/clients/{client_id}/secret", "clients.change"),
    Door("GET", "/billing/accounts/project:{project}", "bills.read"),
    Door("GET", "/billing/accounts/project:{project}/lines", "bills.read"),
    Door("GET", SALES.format("statements") + "?project={project}", "bills.read"),
    Door("GET", SALES.format("documents") + "/act?format=json&project={project}", "bills.read"),
    Door("GET", "/usage?project={project}", "usage.read"),
    Door("GET", "/usage/summary?project={project}", "usage.read"),
    Door("POST", "/limits", "limits.change", {"subject": "key:{key_id}", **LIMIT}),
    Door("POST", "/limits", "limits.change", {"subject": "project:{project}", **LIMIT}),
    Door("GET", "/limits/{limit}", "limits.read"),
    Door("PATCH", "/limits/{limit}", "limits.change", {"amount": 9}),
    Door("DELETE", "/limits/{limit}", "limits.change"),
    Door("GET", "/limits/{limit}/state", "limits.read"),
    Door("PATCH", "/limits/{wide_limit}", "limits.change", {"amount": 9}),
    Door("DELETE", "/limits/{wide_limit}", "limits.change"),
]
OF_BOTH = [
    Door("GET", ORGANIZATION, HAS_PART),
    Door("GET", ORGANIZATION + "/projects", HAS_PART),
    Door("GET", "/usage?organization={slug}", HAS_PART),
    Door("GET", "/usage/summary?organization={slug}", HAS_PART),
]
"""Any part will do; what is shown is that part."""
THINGS = [*OF_ORGANIZATIONS, *OF_PROJECTS, *OF_BOTH]
LISTS = {
    "/organizations",
    "/projects",
    "/keys",
    "/keys?project=theirs-a",
    "/oauth/clients",
    "/oauth/grants",
    "/limits",
    "/limits?subject=project:theirs-a",
    "/usage",
    "/usage/summary",
    "/billing/charges",
    "/billing/charges?organization=theirs",
    "/billing/charges?project=theirs-a",
    "/billing/summary",
    "/billing/summary?group_by=project&organization=theirs",
    "/auth/me",
    "/auth/identities",
}
"""They hold what is one's own, of whatever they are asked for."""
OWN = {
    ("PATCH", "/auth/me"),
    ("POST", "/auth/sign-out"),
    ("POST", "/auth/sign-out-everywhere"),
    ("POST", "/auth/password"),
    ("POST", "/auth/identities"),
    ("DELETE", "/auth/identities/{identity_id}"),
    ("POST", "/oauth/grants/{grant_id}/revoke"),
}
"""They know nobody but who asks; ids of others are tried where those rooms are tested."""


def shape(path: str) -> str:
    """An address of the document, or of ours, with the names of its ids left out."""
    steps = path.partition("?")[0].replace("project:{project}", "{}").split("/")
    steps = [
        "{}" if step.startswith(("{", "organization:")) or step in ("2026-01", "act") else step
        for step in steps
    ]
    return "/".join(steps)


def doors_of_people(app: FastAPI) -> Iterator[tuple[str, str]]:
    doors: Any = app.user_middleware[0].kwargs["doors"]
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            if doors.access(method.upper(), path) is Access.PERSON:
                yield method.upper(), path.removeprefix(PREFIX)


@pytest.fixture
async def ids(admin: Api, operator: Browser, invited: Invited) -> dict[str, str]:
    """A tenant with one thing of each kind."""
    await admin.acme()
    await admin.ask("POST", "/organizations", json={"slug": ORG, "name": "T"}, status=201)
    for slug in (PROJECT, BESIDE):
        given = {"slug": slug, "name": slug}
        await admin.ask("POST", f"/organizations/{ORG}/projects", json=given, status=201)
    member = await invited("member@theirs.test", "developer", ORG)
    invite = {"email": "soon@theirs.test", "role": "viewer"}
    await operator.ask("POST", f"/organizations/{ORG}/invites", json=invite, status=201)
    (waiting,) = (await operator.ask("GET", f"/organizations/{ORG}/invites"))["data"]
    key = await admin.ask("POST", "/keys", json={"name": "K", "project": PROJECT}, status=201)
    given = {**APPLICATION, "project": PROJECT}
    client = await admin.ask("POST", "/oauth/clients", json=given, status=201)
    limits = [
        await admin.ask("POST", "/limits", json={"subject": subject, **LIMIT}, status=201)
        for subject in (f"key:{key['key_id']}", f"project:{PROJECT}")
    ]
    secret = {"credential": {"api_key": "a-key-at-the-provider-1234"}}
    await admin.ask("PUT", f"/projects/{PROJECT}/credentials/acme", json=secret)
    return {
        "slug": ORG,
        "project": PROJECT,
        "user_id": member.user_id,
        "invite_id": str(waiting["id"]),
        "provider": "acme",
        "key_id": key["key_id"],
        "client_id": client["client_id"],
        "limit": str(limits[0]["id"]),
        "wide_limit": str(limits[1]["id"]),
    }


NOTHING = {
    "slug": "absent",
    "project": "absent",
    "user_id": "user_absent",
    "invite_id": "999999",
    "provider": "absent",
    "key_id": "key_absent",
    "client_id": "client_absent",
    "limit": "999999",
    "wide_limit": "999999",
}


async def head(admin: Api) -> Any:
    """Of the audit log: whatever changes in a tenant is in it."""
    return (await admin.ask("GET", "/audit?limit=1"))["data"][0]["digest"]


def test_every_door_for_people_is_walked_through(app: FastAPI) -> None:
    there = {(method, shape(path)) for method, path in doors_of_people(app)}
    walked = {(door.method, shape(door.path)) for door in THINGS}
    walked |= {("GET", shape(path)) for path in LISTS}
    walked |= {(method, shape(path)) for method, path in OWN}
    assert walked == there
    assert {door.right for door in THINGS} <= {*ACTIONS, NEVER}


async def test_a_stranger_is_told_what_is_told_of_nothing(
    admin: Api, ids: dict[str, str], invited: Invited
) -> None:
    await admin.ask("POST", "/organizations", json={"slug": "mine", "name": "M"}, status=201)
    given = {"slug": "my-own", "name": "P"}
    await admin.ask("POST", "/organizations/mine/projects", json=given, status=201)
    stranger = await invited("owner@mine.test", "owner", "mine")
    before = await head(admin)
    for door in THINGS:
        path, body = door.at(ids)
        there = await stranger.error(door.method, path, json=body, status=404)
        path, body = door.at(NOTHING)
        absent = await stranger.error(door.method, path, json=body, status=404)
        assert there["code"] == absent["code"], door
    for path in sorted(LISTS):
        shown = str(await stranger.ask("GET", path))
        assert "theirs" not in shown, path
        assert not any(ids[name] in shown for name in ("key_id", "client_id", "user_id")), path
    assert await head(admin) == before


@pytest.mark.parametrize("role", list(Role))
async def test_who_lacks_the_right_is_refused(
    admin: Api, ids: dict[str, str], invited: Invited, role: Role
) -> None:
    person = await invited(f"{role}@theirs.test", role, ORG)
    before = await head(admin)
    refused = 0
    for door in THINGS:
        path, body = door.at(ids)
        if not may(role, door.right):
            refused += 1
            await person.error(door.method, path, json=body, status=403)
        elif door.method == "GET" and not path.endswith("/state"):  # nothing is counted here
            reply = await person.http.get(PREFIX + path)
            assert reply.status_code not in (401, 403, 404), (door, reply.text)
    assert refused > 0
    assert await head(admin) == before


@pytest.mark.parametrize("role", list(Role))
async def test_a_part_in_one_project_opens_no_other(
    admin: Api, ids: dict[str, str], invited: Invited, role: Role
) -> None:
    person = await invited(f"{role}@theirs.test", role, ORG, BESIDE)
    before = await head(admin)
    for doors, status in ((OF_ORGANIZATIONS, 403), (OF_PROJECTS, 404), (OF_BOTH, 200)):
        for door in doors:
            path, body = door.at(ids)
            reply = await person.http.request(door.method, PREFIX + path, json=body)
            assert reply.status_code == status, (door, reply.text)
            assert status != 200 or PROJECT not in reply.text
    for path in sorted(LISTS - {"/organizations", "/auth/me"}):
        shown = str(await person.ask("GET", path))
        assert PROJECT not in shown, path
    assert await head(admin) == before
