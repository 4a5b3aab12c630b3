"""What applications do is in the audit log: from where, and for the owners whose project it is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.control.oauth.conftest import CALLBACK, Browser, World, s256, told

pytestmark = pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)

IP = "203.0.113.5"


async def events(world: World) -> list[tuple[Any, ...]]:
    """The newest first."""
    log = (await world.ask("GET", "/audit?limit=1000"))["data"]
    return [(e["action"], e["actor"].partition(":")[0], e["ip"], e["organization"]) for e in log]


async def test_owners_see_what_is_done_in_their_projects(world: World, person: Browser) -> None:
    client = await world.client()
    code = await world.code(person, client)
    tokens = (await world.exchange(client, code)).json()
    assert (await events(world))[0] == ("oauth.consent", "user", IP, "default")
    await world.exchange(client, code)
    assert (await events(world))[0] == ("oauth.code_reuse", "client", IP, "default")

    tokens = await world.tokens(person, client)
    second = (await world.refresh(client, tokens["refresh_token"])).json()
    await world.refresh(client, second["refresh_token"])
    await world.refresh(client, tokens["refresh_token"])
    assert (await events(world))[0] == ("oauth.refresh_reuse", "client", IP, "default")

    for name in ("access_token", "refresh_token"):
        tokens = await world.tokens(person, client)
        await world.post("/oauth/revoke", client, token=tokens[name])
        assert (await events(world))[0] == ("oauth.revoke", "client", IP, "default")

    await world.tokens(person, client)
    await world.ask("PATCH", "/projects/default", json={"is_active": False})
    await world.oauth.keeper.turn()
    assert ("oauth.lost", "system", "default") in [(e[0], e[1], e[3]) for e in await events(world)]


async def test_a_key_that_a_tool_got_is_in_the_log_of_its_owners(
    world: World, person: Browser
) -> None:
    query = {
        "callback_url": CALLBACK,
        "code_challenge": s256("v" * 43),
        "code_challenge_method": "S256",
    }
    page = await person.get("/auth", params=query)
    code = told(await person.submit(page, project="default", decision="allow"))["code"]
    body = {"code": code, "code_verifier": "v" * 43}
    assert (await world.http.post("/api/v1/auth/keys", json=body)).status_code == 200
    assert (await events(world))[:2] == [
        ("key.create", "user", IP, "default"),
        ("oauth.consent", "user", IP, "default"),
    ]


async def test_who_cannot_prove_to_be_a_client_is_in_the_log(world: World) -> None:
    mine, operators = await world.service(), await world.client()
    for client in (mine, operators):
        wrong = {**client, "client_secret": "xrs_a-wrong-secret"}
        await world.post("/oauth/introspect", wrong, token="x")
    await world.token({"client_id": "a-secret-in-the-wrong-field"}, client_secret="x")
    log = (await world.ask("GET", "/audit?action=client.refuse"))["data"]
    assert {each["actor"] for each in log} == {"anonymous"}
    assert [(e["object"], e["organization"], e["ip"]) for e in log] == [
        ("client:unknown", None, IP),
        (f"client:{operators['client_id']}", None, IP),
        (f"client:{mine['client_id']}", "default", IP),
    ]
    assert "wrong" not in str(log)


async def test_keys_that_sign_are_in_the_log(world: World) -> None:
    made = await world.ask("POST", "/oauth/keys", status=201)
    await world.ask("DELETE", f"/oauth/keys/{made['kid']}")
    await world.ask("DELETE", f"/oauth/keys/{made['kid']}", status=404)
    log = (await world.ask("GET", "/audit?limit=3"))["data"]
    assert [(e["action"], e["actor"]) for e in log] == [
        ("signing_key.forget", "admin"),
        ("signing_key.create", "admin"),
        ("signing_key.create", "system"),
    ]
