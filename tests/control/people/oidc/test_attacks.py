"""Attacks on signing in by a provider: each is told of in a page, and nobody comes in."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from sqlalchemy import select
from tests.control.people.conftest import COOKIE, ORIGIN, PASSWORD
from tests.control.people.oidc.conftest import (
    ACME,
    FLOW_COOKIE,
    JOINS,
    World,
    asked,
    back,
    begin,
    come_in,
    refused,
    welcomed,
)
from tests.control.people.oidc.issuer import CLIENT, CLIENT_SECRET, Issuer, rsa

from xrouter.control.db.tables.people import AuditRow, UserRow
from xrouter.control.people.throttle import FREE_OF_ADDRESS
from xrouter.telemetry.logs import log

pytestmark = pytest.mark.asyncio(loop_scope="module")

DISTRUST, ELSEWHERE = "cannot be trusted", "was begun elsewhere"
OTHER_RSA = rsa("two")
OTHER_EC = ECKey.generate_key("P-256")
NOW = int(time.time())
Told = dict[str, Any]


@pytest.fixture(scope="module")
def world_url(sqlite_world: str) -> str:
    """The attacks end before the database; which one it is makes no difference."""
    return sqlite_world


async def turned_away(world: World, issuer: Issuer) -> None:
    """Everything else is right: the person would be let in."""
    before, person = await world.count(UserRow), world.browser()
    await refused(person, await come_in(person, issuer, JOINS), 502, DISTRUST)
    assert await world.count(UserRow) == before
    seen = (await world.events("session.refuse"))[0]
    assert seen["detail"] == {"provider": "joins", "reason": "failed"}


async def test_without_an_attack_all_of_them_come_in(world: World, issuer: Issuer) -> None:
    person = world.browser()
    await welcomed(person, await come_in(person, issuer, JOINS))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.test"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"aud": [CLIENT, "another"], "azp": CLIENT},
        {"aud": [CLIENT, 5]},
        {"aud": {CLIENT: 1}},
        {"aud": []},
        {"azp": "another"},
        {"azp": ""},
        {"exp": NOW - 3600},
        {"exp": None},
        {"exp": str(NOW + 300)},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": -(10**400)},
        {"iat": 10**400},
        {"iat": NOW + 3600},
        {"iat": NOW - 3600},
        {"iat": None},
        {"nbf": NOW + 3600},
        {"nonce": "another"},
        {"nonce": None},
        {"nonce": ""},
        {"nonce": 5},
        {"nonce": ["a"]},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"at_hash": 5},
        {"sub": None},
        {"sub": ""},
        {"sub": 5},
        {"sub": "s" * 256},
        {"sub": "a\0b"},
    ],
    ids=" ".join,
)
async def test_an_id_token_that_is_not_for_us(world: World, issuer: Issuer, claims: Told) -> None:
    issuer.claims = claims
    await turned_away(world, issuer)


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "at+jwt"},
        {"typ": "logout+jwt"},
        {"typ": 5},
        {"jwk": OTHER_RSA.as_dict(private=False)},
        {"jku": "http://127.0.0.1:1/keys"},
        {"x5u": "http://127.0.0.1:1/chain"},
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": True},
        {"kid": "unknown"},
        {"kid": 5},
        {"alg": "RS384"},
        {"alg": "PS512"},
        {"alg": "rs256"},
        {"alg": None},
        {"alg": ["RS256"]},
        {"zip": "DEF"},
    ],
    ids=" ".join,
)
async def test_a_header_with_a_meaning_of_its_own(
    world: World, issuer: Issuer, header: Told
) -> None:
    key = issuer.keys["one"]

    def sign(told: Told, claims: Told) -> str:
        """As RS256 would sign it, whatever the header says."""
        parts = [urlsafe_b64encode(json.dumps(each).encode()) for each in (told, claims)]
        text = b".".join(part.rstrip(b"=") for part in parts)
        made = jws.JWSRegistry.algorithms["RS256"].sign(text, key)
        return (text + b"." + urlsafe_b64encode(made).rstrip(b"=")).decode()

    issuer.header, issuer.sign = header, sign
    await turned_away(world, issuer)


def _unsigned(_header: Told, claims: Told) -> str:
    parts = [json.dumps(each).encode() for each in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


def _by_another(_header: Told, claims: Told) -> str:
    return jwt.encode({"alg": "RS256", "kid": "one"}, claims, OTHER_RSA)


def _by_a_key_of_another_family(_header: Told, claims: Told) -> str:
    return jwt.encode({"alg": "ES256", "kid": "one"}, claims, OTHER_EC)


def _by_the_client_secret(_header: Told, claims: Told) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET * 2))


@pytest.mark.parametrize(
    "sign", [_unsigned, _by_another, _by_a_key_of_another_family, _by_the_client_secret]
)
async def test_a_signature_that_is_none_of_theirs(world: World, issuer: Issuer, sign: Any) -> None:
    issuer.sign = sign
    await turned_away(world, issuer)


@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
async def test_the_public_key_is_no_shared_secret(world: World, issuer: Issuer, form: str) -> None:
    public = issuer.keys["one"]
    assert isinstance(public, RSAKey)
    if form == "jwk":
        known = json.dumps(public.as_dict(private=False)).encode()
    else:
        known = public.as_pem(private=False) if form == "pem" else public.as_der(private=False)

    def sign(_header: Told, claims: Told) -> str:
        parts = [json.dumps(each).encode() for each in ({"alg": "HS256", "kid": "one"}, claims)]
        text = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        made = hmac.digest(known, text, "sha256")
        return (text + b"." + urlsafe_b64encode(made).rstrip(b"=")).decode()

    issuer.sign = sign
    await turned_away(world, issuer)


@pytest.mark.parametrize("change", ["payload", "signature", "cut", "longer", "letters"])
async def test_a_token_that_was_changed_on_the_way(
    world: World, issuer: Issuer, change: str
) -> None:
    def sign(header: Told, claims: Told) -> str:
        head, body, made = jwt.encode(header, claims, issuer.keys["one"]).split(".")
        if change == "payload":
            other = json.dumps(claims | {"sub": "another"}).encode()
            body = urlsafe_b64encode(other).decode().rstrip("=")
        elif change == "signature":
            made = ("A" if made[0] != "A" else "B") + made[1:]
        elif change == "cut":
            return f"{head}.{body}"
        elif change == "longer":
            return f"{head}.{body}.{made}." + "A" * 40_000
        else:
            return f"{head}.{body}.{made}é"
        return f"{head}.{body}.{made}"

    issuer.sign = sign
    await turned_away(world, issuer)


@pytest.mark.parametrize(
    "answer",
    [
        {"id_token": None},
        {"id_token": 5},
        {"id_token": ""},
        {"access_token": None},
        {"access_token": "a" * 40_000},
        {"access_token": "another"},
        {"token_type": "DPoP"},
    ],
    ids=lambda answer: str(answer)[:40],
)
async def test_an_answer_of_the_token_endpoint(world: World, issuer: Issuer, answer: Told) -> None:
    issuer.answer = answer
    await turned_away(world, issuer)


@pytest.mark.parametrize("told", [{"sub": "another"}, {"sub": None}, {"sub": ["a"]}], ids=str)
async def test_the_user_endpoint_tells_of_somebody_else(
    world: World, issuer: Issuer, told: Told
) -> None:
    issuer.in_token, issuer.told = False, told
    await turned_away(world, issuer)


async def test_a_page_that_somebody_else_began(world: World, issuer: Issuer) -> None:
    """Login CSRF: the victim's browser opens the address that ends the attacker's attempt."""
    mallory, victim = world.browser(), world.browser()
    await refused(victim, await back(victim, issuer.agrees(await begin(mallory))), 400, ELSEWHERE)
    await begin(victim)
    query = issuer.agrees(await begin(mallory))
    await refused(victim, await back(victim, query), 400, ELSEWHERE)
    assert issuer.asked["/token"] == 0


@pytest.mark.parametrize("lax", [False, True])
async def test_a_code_of_somebody_else(world: World, issuer: Issuer, *, lax: bool) -> None:
    """Code injection: a stolen code in an attempt of one's own. PKCE stops it; the nonce, too."""
    issuer.is_lax = lax
    victim, mallory = world.browser(), world.browser()
    stolen = issuer.agrees(await begin(victim, JOINS))["code"]
    query = issuer.agrees(await begin(mallory, JOINS)) | {"code": stolen}
    await refused(mallory, await back(mallory, query, JOINS), 502, DISTRUST)
    assert issuer.asked["/token"] == 1


