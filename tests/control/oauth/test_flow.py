"""The whole way, as it goes when nobody does anything wrong."""

from __future__ import annotations

import json

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.control.oauth.conftest import CALLBACK, ISSUER, Browser, World, told


async def test_from_consent_to_a_call(world: World, person: Browser) -> None:
    client = await world.client()
    reply = await world.consent(person, client)
    assert reply.headers["location"].startswith(CALLBACK + "?")
    assert told(reply)["state"] == "st4te"

    answer = await world.exchange(client, told(reply)["code"])

    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["token_type"] == "Bearer"
    assert body["scope"] == "chat models"
    keys = KeySet.import_key_set((await world.http.get("/oauth/jwks.json")).json())
    token = jwt.decode(body["access_token"], keys, algorithms=["ES256"])
    assert token.header["typ"] == "at+jwt"
    assert token.claims["iss"] == token.claims["aud"] == ISSUER
    await world.publish()
    assert (await world.call(body["access_token"])).status_code == 200
    again = await world.refresh(client, body["refresh_token"])
    assert again.status_code == 200, again.text
    assert json.dumps(again.json()) != json.dumps(body)


@pytest.mark.usefixtures("person")
async def test_a_person_signs_in_on_the_way(world: World) -> None:
    client = await world.client()
    stranger = world.browser()
    page = await stranger.get("/oauth/authorize", params=world.request(client))
    wrong = await stranger.submit(page, email="op@a.test", password="not this one")
    assert wrong.status_code == 401

    reply = await stranger.submit(wrong, email="op@a.test", password="correct horse battery")

    assert reply.status_code == 303
    consent = await stranger.get(reply.headers["location"])
    assert "App просит доступ" in consent.text
    allowed = await stranger.submit(consent, project="default", decision="allow")
    assert "code" in told(allowed)
