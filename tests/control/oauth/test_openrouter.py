"""The flow that tools know: `/auth`, a code, a key; and what a key may see of itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import select
from tests.control.oauth.conftest import Browser, World, s256, told

from xrouter.control.db.tables.billing import ChargeRow, LimitRow, LineRow
from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.domain.usage import new_id

CALLBACK = "http://localhost:8484/callback/aider?x=1"
VERIFIER = "v" * 86
RUBLE = 1_000_000_000


def request(**more: Any) -> dict[str, str]:
    given = {
        "callback_url": CALLBACK,
        "code_challenge": s256(VERIFIER),
        "code_challenge_method": "S256",
        **more,
    }
    return {name: value for name, value in given.items() if value is not None}


async def allow(person: Browser, **more: Any) -> httpx2.Response:
    page = await person.get("/auth", params=request(**more))
    assert page.status_code == 200, page.text
    return await person.submit(page, project="default", decision="allow")


async def exchange(world: World, code: Any, **more: Any) -> httpx2.Response:
    body = {"code": code, "code_verifier": VERIFIER, "code_challenge_method": "S256", **more}
    body = {name: value for name, value in body.items() if value is not None}
    return await world.http.post("/api/v1/auth/keys", json=body)


async def new_key(world: World, person: Browser, **more: Any) -> str:
    reply = await exchange(world, told(await allow(person, **more))["code"])
    assert reply.status_code == 200, reply.text
    key: str = reply.json()["key"]
    return key


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def seen(world: World, path: str, key: str) -> Any:
    reply = await world.http.get(path, headers=bearer(key))
    assert reply.status_code == 200, reply.text
    assert set(reply.json()) == {"data"}
    return reply.json()["data"]


async def test_a_tool_signs_in(world: World, person: Browser) -> None:
    reply = await allow(person)
    where = urlsplit(reply.headers["location"])
    assert (where.netloc, where.path) == ("localhost:8484", "/callback/aider")
    assert set(told(reply)) == {"x", "code"}

    answer = await exchange(world, told(reply)["code"])

    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"key", "user_id"}
    assert body["key"].startswith("sk-xr-")
    assert body["user_id"].startswith("user_")
    assert answer.headers["cache-control"] == "no-store"
    assert world.changes
    await world.publish()
    assert (await world.call(body["key"])).status_code == 200
    listed = (await world.ask("GET", "/keys"))["data"]
    assert [(key["name"], key["project"]) for key in listed] == [("localhost:8484", "default")]


async def test_the_name_of_the_key_can_be_asked_for(world: World, person: Browser) -> None:
    key = await new_key(world, person, key_label="Мой ноутбук")
    assert (await seen(world, "/api/v1/key", key))["label"] == "Мой ноутбук"


async def test_without_a_browser_of_its_own_the_code_is_copied(
    world: World, person: Browser
) -> None:
    page = await allow(person, callback_url=None)
    assert page.status_code == 200
    code = page.text.partition('<code class="copy">')[2].partition("<")[0]
    world.ahead = timedelta(minutes=9)
    assert (await exchange(world, code)).status_code == 200


async def test_a_key_is_given_once(world: World, person: Browser) -> None:
    code = told(await allow(person))["code"]
    replies = await asyncio.gather(*(exchange(world, code) for _ in range(20)))
    assert sorted(reply.status_code for reply in replies) == [200, *[403] * 19]
    refused = next(reply for reply in replies if reply.status_code == 403)
    assert refused.json()["error"]["code"] == 403
    async with world.services.db.read() as session:
        assert len((await session.scalars(select(KeyRow))).all()) == 1


async def test_o20_a_code_that_comes_twice_ends_the_key(world: World, person: Browser) -> None:
    other = await new_key(world, person)
    code = told(await allow(person))["code"]
    key = (await exchange(world, code)).json()["key"]
    assert await seen(world, "/api/v1/key", key)
    assert (await exchange(world, code)).status_code == 403
    reply = await world.http.get("/api/v1/key", headers=bearer(key))
    assert reply.status_code == 401
    await world.publish()
    assert (await world.call(key)).status_code == 401
    assert await seen(world, "/api/v1/key", other)


async def test_wrong_exchanges(world: World, person: Browser) -> None:
    code = told(await allow(person))["code"]
    assert (await world.http.get("/api/v1/auth/keys")).status_code == 405
    assert (await exchange(world, code, code_challenge_method="plain")).status_code == 400
    assert (await exchange(world, None)).status_code == 400
    assert (await exchange(world, 7)).status_code == 400
    assert (await exchange(world, code, code_verifier=None)).status_code == 403
    assert (await exchange(world, "xrc_unknown")).status_code == 403
    broken = await world.http.post(
        "/api/v1/auth/keys", content="{", headers={"content-type": "application/json"}
    )
    assert broken.status_code == 400
    assert (await exchange(world, code, code_verifier="w" * 43)).status_code == 403
    assert (await exchange(world, code)).status_code == 403  # burnt
    late = told(await allow(person))["code"]
    world.ahead = timedelta(minutes=2)
    assert (await exchange(world, late)).status_code == 403


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_requests_that_are_refused(person: Browser) -> None:
    for changed in (
        {"code_challenge": None},
        {"code_challenge": "short"},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"callback_url": "http://app.test/"},
        {"callback_url": "javascript:alert(1)"},
        {"callback_url": "https://user@app.test/"},
        {"callback_url": "http://localhost.evil.test/"},
        {"callback_url": "http://localhost@evil.test/"},
        {"callback_url": "https://app.test/#x"},
        {"callback_url": "https://app.test;sandbox"},
        {"callback_url": "https://app.test,"},
        {"callback_url": "https://app.test;x:443/"},
        {"key_label": "x" * 101},
        {"key_label": "a\x00b"},
    ):
        page = await person.get("/auth", params=request(**changed))
        assert page.status_code == 400, changed
        assert page.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_consent_is_asked_for_and_cannot_be_forged(world: World, person: Browser) -> None:
    page = await person.get("/auth", params=request())
    assert "form-action 'self' http://localhost:8484;" in page.headers["content-security-policy"]
    forged = await person.submit(page, csrf="x", project="default", decision="allow")
    assert forged.status_code == 403
    other = await person.submit(page, project="elsewhere", decision="allow")
    assert other.status_code == 403
    denied = await person.submit(page, decision="deny")
    assert denied.status_code == 200
    assert "location" not in denied.headers
    stranger = world.browser()
    asked = await stranger.get("/auth", params=request())
    assert 'name="password"' in asked.text
    reply = await stranger.submit(asked, email="op@a.test", password="correct horse battery")
    assert reply.headers["location"].startswith("/auth?")


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_an_operator_can_switch_it_off(world: World, person: Browser) -> None:
    code = told(await allow(person))["code"]
    client = {"client_id": "callback"}
    refused = await world.token(client, grant_type="authorization_code", code=code)
    assert refused.json()["error"] == "unauthorized_client"
    await world.ask("PATCH", "/oauth/clients/callback", json={"is_active": False})
    assert (await exchange(world, code)).status_code == 403
    page = await person.get("/auth", params=request())
    reply = await person.submit(page, project="default", decision="allow")
    assert reply.status_code == 403


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_pages_of_others_may_exchange(world: World) -> None:
    reply = await world.http.options("/api/v1/auth/keys", headers={"origin": "https://app.test"})
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in reply.headers


async def test_what_a_key_sees_of_itself(world: World, person: Browser) -> None:
    key = await new_key(world, person)
    found = (await world.ask("GET", "/keys"))["data"][0]["key_id"]
    now = world.now().timestamp()
    async with world.services.db.write() as session:
        session.add(charge("e1", found, 3 * RUBLE, now))
        session.add(charge("e2", found, 2 * RUBLE, now - 40 * 86400))
        session.add(charge("e3", "key_other", 50 * RUBLE, now))
        limit = {"subject": f"key:{found}", "meter": "money", "window": "month"}
        session.add(LimitRow(**limit, amount=10 * RUBLE, is_enabled=True))
        line = {"transfer": "t1", "at": now, "kind": "top_up", "author": "admin"}
        session.add(LineRow(**line, account="project:default", amount=100 * RUBLE))

    shown = await seen(world, "/api/v1/key", key)

    assert shown["usage"] == 5.0
    assert shown["usage_daily"] == shown["usage_monthly"] == 3.0
    assert (shown["limit"], shown["limit_remaining"], shown["limit_reset"]) == (
        10.0,
        7.0,
        "monthly",
    )
    assert shown["currency"] == "RUB"
    assert shown["is_free_tier"] is False
    assert await seen(world, "/api/v1/auth/key", key) == shown
    credit = await seen(world, "/api/v1/credits", key)
    assert credit == {"total_credits": 100.0, "total_usage": 55.0, "currency": "RUB"}


def charge(event: str, key_id: str, total: int, at: float) -> ChargeRow:
    return ChargeRow(
        event_id=event,
        at=at,
        month="2026-01",
        organization="default",
        project="default",
        key_id=key_id,
        provider="acme",
        model="acme/one",
        cost=total,
        margin=0,
        vat=0,
        total=total,
        is_estimated=False,
    )


async def test_a_generation(world: World, person: Browser) -> None:
    key, other = await new_key(world, person), await new_key(world, person)
    listed = (await world.ask("GET", "/keys"))["data"]
    key_id = listed[-1]["key_id"]
    serial = new_id()
    at = world.now().timestamp()
    async with world.services.db.write() as session:
        session.add(usage("e1", f"req_{serial}", key_id, at))
        session.add(charge("e1", key_id, RUBLE // 4, at))
    for name in (f"chatcmpl-{serial}", f"req_{serial}", f"gen-{serial}", serial):
        reply = await world.http.get("/api/v1/generation", params={"id": name}, headers=bearer(key))
        assert reply.status_code == 200, reply.text
        shown = reply.json()["data"]
        assert shown["id"] == name
        assert shown["model"] == "acme/one"
        assert shown["tokens_prompt"] == 10
        assert shown["total_cost"] == 0.25
        assert shown["latency"] == 120.0
        assert shown["generation_time"] == 380.0
    for who, name, status in (
        (other, f"req_{serial}", 404),
        (key, f"req_{new_id()}", 404),
        (key, "", 400),
        (key, "req_' OR 1=1", 400),
        (key, "8" * 26, 400),
    ):
        reply = await world.http.get("/api/v1/generation", params={"id": name}, headers=bearer(who))
        assert reply.status_code == status, name
        assert reply.json()["error"]["code"] == status


def usage(event: str, request_id: str, key_id: str, at: float) -> UsageRow:
    return UsageRow(
        event_id=event,
        request_id=request_id,
        at=at,
        operation="chat",
        key_id=key_id,
        project="default",
        model_served="acme/one",
        provider="acme",
        attempts=1,
        streamed=True,
        status=200,
        outcome="ok",
        finish_reason="stop",
        tokens_in=10,
        tokens_out=20,
        tokens_cached=0,
        tokens_reasoning=0,
        tokens_estimated=False,
        queue_ms=0.0,
        first_token_ms=120.0,
        total_ms=500.0,
    )


async def test_who_may_look(world: World, person: Browser) -> None:
    key = await new_key(world, person)
    client = await world.client(scopes=["chat", "account"])
    tokens = await world.tokens(person, client)
    narrow = await world.tokens(person, client, scope="chat")
    for path in ("/api/v1/key", "/api/v1/credits"):
        assert (await world.http.get(path)).status_code == 401
        assert (await world.http.get(path, headers=bearer("sk-xr-x"))).status_code == 401
        assert (await world.http.get(path, headers=bearer("x.y.z"))).status_code == 401
        assert await seen(world, path, tokens["access_token"])
        reply = await world.http.get(path, headers=bearer(narrow["access_token"]))
        assert reply.status_code == 403
        assert 'error="insufficient_scope"' in reply.headers["www-authenticate"]
    shown = await seen(world, "/api/v1/key", tokens["access_token"])
    assert shown["creator_user_id"].startswith("user_")
    assert shown["expires_at"] is not None
    found = (await world.ask("GET", "/keys"))["data"][0]["key_id"]
    await world.ask("POST", f"/keys/{found}/revoke")
    assert (await world.http.get("/api/v1/key", headers=bearer(key))).status_code == 401
    grants = [grant for grant in await _grants(person) if "account" in grant["scopes"]]
    await person.http.post(
        f"/control/v1/oauth/grants/{grants[0]['grant_id']}/revoke", headers=await _csrf(person)
    )
    reply = await world.http.get("/api/v1/key", headers=bearer(tokens["access_token"]))
    assert reply.status_code == 401


async def _grants(person: Browser) -> list[Any]:
    found: list[Any] = (await person.get("/control/v1/oauth/grants")).json()["data"]
    return found


async def _csrf(person: Browser) -> dict[str, str]:
    me = (await person.get("/control/v1/auth/me")).json()
    return {"x-csrf-token": me["csrf"], "origin": "https://router.test"}


@pytest.mark.parametrize("what", ["projects", "organizations"])
async def test_a_key_of_what_is_switched_off_sees_nothing(
    world: World, person: Browser, what: str
) -> None:
    key = await new_key(world, person)
    paths = ("/api/v1/key", "/api/v1/credits", "/api/v1/generation?id=req_" + "0" * 26)
    await world.ask("PATCH", f"/{what}/default", json={"is_active": False})
    for path in paths:
        reply = await world.http.get(path, headers=bearer(key))
        assert reply.status_code == 403, reply.text
        assert "switched off" in reply.json()["error"]["message"]
    await world.ask("PATCH", f"/{what}/default", json={"is_active": True})
    for path in paths[:2]:
        assert await seen(world, path, key)
