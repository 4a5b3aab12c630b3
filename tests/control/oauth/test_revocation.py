"""Revocation and introspection, attacked: O-33 to O-37, O-46."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import select
from tests.control.oauth.conftest import FORM, Browser, World, error

from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.tables.oauth import RevokedRow
from xrouter.stores.snapshot_file import SnapshotFile

REVOKE, INTROSPECT = "/oauth/revoke", "/oauth/introspect"
INACTIVE = {"active": False}


async def active(world: World, client: Any, token: str) -> bool:
    reply = await world.post(INTROSPECT, client, token=token)
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert body == INACTIVE or body["active"] is True
    found: bool = body["active"]
    return found


async def test_o33_revoking(world: World, person: Browser) -> None:
    client, other = await world.client(), await world.client(name="Other")
    tokens = await world.tokens(person, client)
    access, refresh = tokens["access_token"], tokens["refresh_token"]
    assert (await world.http.get(REVOKE)).status_code == 405
    unsigned = await world.http.post(REVOKE, content=urlencode({"token": access}), headers=FORM)
    assert error(unsigned, 401) == "invalid_client"
    assert error(await world.post(REVOKE, client)) == "invalid_request"
    assert (await world.post(REVOKE, client, token="unknown")).status_code == 200
    for theirs in (access, refresh):
        assert (await world.post(REVOKE, other, token=theirs)).status_code == 400
        assert await active(world, client, theirs)
    wrong_hint = {"token": access, "token_type_hint": "refresh_token"}
    reply = await world.post(REVOKE, client, **wrong_hint)
    assert (reply.status_code, reply.content) == (200, b"")
    assert not await active(world, client, access)
    assert await active(world, client, refresh)
    assert (await world.post(REVOKE, client, token=access)).status_code == 200


async def test_o33_a_public_client_revokes_its_own_token(world: World, person: Browser) -> None:
    client = await world.client(is_public=True)
    tokens = await world.tokens(person, client)
    body = {"client_id": client["client_id"], "token": tokens["refresh_token"]}
    reply = await world.http.post(REVOKE, content=urlencode(body), headers=FORM)
    assert reply.status_code == 200
    assert error(await world.refresh(client, tokens["refresh_token"])) == "invalid_grant"


async def test_o34_with_a_refresh_token_its_access_tokens_end(
    world: World, person: Browser
) -> None:
    client = await world.client()
    tokens = await world.tokens(person, client)
    fresh = (await world.refresh(client, tokens["refresh_token"])).json()
    await world.publish()
    before = world.changes
    assert (await world.call(fresh["access_token"])).status_code == 200

    await world.post(REVOKE, client, token=fresh["refresh_token"])

    assert world.changes > before  # the data plane is told at once
    await world.publish()
    for each in (tokens, fresh):
        assert (await world.call(each["access_token"])).status_code == 401
        assert not await active(world, client, each["access_token"])


async def test_o34_a_revoked_access_token_alone_ends(world: World, person: Browser) -> None:
    client = await world.client()
    first = await world.tokens(person, client)
    second = (await world.refresh(client, first["refresh_token"])).json()
    await world.post(REVOKE, client, token=first["access_token"])
    await world.publish()
    assert (await world.call(first["access_token"])).status_code == 401
    assert (await world.call(second["access_token"])).status_code == 200


async def test_o35_without_the_database_nothing_is_promised(
    world: World, person: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.client()
    tokens = await world.tokens(person, client)

    def away(_self: object) -> Any:
        raise DatabaseError("The database does not serve.")

    monkeypatch.setattr(type(world.services.db), "write", away)
    reply = await world.post(REVOKE, client, token=tokens["access_token"])
    assert error(reply, 503) == "temporarily_unavailable"
    assert int(reply.headers["retry-after"]) > 0
    monkeypatch.setattr(type(world.services.db), "read", away)
    assert error(await world.refresh(client, tokens["refresh_token"]), 503)
    assert error(await world.post(INTROSPECT, client, token="x"), 503)
    assert (await world.http.get("/oauth/jwks.json")).status_code == 503
    page = await world.http.get("/oauth/authorize", params=world.request(client))
    assert page.status_code == 503
    key = await world.http.get("/api/v1/key", headers={"authorization": "Bearer sk-xr-x"})
    assert key.status_code == 503


async def test_o36_introspection(world: World, person: Browser) -> None:
    client, other = await world.client(), await world.client(name="Other")
    public = await world.client(is_public=True)
    tokens = await world.tokens(person, client)
    reply = await world.post(INTROSPECT, client, token=tokens["access_token"])
    body = reply.json()
    assert reply.headers["cache-control"] == "no-store"
    assert body["active"] is True
    assert body["client_id"] == client["client_id"]
    assert body["scope"] == "chat models"
    assert await active(world, client, tokens["refresh_token"])
    for token in (tokens["access_token"], tokens["refresh_token"]):
        theirs = await world.post(INTROSPECT, other, token=token)
        assert (theirs.status_code, theirs.json()) == (200, INACTIVE)
        half = token[: len(token) // 2]
        assert not await active(world, client, half)
    for junk in ("x", "a.b.c", "ey" + "A" * 5000, "\x00", "юникод"):
        assert not await active(world, client, junk)
    unsigned = await world.http.post(INTROSPECT, content="token=x", headers=FORM)
    assert error(unsigned, 401) == "invalid_client"
    bare = urlencode({"client_id": public["client_id"], "token": "x"})
    assert error(await world.http.post(INTROSPECT, content=bare, headers=FORM), 401)
    world.ahead = timedelta(days=366)
    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert not await active(world, client, token)


async def test_o36_a_rotated_refresh_token_is_not_active(world: World, person: Browser) -> None:
    client = await world.client()
    tokens = await world.tokens(person, client)
    await world.refresh(client, tokens["refresh_token"])
    assert not await active(world, client, tokens["refresh_token"])


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_o37_nobody_guesses_tokens(world: World) -> None:
    client = await world.service()
    good = await world.own_token(client)
    for _ in range(120):
        assert await active(world, client, good)  # what is known costs nothing
    statuses = []
    for path in (INTROSPECT, REVOKE):
        replies = [await world.post(path, client, token=f"guess{n}") for n in range(60)]
        statuses += [reply.status_code for reply in replies]
    assert statuses[:100] == [200] * 100
    assert set(statuses[100:]) == {429}


async def test_o46_what_was_revoked_stays_so_and_is_forgotten_when_it_would_have_ended(
    world: World, person: Browser
) -> None:
    client = await world.client()
    tokens = await world.tokens(person, client)
    await world.post(REVOKE, client, token=tokens["access_token"])
    await world.publish()
    trust = world.data.snapshots.current.tokens
    assert len(trust.revoked) == 1
    async with world.services.db.read() as session:
        assert len((await session.scalars(select(RevokedRow))).all()) == 1

    # a process that starts without the database knows it from its file
    folder = world.data._voucher.parent
    file = SnapshotFile(folder / "kept.sealed", world.services.vault)
    await asyncio.to_thread(file.save, world.data.snapshots.current)
    loaded = await asyncio.to_thread(file.load)
    assert loaded is not None
    assert loaded.tokens == trust
    world.data.snapshots.replace(loaded)
    assert (await world.call(tokens["access_token"])).status_code == 401

    world.ahead = timedelta(days=366)
    await world.oauth.keeper.turn()
    async with world.services.db.read() as session:
        assert not (await session.scalars(select(RevokedRow))).all()


async def test_o33_many_who_revoke_the_same_token_at_once(world: World, person: Browser) -> None:
    client = await world.client()
    for name in ("access_token", "refresh_token"):
        tokens = await world.tokens(person, client)
        replies = await asyncio.gather(
            *(world.post("/oauth/revoke", client, token=tokens[name]) for _ in range(6))
        )
        assert {reply.status_code for reply in replies} == {200}
        await world.publish()
        assert (await world.call(tokens["access_token"])).status_code == 401
