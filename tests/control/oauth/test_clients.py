"""Clients and grants in the control API: O-16, O-49, O-50, and who sees whose."""

from __future__ import annotations

from typing import Any

import pytest
from tests.control.oauth.conftest import CALLBACK, ISSUER, Browser, World, error

ALICE = "alice@a.test"


async def ask(browser: Browser, method: str, path: str, *, status: int = 200, **more: Any) -> Any:
    me = (await browser.get("/control/v1/auth/me")).json()
    headers = {"x-csrf-token": me["csrf"], "origin": ISSUER}
    reply = await browser.http.request(method, "/control/v1" + path, headers=headers, **more)
    assert reply.status_code == status, reply.text
    return reply.json()


async def test_a_client_is_made_listed_changed_and_gets_a_new_secret(world: World) -> None:
    made = await world.client(project="default")
    assert made["client_secret"].startswith("xrs_")
    client_id = made["client_id"]
    shown = await world.ask("GET", f"/oauth/clients/{client_id}")
    assert "client_secret" not in shown
    assert (await world.ask("GET", "/oauth/clients"))["data"] == [shown]
    path = f"/oauth/clients/{client_id}"
    changed = await world.ask(
        "PATCH", path, json={"name": "New"}, headers={"if-match": f'"{shown["etag"]}"'}
    )
    assert changed["name"] == "New"
    stale = {"if-match": f'"{shown["etag"]}"'}
    await world.ask("PATCH", path, status=412, json={"name": "Old"}, headers=stale)

    fresh = await world.ask("POST", f"{path}/secret")

    ask_token = {"grant_type": "refresh_token", "refresh_token": "x"}
    assert error(await world.token(made, **ask_token), 401) == "invalid_client"
    assert error(await world.token(fresh, **ask_token)) == "invalid_grant"


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_what_must_go_together(world: World) -> None:
    for given, param in (
        ({"redirect_uris": []}, "redirect_uris"),
        ({"grant_types": ["refresh_token"]}, "grant_types"),
        ({"grant_types": ["client_credentials"]}, "grant_types"),
        ({"grant_types": ["password"]}, "grant_types[0]"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes[0]"),
        ({"name": ""}, "name"),
        ({"client_id": "mine"}, "client_id"),
        ({"redirect_uris": [CALLBACK] * 21}, "redirect_uris"),
    ):
        body = {"name": "App", "redirect_uris": [CALLBACK], **given}
        reply = await world.ask("POST", "/oauth/clients", status=400, json=body)
        assert reply["error"]["param"] == param, given
    public = await world.client(is_public=True)
    await world.ask("POST", f"/oauth/clients/{public['client_id']}/secret", status=400)
    await world.ask("GET", "/oauth/clients/unknown", status=404)


async def test_people_see_the_clients_of_their_projects(world: World, person: Browser) -> None:
    await world.ask("POST", "/organizations", status=201, json={"slug": "other", "name": "Other"})
    await world.ask(
        "POST", "/organizations/other/projects", status=201, json={"slug": "far", "name": "Far"}
    )
    operators, far = await world.client(), await world.client(project="far")
    alice, _ = await world.invite(ALICE, "developer")
    viewer, _ = await world.invite("viewer@a.test", "viewer")
    given = {"name": "Hers", "redirect_uris": [CALLBACK]}

    hers = await ask(
        alice, "POST", "/oauth/clients", status=201, json={**given, "project": "default"}
    )

    listed = (await ask(viewer, "GET", "/oauth/clients"))["data"]
    assert [client["client_id"] for client in listed] == [hers["client_id"]]
    for foreign in (operators, far):
        path = f"/oauth/clients/{foreign['client_id']}"
        await ask(alice, "GET", path, status=404)
        await ask(alice, "PATCH", path, status=404, json={"name": "X"})
        await ask(alice, "POST", f"{path}/secret", status=404)
    await ask(alice, "POST", "/oauth/clients", status=400, json=given)
    await ask(alice, "POST", "/oauth/clients", status=404, json={**given, "project": "far"})
    first = {**given, "project": "default", "is_first_party": True}
    await ask(alice, "POST", "/oauth/clients", status=403, json=first)
    mine = f"/oauth/clients/{hers['client_id']}"
    await ask(alice, "PATCH", mine, status=403, json={"is_first_party": True})
    await ask(viewer, "PATCH", mine, status=403, json={"name": "X"})
    await ask(alice, "GET", "/oauth/keys", status=403)
    # a client of an organisation acts for its projects alone
    page = await person.get("/oauth/authorize", params=world.request(far))
    assert "<option>far</option>" in page.text
    assert "<option>default</option>" not in page.text
    refused = await alice.get("/oauth/authorize", params=world.request(far))
    assert refused.status_code == 403


async def test_fewer_scopes_end_what_was_granted(world: World, person: Browser) -> None:
    client = await world.client()
    tokens = await world.tokens(person, client)
    path = f"/oauth/clients/{client['client_id']}"
    await world.ask("PATCH", path, json={"scopes": ["chat"]})
    assert error(await world.refresh(client, tokens["refresh_token"])) == "invalid_grant"
    await world.publish()
    assert (await world.call(tokens["access_token"])).status_code == 401


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_o49_nobody_registers_without_being_asked_in(world: World) -> None:
    metadata = (await world.http.get("/.well-known/oauth-authorization-server")).json()
    assert "registration_endpoint" not in metadata
    given = {"name": "App", "redirect_uris": [CALLBACK]}
    for path in ("/oauth/register", "/oauth/clients"):
        assert (await world.http.post(path, json=given)).status_code == 404
    reply = await world.http.post("/control/v1/oauth/clients", json=given)
    assert reply.status_code == 401


async def test_o50_people_list_and_revoke_what_they_granted(world: World, person: Browser) -> None:
    client = await world.client()
    tokens = await world.tokens(person, client)
    alice, _ = await world.invite(ALICE, "developer")
    (grant,) = (await ask(person, "GET", "/oauth/grants"))["data"]
    assert grant["client_name"] == "App"
    assert grant["scopes"] == ["chat", "models"]
    assert (await ask(alice, "GET", "/oauth/grants"))["data"] == []
    path = f"/oauth/grants/{grant['grant_id']}/revoke"
    await ask(alice, "POST", path, status=404)
    await world.publish()
    assert (await world.call(tokens["access_token"])).status_code == 200

    await ask(person, "POST", path)
    await ask(person, "POST", path)

    await world.publish()
    assert (await world.call(tokens["access_token"])).status_code == 401
    assert error(await world.refresh(client, tokens["refresh_token"])) == "invalid_grant"
    await world.ask("GET", "/oauth/grants", status=403)  # the admin token is nobody's


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uris": ["https://evil.test/cb"]},
        {"redirect_uris": [CALLBACK, "https://evil.test/cb"]},
        {"scopes": ["chat", "models", "account"]},
        {"grant_types": ["authorization_code", "refresh_token", "client_credentials"]},
    ],
)
@pytest.mark.usefixtures("person")
async def test_who_made_nobody_consent_does_not_say_where_codes_go(
    world: World, change: dict[str, Any]
) -> None:
    """It needs no consent of anybody: with an address of their own, developers were everybody."""
    client = await world.client(project="default", is_first_party=True)
    alice, _ = await world.invite(ALICE, "developer")
    path = f"/oauth/clients/{client['client_id']}"
    await ask(alice, "PATCH", path, status=403, json=change)
    await ask(alice, "PATCH", path, status=403, json={**change, "is_first_party": True})
    less = {"name": "Ours", "scopes": ["chat"]}
    assert (await ask(alice, "PATCH", path, json=less))["scopes"] == ["chat"]
    await ask(alice, "PATCH", path, json={"is_active": False})
    await ask(alice, "PATCH", path, status=403, json={"is_active": True})
    await world.ask("PATCH", path, json={**change, "is_active": True})
    # a client that asks for consent is theirs to change
    await ask(alice, "PATCH", path, json={"is_first_party": False})
    more = {"redirect_uris": ["https://else.test/cb"]}
    assert (await ask(alice, "PATCH", path, json=more))["redirect_uris"] == more["redirect_uris"]
    await ask(alice, "PATCH", path, status=403, json={"is_first_party": True})