async def test_an_attempt_comes_back_once(world: World, issuer: Issuer) -> None:
    person = world.browser()
    query = issuer.agrees(await begin(person, JOINS))
    kept = person.http.cookies[FLOW_COOKIE]
    await welcomed(person, await back(person, query, JOINS))
    assert FLOW_COOKIE not in person.http.cookies
    thief = world.browser()
    again = issuer.agrees(f"{issuer.url}/?" + "&".join(f"{k}={v}" for k, v in query.items()))
    thief.http.cookies.set(FLOW_COOKIE, kept, domain="control.test")
    await refused(thief, await back(thief, again, JOINS), 400, ELSEWHERE)
    assert issuer.asked["/token"] == 1


async def test_of_many_at_once_one_comes_back(world: World, issuer: Issuer) -> None:
    person = world.browser()
    query = issuer.agrees(await begin(person, JOINS))
    replies = await asyncio.gather(*(back(person, query, JOINS) for _ in range(8)))
    assert sorted(reply.status_code for reply in replies) == [303] + [400] * 7
    assert issuer.asked["/token"] == 1


@pytest.mark.parametrize("state", [None, "", "another", "é"])
async def test_another_state(world: World, issuer: Issuer, state: str | None) -> None:
    person = world.browser()
    query = issuer.agrees(await begin(person, JOINS)) | {"state": state}
    told = {name: value for name, value in query.items() if value is not None}
    reply = await back(person, told, JOINS)
    assert reply.status_code in (400, 502)
    await person.error("GET", "/auth/me", status=401)
    assert issuer.asked["/token"] == 0


