"""Applications at the endpoints that they call: who is none gets nothing, and cannot try for long.

O-22, O-23, O-33, O-36, O-37 for each endpoint, and what is bound to whom.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import update
from tests.control.oauth.conftest import FORM, Browser, World, error, s256

from xrouter.control.db.tables.oauth import CodeRow
from xrouter.control.oauth.guesses import LIMIT
from xrouter.control.people.throttle import FREE_OF_ADDRESS

ENDPOINTS = ("/oauth/token", "/oauth/revoke", "/oauth/introspect")


def basic(name: str, secret: str) -> dict[str, str]:
    pair = base64.b64encode(f"{name}:{secret}".encode()).decode()
    return {"authorization": f"Basic {pair}"}


def claims(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_o22_whoever_cannot_prove_to_be_a_client_gets_nothing(
    world: World, path: str
) -> None:
    good, other = await world.service(), await world.service(name="Other")
    old = good["client_secret"]
    good = await world.ask("POST", f"/oauth/clients/{good['client_id']}/secret")
    gone = await world.service(name="Gone")
    await world.ask("PATCH", f"/oauth/clients/{gone['client_id']}", json={"is_active": False})
    token = await world.own_token(good)
    name, secret = good["client_id"], good["client_secret"]
    ask = {"grant_type": "client_credentials", "token": token}

    async def tried(headers: dict[str, str], **more: str) -> tuple[int, str]:
        stranger = world.open(ip=f"198.51.100.{len(world._opened) % 250}")
        body = urlencode({**ask, **more})
        reply = await stranger.post(path, content=body, headers={**FORM, **headers})
        return reply.status_code, str(reply.json()["error"])

    refused = (401, "invalid_client")
    assert await tried({}) == refused
    assert await tried({}, client_id=name) == refused
    assert await tried({}, client_id=name, client_secret=old) == refused
    assert await tried({}, client_id=name, client_secret=other["client_secret"]) == refused
    assert await tried({}, client_id=name, client_secret=secret + "x") == refused
    assert await tried({}, client_id=name, client_secret=secret[:-1]) == refused
    assert await tried({}, client_id=name.upper(), client_secret=secret) == refused
    assert await tried({}, client_id="client_unknown", client_secret=secret) == refused
    assert await tried({}, client_id="' OR 1=1 --", client_secret="' OR 1=1 --") == refused
    known = {"client_id": gone["client_id"], "client_secret": gone["client_secret"]}
    assert await tried({}, **known) == refused
    assert await tried(basic(name, old)) == refused
    assert await tried(basic(name, "")) == refused
    assert await tried(basic("", secret)) == refused
    assert await tried(basic(f"{name}\x00", secret)) == refused
    assert await tried({"authorization": f"Bearer {token}"}) == refused
    assert await tried({"authorization": f"Bearer {secret}"}) == refused
    assert await tried({"authorization": f"Digest username={name}"}) == refused
    twice = (400, "invalid_request")
    assert await tried(basic(name, secret), client_secret=secret) == twice
    assert await tried(basic(name, secret), client_id=other["client_id"]) == twice
    reply = await world.post(path, good, **ask)
    assert reply.status_code == 200


async def test_o23_tries_at_one_endpoint_count_at_the_others(world: World) -> None:
    client = await world.service()
    mallory = world.open(ip="198.51.100.9")
    statuses = []
    for number in range(9):
        body = {"client_id": client["client_id"], "client_secret": f"guess{number}", "token": "x"}
        path = ENDPOINTS[number % 3]
        reply = await mallory.post(path, content=urlencode(body), headers=FORM)
        statuses.append(reply.status_code)
    assert statuses[:5] == [401] * 5
    assert set(statuses[5:]) == {429}


async def test_o23_one_address_cannot_try_many_clients(world: World) -> None:
    mallory = world.open(ip="198.51.100.9")
    statuses = []
    for number in range(FREE_OF_ADDRESS + 5):
        body = urlencode({"client_id": f"client_{number}", "client_secret": "x", "token": "x"})
        reply = await mallory.post("/oauth/introspect", content=body, headers=FORM)
        statuses.append(reply.status_code)
    assert statuses[:FREE_OF_ADDRESS] == [401] * FREE_OF_ADDRESS
    assert statuses[-1] == 429


async def test_o37_a_stranger_cannot_keep_a_public_client_from_revoking(
    world: World, person: Browser
) -> None:
    """Anybody can say to be a public client: its guesses are those of an address."""
    client = await world.client(is_public=True)
    tokens = await world.tokens(person, client)
    mallory = world.open(ip="198.51.100.9")

    async def revoke(http: Any, token: str) -> int:
        body = urlencode({"client_id": client["client_id"], "token": token})
        reply = await http.post("/oauth/revoke", content=body, headers=FORM)
        return int(reply.status_code)

    statuses = [await revoke(mallory, f"guess{n}") for n in range(LIMIT + 5)]
    assert statuses == [200] * LIMIT + [429] * 5
    assert await revoke(world.http, tokens["refresh_token"]) == 200
    assert error(await world.refresh(client, tokens["refresh_token"])) == "invalid_grant"


async def test_o11_a_code_is_for_who_allowed_it(world: World, person: Browser) -> None:
    client = await world.client()
    alice, alice_id = await world.invite("alice@a.test", "developer")
    hers = await world.tokens(alice, client, scope="chat")
    his = await world.tokens(person, client)
    assert claims(hers["access_token"])["sub"] == alice_id
    assert claims(his["access_token"])["sub"] not in (alice_id, None)
    assert claims(hers["access_token"])["scope"] == "chat"


async def test_o19_without_a_challenge_no_verifier_is_right(world: World, person: Browser) -> None:
    """No such code is ever made; were there one, it would open nothing."""
    client = await world.client()
    for challenge in ("", "plain", "v" * 43):
        code = await world.code(person, client)
        async with world.services.db.write() as session:
            await session.execute(update(CodeRow).values(challenge=challenge))
        assert error(await world.exchange(client, code)) == "invalid_grant"


async def test_codes_of_one_flow_are_of_no_use_in_the_other(world: World, person: Browser) -> None:
    asked = {"code_challenge": s256("v" * 43), "code_challenge_method": "S256"}
    page = await person.get("/auth", params=asked)
    shown = await person.submit(page, project="default", decision="allow")
    of_key = shown.text.partition('<code class="copy">')[2].partition("<")[0]
    assert of_key.startswith("xrc_")
    client = await world.client()
    assert error(await world.exchange(client, of_key)) == "invalid_grant"
    code = await world.code(person, client)
    body = {"code": code, "code_verifier": "v" * 43, "code_challenge_method": "S256"}
    assert (await world.http.post("/api/v1/auth/keys", json=body)).status_code == 403
    assert error(await world.exchange(client, code)) == "invalid_grant"  # burnt
    callback = {"client_id": "callback"}
    for kind in ("authorization_code", "refresh_token", "client_credentials"):
        reply = await world.token(callback, grant_type=kind, code=code, code_verifier="v" * 43)
        assert reply.status_code in (400, 401)


async def test_new_grants_tell_the_data_plane_nothing(world: World, person: Browser) -> None:
    """It needs to know what was revoked, and nothing else."""
    client = await world.client()
    before = world.changes
    tokens = await world.tokens(person, client)
    await world.refresh(client, tokens["refresh_token"])
    assert world.changes == before
    await world.publish()
    assert not world.data.snapshots.current.tokens.revoked
    assert (await world.call(tokens["access_token"])).status_code == 200
    await world.post("/oauth/revoke", client, token=tokens["access_token"])
    assert world.changes > before
