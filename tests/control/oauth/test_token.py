"""The token endpoint, attacked: O-18 to O-32."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import select
from tests.control.oauth.conftest import CALLBACK, FORM, Browser, NewWorld, World, error

from xrouter.control.db.tables.oauth import ClientRow, CodeRow, RefreshRow
from xrouter.control.db.tables.people import AuditRow
from xrouter.control.oauth import grants

TOKEN = "/oauth/token"
DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*")


async def actions(world: World) -> list[str]:
    async with world.services.db.read() as session:
        return list(await session.scalars(select(AuditRow.action).order_by(AuditRow.id)))


async def test_o18_post_and_form_only(world: World) -> None:
    client = await world.service()
    good = {"grant_type": "client_credentials", "client_id": client["client_id"]}
    good["client_secret"] = client["client_secret"]
    assert (await world.http.get(TOKEN, params=good)).status_code == 405
    assert error(await world.http.post(TOKEN, json=good)) == "invalid_request"
    in_query = await world.http.post(f"{TOKEN}?{urlencode(good)}", content="", headers=FORM)
    assert error(in_query) == "invalid_request"
    assert error(await world.http.post(TOKEN, content=b"\xff=\xfe", headers=FORM), 401)
    large = await world.http.post(TOKEN, content="a=" + "b" * 70_000, headers=FORM)
    assert error(large, 413) == "invalid_request"
    twice = urlencode([*good.items(), ("grant_type", "client_credentials")])
    assert error(await world.http.post(TOKEN, content=twice, headers=FORM)) == "invalid_request"


async def test_o19_verifiers(world: World, person: Browser) -> None:
    client = await world.client()
    code = await world.code(person, client)
    for bad in (None, "", "v" * 42, "v" * 129, "v" * 42 + "=", "v" * 42 + " ", "й" * 43):
        reply = await world.exchange(client, code, code_verifier=bad)
        assert error(reply) == "invalid_request", bad
    # none of those has used it up
    assert (await world.exchange(client, code)).status_code == 200


async def test_o20_a_code_that_comes_twice_ends_what_was_made_of_it(
    world: World, person: Browser
) -> None:
    client = await world.client()
    code = await world.code(person, client)
    first = (await world.exchange(client, code)).json()
    await world.publish()
    assert (await world.call(first["access_token"])).status_code == 200

    assert error(await world.exchange(client, code)) == "invalid_grant"

    assert error(await world.refresh(client, first["refresh_token"])) == "invalid_grant"
    await world.publish()
    assert (await world.call(first["access_token"])).status_code == 401
    assert "oauth.code_reuse" in await actions(world)


async def test_o20_fifty_at_once_get_one_answer(world: World, person: Browser) -> None:
    client = await world.client()
    code = await world.code(person, client)
    replies = await asyncio.gather(*(world.exchange(client, code) for _ in range(50)))
    statuses = sorted(reply.status_code for reply in replies)
    assert statuses == [200, *[400] * 49]


async def test_o21_a_code_of_another_client_is_burnt(world: World, person: Browser) -> None:
    ours, theirs = await world.client(), await world.client(name="Evil")
    code = await world.code(person, ours)
    assert error(await world.exchange(theirs, code)) == "invalid_grant"
    assert error(await world.exchange(ours, code)) == "invalid_grant"


async def test_o22_confidential_clients_authenticate(world: World) -> None:
    client = await world.service()
    name, secret = client["client_id"], client["client_secret"]
    ask = {"grant_type": "client_credentials"}
    good = await world.post(TOKEN, client, **ask)
    assert good.status_code == 200
    assert (await world.token(client, **ask)).status_code == 200
    both = await world.post(TOKEN, client, **ask, client_secret=secret)
    assert error(both) == "invalid_request"
    other = await world.post(TOKEN, client, **ask, client_id="another")
    assert error(other) == "invalid_request"
    wrong = await world.http.post(TOKEN, content=urlencode(ask), headers=FORM, auth=(name, "no"))
    assert error(wrong, 401) == "invalid_client"
    assert wrong.headers["www-authenticate"].startswith("Basic ")
    for headers in (
        {"authorization": "Basic !"},
        {"authorization": "Basic "},
        {"authorization": f"Bearer {secret}"},
        {"authorization": "Basic /////w=="},
    ):
        reply = await world.http.post(TOKEN, content=urlencode(ask), headers={**FORM, **headers})
        assert error(reply, 401) == "invalid_client"
    nobody = await world.http.post(TOKEN, content=urlencode(ask), headers=FORM)
    assert error(nobody, 401) == "invalid_client"
    bare = await world.token(client, **ask, client_secret="")
    assert error(bare, 401) == "invalid_client"


async def test_o22_a_public_client_cannot_bring_a_secret(world: World) -> None:
    client = await world.client(is_public=True)
    reply = await world.token(client, grant_type="refresh_token", client_secret="x")
    assert error(reply, 401) == "invalid_client"


async def test_o23_secrets_are_macs_and_cannot_be_guessed(world: World) -> None:
    client = await world.service()
    async with world.services.db.read() as session:
        row = await session.scalar(select(ClientRow))
    assert row is not None
    assert row.secret is not None
    assert client["client_secret"].encode() not in row.secret
    codes = []
    for attempt in range(10):
        reply = await world.token(
            client, grant_type="client_credentials", client_secret=f"guess{attempt}"
        )
        codes.append(reply.status_code)
    assert codes[0] == 401
    assert codes[-1] == 429
    waiting = await world.token(client, grant_type="client_credentials", client_secret="x")
    assert int(waiting.headers["retry-after"]) >= 1
    # whoever is elsewhere and knows the secret is not locked out
    elsewhere = world.open(ip="198.51.100.7")
    data = {"grant_type": "client_credentials", **_known(client)}
    reply = await elsewhere.post(TOKEN, content=urlencode(data), headers=FORM)
    assert reply.status_code == 200


def _known(client: Any) -> dict[str, str]:
    return {name: client[name] for name in ("client_id", "client_secret")}


async def test_o24_grants_that_are_not(world: World) -> None:
    client = await world.client()
    for kind in ("password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "x"):
        reply = await world.token(client, grant_type=kind, username="u", password="p")
        assert error(reply) == "unsupported_grant_type"
    assert error(await world.token(client)) == "invalid_request"
    reply = await world.token(client, grant_type="client_credentials")
    assert error(reply) == "unauthorized_client"
    service = await world.service()
    assert error(await world.exchange(service, "xrc_x")) == "unauthorized_client"


async def test_o25_what_an_answer_holds(world: World, person: Browser) -> None:
    client = await world.client()
    reply = await world.exchange(client, await world.code(person, client, scope="chat"))
    body = reply.json()
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["pragma"] == "no-cache"
    assert body["token_type"] == "Bearer"
    assert 0 <= 365 * 86400 - body["expires_in"] <= 1, "a grant ends in whole seconds"
    assert body["scope"] == "chat"


async def test_o26_nothing_that_was_sent_comes_back(world: World) -> None:
    client = await world.client()
    evil = '"><script>\r\nx: y\\ \x00'
    for changed in (
        {"grant_type": evil},
        {"grant_type": "authorization_code", "code": evil, "code_verifier": evil},
        {"grant_type": "refresh_token", "refresh_token": evil, "scope": evil},
    ):
        reply = await world.token(client, **changed)
        body = reply.json()
        assert reply.status_code == 400
        assert DESCRIPTION.fullmatch(body["error_description"])
        assert "<" not in reply.text
    reply = await world.token({"client_id": evil})
    assert error(reply, 401) == "invalid_client"


def test_o27_secrets_have_256_random_bits() -> None:
    made = {grants.CODE + secrets.token_urlsafe(grants._BYTES) for _ in range(100_000)}
    assert len(made) == 100_000
    assert {len(value) for value in made} == {4 + 43}


async def test_o27_what_is_stored_opens_nothing(world: World, person: Browser) -> None:
    client = await world.client()
    code = await world.code(person, client)
    tokens = (await world.exchange(client, code)).json()
    assert len(code) == len(tokens["refresh_token"]) == 47
    assert len(client["client_secret"]) == 47
    async with world.services.db.read() as session:
        macs = [*await session.scalars(select(CodeRow.mac))]
        macs += [*await session.scalars(select(RefreshRow.mac))]
    for secret in (code, tokens["refresh_token"]):
        assert all(secret.encode() not in mac for mac in macs)


@pytest.mark.parametrize("public", [True, False])
async def test_o28_refresh_tokens_are_bound_and_rotate(
    world: World, person: Browser, public: bool
) -> None:
    client, other = await world.client(is_public=public), await world.client(name="Other")
    tokens = await world.tokens(person, client)
    assert error(await world.refresh(other, tokens["refresh_token"])) == "invalid_grant"
    first = (await world.refresh(client, tokens["refresh_token"])).json()
    second = (await world.refresh(client, first["refresh_token"])).json()
    seen = {t["refresh_token"] for t in (tokens, first, second)}
    assert len(seen) == 3
    assert len({t["access_token"] for t in (tokens, first, second)}) == 3


async def test_o29_a_rotated_token_that_comes_again_ends_the_family(
    world: World, person: Browser
) -> None:
    client = await world.client()
    tokens = await world.tokens(person, client)
    fresh = (await world.refresh(client, tokens["refresh_token"])).json()
    world.ahead = timedelta(seconds=11)

    assert error(await world.refresh(client, tokens["refresh_token"])) == "invalid_grant"

    assert error(await world.refresh(client, fresh["refresh_token"])) == "invalid_grant"
    await world.publish()
    for each in (tokens, fresh):
        assert (await world.call(each["access_token"])).status_code == 401
    assert "oauth.refresh_reuse" in await actions(world)


async def test_o29_two_at_once_get_the_same_successor(world: World, person: Browser) -> None:
    client = await world.client()
    token = (await world.tokens(person, client))["refresh_token"]
    replies = await asyncio.gather(*(world.refresh(client, token) for _ in range(10)))
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.json()["refresh_token"] for reply in replies}) == 1
    async with world.services.db.read() as session:
        assert len((await session.scalars(select(RefreshRow))).all()) == 2


async def test_o29_once_the_successor_was_used_there_is_no_grace(
    world: World, person: Browser
) -> None:
    client = await world.client()
    token = (await world.tokens(person, client))["refresh_token"]
    second = (await world.refresh(client, token)).json()["refresh_token"]
    assert (await world.refresh(client, second)).status_code == 200
    assert error(await world.refresh(client, token)) == "invalid_grant"


async def test_o30_a_refresh_never_widens(world: World, person: Browser) -> None:
    client = await world.client()
    token = (await world.tokens(person, client, scope="chat"))["refresh_token"]
    for scope in ("chat models", "models", "account"):
        assert error(await world.refresh(client, token, scope=scope)) == "invalid_scope"
    assert (await world.refresh(client, token, scope="chat")).json()["scope"] == "chat"


async def test_o30_a_family_ends_however_often_it_was_refreshed(
    new_world: NewWorld,
) -> None:
    world = await new_world(token_life=timedelta(hours=1))
    client, person = await world.client(), await world.set_up()
    tokens = await world.tokens(person, client)
    assert tokens["expires_in"] == 3600
    for _ in range(5):
        world.ahead += timedelta(days=6)
        if world.ahead < timedelta(days=30):
            tokens = (await world.refresh(client, tokens["refresh_token"])).json()
    assert error(await world.refresh(client, tokens["refresh_token"])) == "invalid_grant"


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("what", ["client", "user", "project", "organization"])
async def test_o31_who_is_switched_off_is_out(world: World, what: str) -> None:
    dev, user_id = await world.invite("dev@a.test", "developer")
    client = await world.client()
    tokens = await world.tokens(dev, client)
    await world.publish()
    assert (await world.call(tokens["access_token"])).status_code == 200
    path = {
        "client": f"/oauth/clients/{client['client_id']}",
        "user": f"/users/{user_id}",
        "project": "/projects/default",
        "organization": "/organizations/default",
    }[what]

    await world.ask("PATCH", path, json={"is_active": False})

    expected = ("invalid_client", 401) if what == "client" else ("invalid_grant", 400)
    refused = await world.refresh(client, tokens["refresh_token"])
    assert error(refused, expected[1]) == expected[0]
    await world.oauth.keeper.turn()  # within EVERY_S
    await world.publish()
    assert (await world.call(tokens["access_token"])).status_code == 401


@pytest.mark.usefixtures("person")
async def test_o31_who_is_no_member_any_more_is_out(world: World) -> None:
    dev, user_id = await world.invite("dev@a.test", "developer")
    client = await world.client()
    tokens = await world.tokens(dev, client)
    await world.ask("DELETE", f"/organizations/default/members/{user_id}")
    assert error(await world.refresh(client, tokens["refresh_token"])) == "invalid_grant"
    await world.oauth.keeper.turn()
    await world.publish()
    assert (await world.call(tokens["access_token"])).status_code == 401


@pytest.mark.usefixtures("person")
async def test_o32_client_credentials(world: World) -> None:
    reply = await world.admin.post(
        "/control/v1/oauth/clients",
        json={
            "name": "P",
            "is_public": True,
            "grant_types": ["client_credentials"],
            "project": "default",
        },
    )
    assert reply.status_code == 400
    service = await world.service(name="user_01H")
    token = json.loads(_payload(await world.own_token(service)))
    assert token["sub"] == "client:" + service["client_id"]
    assert not token["sub"].startswith("user")
    again = json.loads(_payload(await world.own_token(service, scope="chat")))
    assert again["gid"] == token["gid"]
    assert again["scope"] == "chat"
    reply = await world.token(service, grant_type="client_credentials", scope="images")
    assert error(reply) == "invalid_scope"
    assert (
        "refresh_token" not in (await world.token(service, grant_type="client_credentials")).json()
    )
    assert CALLBACK not in str(token)


def _payload(token: str) -> bytes:
    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