@pytest.mark.parametrize("name", ["code", "state", "iss", "error"])
async def test_a_parameter_that_comes_twice(world: World, issuer: Issuer, name: str) -> None:
    person = world.browser()
    query = issuer.agrees(await begin(person, JOINS)) | ({"error": "a"} if name == "error" else {})
    twice = [*query.items(), (name, "another")]
    await refused(person, await back(person, twice, JOINS), 502, DISTRUST)
    assert issuer.asked["/token"] == 0


@pytest.mark.parametrize("change", ["cut", "letter", "made up", "session", "two"])
async def test_a_cookie_that_is_not_ours(world: World, issuer: Issuer, change: str) -> None:
    person = world.browser()
    query = issuer.agrees(await begin(person, JOINS))
    kept = person.http.cookies[FLOW_COOKIE]
    middle = len(kept) // 2
    brought = {
        "cut": kept[:-8],
        "letter": kept[:middle] + ("A" if kept[middle] != "A" else "B") + kept[middle + 1 :],
        "made up": urlsafe_b64encode(json.dumps({"state": query["state"]}).encode()).decode(),
        "session": world.operator.cookie or "",
        "two": f"{kept}; {FLOW_COOKIE}={kept}",
    }[change]
    person.http.cookies.clear()
    headers = {"cookie": f"{FLOW_COOKIE}={brought}"}
    reply = await person.http.get(f"{JOINS}/callback", params=query, headers=headers)
    await refused(person, reply, 400, ELSEWHERE)


async def test_an_answer_of_another_provider(world: World, issuer: Issuer) -> None:
    """Mix-up: begun at one, brought back as if it were from another."""
    person = world.browser()
    query = issuer.agrees(await begin(person, ACME))
    await refused(person, await back(person, query, JOINS), 400, ELSEWHERE)
    for iss in ("https://evil.test", f"{issuer.url}/", ""):
        query = issuer.agrees(await begin(person, JOINS)) | {"iss": iss}
        await refused(person, await back(person, query, JOINS), 502, DISTRUST)
    query = issuer.agrees(await begin(person, JOINS))
    del query["iss"]
    await refused(person, await back(person, query, JOINS), 502, DISTRUST)
    assert issuer.asked["/token"] == 0


@pytest.mark.parametrize(
    "next_url",
    [
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test",
        "\\\\evil.test",
        "/\t/evil.test",
        "javascript:alert(1)",
        "control",
        " /control",
        "/a\r\nset-cookie: a=b",
        "/é",
        "/" + "a" * 2000,
    ],
)
async def test_an_open_redirect(world: World, issuer: Issuer, next_url: str) -> None:
    person = world.browser()
    address = await begin(person, JOINS, params={"next": next_url})
    reply = await back(person, issuer.agrees(address), JOINS)
    assert (reply.status_code, reply.headers["location"]) == (303, "/control/signed-in")


async def test_an_open_redirect_after_linking(world: World, issuer: Issuer) -> None:
    person = await world.invited(f"open{issuer.people}@a.test", "viewer")
    given = {"provider": "acme", "next": "//evil.test/"}
    begun = await person.ask("POST", "/auth/identities", json=given, status=201)
    reply = await back(person, issuer.agrees(begun["url"]))
    assert (reply.status_code, reply.headers["location"]) == (303, "/control/linked")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "evil.test"},
        {"host": "control.test:8443"},
        {"host": "control.test:x"},
    ],
    ids=lambda given: str(given)[:50],
)
async def test_an_attempt_that_our_page_did_not_begin(world: World, headers: Told) -> None:
    reply = await world.browser().http.get(ACME + "?next=/auth", headers=headers)
    assert reply.status_code == 303
    assert reply.headers["location"] == ORIGIN + "/control/sign-in?next=%2Fauth"
    assert "set-cookie" not in reply.headers


