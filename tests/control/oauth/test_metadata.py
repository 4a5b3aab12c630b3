"""What the server says of itself, and its keys: O-38, O-39, O-42."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jws
from sqlalchemy import select
from tests.control.oauth.conftest import ISSUER, NewWorld, World, error

from xrouter.control.db.tables.catalog import CatalogState
from xrouter.control.db.tables.oauth import SigningKeyRow
from xrouter.settings import Settings

WELL_KNOWN = "/.well-known/oauth-authorization-server"
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k"}


async def published(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.http.get("/oauth/jwks.json")).json()["keys"]
    return found


async def revision(world: World) -> int:
    async with world.services.db.read() as session:
        return await session.scalar(select(CatalogState.revision)) or 0


def header(token: str) -> dict[str, Any]:
    return dict(jws.extract_compact(token.encode()).headers())


async def test_o38_the_metadata(world: World) -> None:
    reply = await world.http.get(WELL_KNOWN, headers={"host": "evil.test", "x-forwarded-host": "e"})
    body = reply.json()
    assert body["issuer"] == ISSUER
    assert body["code_challenge_methods_supported"] == ["S256"]
    assert body["authorization_response_iss_parameter_supported"] is True
    assert body["response_types_supported"] == ["code"]
    assert "evil" not in reply.text
    for name, url in body.items():
        if name.endswith("_endpoint") or name == "jwks_uri":
            assert url.startswith(ISSUER + "/")
            there = await world.http.request("OPTIONS", url.removeprefix(ISSUER))
            assert there.status_code in (204, 405), name  # and no 404


async def test_o38_an_issuer_with_a_path(new_world: NewWorld) -> None:
    world = await new_world(issuer=ISSUER + "/tenant")
    body = (await world.http.get(WELL_KNOWN + "/tenant")).json()
    assert body["issuer"] == ISSUER + "/tenant"
    assert body["token_endpoint"] == ISSUER + "/tenant/oauth/token"
    assert (await world.http.get(WELL_KNOWN)).status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://router.test",
        "ftp://router.test",
        "https://",
        "https://a.test?x=1",
        "https://a.test#x",
    ],
)
def test_o38_public_urls_that_cannot_be(url: str) -> None:
    with pytest.raises(ValueError, match="public_url"):
        Settings(public_url=url)


def test_o38_the_issuer_is_what_is_set() -> None:
    assert Settings(public_url="https://a.test/x/").issuer == "https://a.test/x"
    assert Settings(public_url="http://localhost:1").issuer == "http://localhost:1"
    assert Settings(port=8081).issuer == "http://127.0.0.1:8081"


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_o39_what_a_token_says(new_world: NewWorld, algorithm: str) -> None:
    world = await new_world(algorithm=algorithm)
    token = await world.own_token(await world.service())
    (key,) = await published(world)
    assert header(token) == {"alg": algorithm, "kid": key["kid"], "typ": "at+jwt"}
    assert key["alg"] == algorithm
    assert key["use"] == "sig"
    assert not PRIVATE & set(key)
    payload = jws.extract_compact(token.encode()).payload
    claims = json.loads(payload)
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope"} <= set(claims)
    await world.publish()
    assert (await world.call(token)).status_code == 200


async def test_o42_a_key_is_published_before_it_signs(world: World) -> None:
    client = await world.service()
    first = await world.own_token(client)
    before = await revision(world)
    world.ahead = timedelta(days=91)
    await world.oauth.keeper.turn()
    assert await revision(world) > before  # or no snapshot would carry it
    old, new = (key["kid"] for key in await published(world))
    assert header(await world.own_token(client))["kid"] == old == header(first)["kid"]

    world.ahead += timedelta(days=1, seconds=1)
    await world.oauth.keeper.turn()

    second = await world.own_token(client)
    assert header(second)["kid"] == new
    await world.publish()
    for token in (first, second):  # the clock of the door has not gone on
        assert (await world.call(token)).status_code in (200, 401)
    assert len(world.data.snapshots.current.tokens.keys) == 2
    world.ahead += timedelta(days=367)
    await world.oauth.keys.turn()
    await world.oauth.keys.turn()
    kids = {key["kid"] for key in await published(world)}
    assert old not in kids
    assert new in kids


async def test_o42_private_keys_are_sealed(world: World) -> None:
    async with world.services.db.read() as session:
        (row,) = (await session.scalars(select(SigningKeyRow))).all()
    for name in (b'"d"', b'"kty"', b"P-256"):
        assert name not in row.private


async def test_o42_the_first_key_is_made_once(new_world: NewWorld) -> None:
    world = await new_world()
    await asyncio.gather(*(world.oauth.keys.turn() for _ in range(5)))
    assert len(await published(world)) == 1


async def test_o42_a_key_that_has_leaked_is_taken_away(world: World) -> None:
    client = await world.service()
    token = await world.own_token(client)
    await world.publish()
    assert (await world.call(token)).status_code == 200
    (key,) = (await world.ask("GET", "/oauth/keys"))["data"]

    await world.ask("DELETE", f"/oauth/keys/{key['kid']}")

    await world.publish()
    assert (await world.call(token)).status_code == 401
    fresh = await world.own_token(client)
    await world.publish()
    assert (await world.call(fresh)).status_code == 200
    await world.ask("DELETE", f"/oauth/keys/{key['kid']}", status=404)


async def test_o42_a_key_made_ahead_of_its_time_signs_later(world: World) -> None:
    made = await world.ask("POST", "/oauth/keys", status=201)
    token = await world.own_token(await world.service())
    assert header(token)["kid"] != made["kid"]
    assert made["kid"] in {key["kid"] for key in await published(world)}


async def test_o42_without_the_key_that_signed_another_signs_at_once(world: World) -> None:
    """Also where one was made ahead of its time, and would sign from tomorrow on."""
    client = await world.service()
    leaked = header(await world.own_token(client))["kid"]
    ahead = (await world.ask("POST", "/oauth/keys", status=201))["kid"]
    await world.ask("DELETE", f"/oauth/keys/{leaked}")
    token = await world.own_token(client)
    assert header(token)["kid"] not in (leaked, ahead)
    await world.publish()
    assert (await world.call(token)).status_code == 200
    world.ahead = timedelta(days=1, seconds=1)
    await world.oauth.keeper.turn()
    assert header(await world.own_token(client))["kid"] == ahead


async def test_after_a_change_of_the_algorithm_both_are_good(new_world: NewWorld) -> None:
    first = await new_world()
    client = await first.service()
    old = await first.own_token(client)
    second = await new_world(algorithm="RS256")
    new = await second.own_token(client)
    assert header(new)["alg"] == "RS256"
    await second.publish()
    for token in (old, new):
        assert (await second.call(token)).status_code == 200


async def test_none_of_it_is_served_for_others(world: World) -> None:
    assert (await world.http.get("/oauth/unknown")).status_code == 404
    assert (await world.http.get("/authx")).status_code == 404
    assert (await world.http.get("/api/v1/keyx")).status_code == 404
    assert error(await world.http.post("/oauth/token"), 400) == "invalid_request"