async def test_what_a_provider_says_is_not_shown(world: World, issuer: Issuer) -> None:
    person = world.browser()
    query = issuer.agrees(await begin(person, JOINS))
    del query["code"]
    told = {"error": "access_denied", "error_description": "<script>Call 555</script>"}
    reply = await back(person, query | told, JOINS)
    await refused(person, reply, 403, "did not let you in")
    assert "script" not in reply.text
    assert "555" not in reply.text


async def test_an_identity_is_linked_by_who_began_it_alone(world: World, issuer: Issuer) -> None:
    """Otherwise somebody's own identity would be linked to the account of a victim."""
    mallory = await world.invited(f"mallory{issuer.people}@a.test", "viewer")
    given = {"provider": "acme"}
    begun = await mallory.ask("POST", "/auth/identities", json=given, status=201)
    query, planted = issuer.agrees(begun["url"]), mallory.http.cookies[FLOW_COOKIE]
    victim = world.browser()
    await victim.sign_in("op@a.test")
    victim.http.cookies.set(FLOW_COOKIE, planted, domain="control.test")
    reply = await back(victim, query)
    assert (reply.status_code, "not signed in as the one" in reply.text) == (403, True)
    assert (await victim.ask("GET", "/auth/identities"))["data"] == []
    path = "/control/v1/auth/identities"
    without = {"x-csrf-token": ""}
    assert (await victim.http.post(path, json=given, headers=without)).status_code == 403
    foreign = {"origin": "https://evil.test"}
    assert (await victim.http.post(path, json=given, headers=foreign)).status_code == 403
    assert (await world.browser().http.post(path, json=given)).status_code == 401


async def test_an_attempt_does_not_outlive_the_session_that_began_it(
    world: World, issuer: Issuer
) -> None:
    person = await world.invited(f"out{issuer.people}@a.test", "viewer")
    begun = await person.ask("POST", "/auth/identities", json={"provider": "acme"}, status=201)
    await person.ask_nothing("POST", "/auth/sign-out-everywhere")
    reply = await back(person, issuer.agrees(begun["url"]))
    await refused(person, reply, 403, "not signed in as the one")


async def test_a_session_given_beforehand_is_not_taken_over(world: World, issuer: Issuer) -> None:
    mallory = await world.invited(f"fix{issuer.people}@a.test", "viewer")
    planted = mallory.cookie
    await welcomed(mallory, await come_in(mallory, issuer, JOINS))
    assert mallory.cookie != planted
    thief = world.browser()
    cookie = {"cookie": f"{COOKIE}={planted}"}
    await thief.error("GET", "/auth/me", status=401, headers=cookie)


async def test_tries_are_counted_with_those_of_passwords(world: World, issuer: Issuer) -> None:
    person = world.browser()
    for _ in range(FREE_OF_ADDRESS):
        await refused(person, await back(person, {"state": "a"}), 400, ELSEWHERE)
    reply = await back(person, {"state": "a"})
    assert (reply.status_code, "too many attempts" in reply.text) == (429, True)
    body = {"email": "op@a.test", "password": PASSWORD}
    await person.error("POST", "/auth/sign-in", json=body, status=429)
    assert issuer.asked["/token"] == 0


async def test_no_such_provider(world: World) -> None:
    person = world.browser()
    before = await world.count(AuditRow)
    for name in ("nobody", "%00", "a" * 5000, "acme%20"):
        for path in (f"/control/oidc/{name}", f"/control/oidc/{name}/callback"):
            assert (await person.http.get(path)).status_code == 404
    await world.operator.error("POST", "/auth/identities", json={"provider": "x"}, status=404)
    assert await world.count(AuditRow) == before


async def test_secrets_are_nowhere(
    world: World, issuer: Issuer, capfd: pytest.CaptureFixture[str]
) -> None:
    person, other = world.browser(), world.browser()
    address = await begin(person, JOINS)
    query = issuer.agrees(address)
    reply = await back(person, query, JOINS)
    await refused(other, await back(other, query, JOINS), 400, ELSEWHERE)
    issuer.claims = {"nonce": "x"}
    with log.captured() as events:
        await refused(other, await come_in(other, issuer, JOINS), 502, DISTRUST)
    assert "oidc_refused" in {each["event"] for each in events}
    told = "".join(capfd.readouterr()) + json.dumps(events, default=str)
    async with world.db.read() as session:
        rows = await session.scalars(select(AuditRow.detail))
        told += json.dumps([*rows]) + reply.text
    secrets = [query["code"] + '"', query["state"], asked(address)["nonce"], CLIENT_SECRET]
    secrets += [issuer.forms[0]["code_verifier"], f"access {query['code']}"]
    assert not [each for each in secrets if each in told]
