"""Signing in by a provider: who comes in, as whom, and what is written down."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from tests.control.people.conftest import COOKIE, ORIGIN, PASSWORD, Browser
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
from tests.control.people.oidc.issuer import CLIENT, CLIENT_SECRET, Issuer

from xrouter.control.db.tables.people import IdentityRow, LinkRow, UserRow

MAILS, PLAIN, WARY = "/control/oidc/mails", "/control/oidc/plain", "/control/oidc/wary"
UNKNOWN, TAKEN = "Nobody has invited you", "a user with your e-mail"

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_request_to_the_provider(world: World, issuer: Issuer) -> None:
    address = await begin(world.browser())
    assert address.startswith(f"{issuer.url}/authorize?tenant=a&")
    query = asked(address)
    secrets = [query.pop(name) for name in ("state", "nonce", "code_challenge")]
    assert [len(each) for each in secrets] == [43, 43, 43]
    assert query == {
        "tenant": "a",
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": f"{ORIGIN}{ACME}/callback",
        "scope": "openid email profile",
        "code_challenge_method": "S256",
    }
    other = asked(await begin(world.browser()))
    assert not set(secrets) & set(other.values())


async def test_nobody_unknown_comes_in(world: World, issuer: Issuer) -> None:
    before = await world.count(UserRow), await world.count(IdentityRow)
    person = world.browser()
    await refused(person, await come_in(person, issuer), 403, UNKNOWN)
    assert (await world.count(UserRow), await world.count(IdentityRow)) == before
    seen = (await world.events("session.refuse"))[0]
    assert seen["object"] == "user:unknown"
    assert seen["detail"] == {"provider": "acme", "reason": "unknown"}


async def test_an_allowed_domain_makes_a_member(world: World, issuer: Issuer) -> None:
    person = world.browser()
    me = await welcomed(person, await come_in(person, issuer, JOINS))
    assert me["user"]["email"] == issuer.email
    assert me["user"]["name"] == "Ann Smith"
    assert not me["user"]["is_operator"]
    assert [(m["organization"], m["role"]) for m in me["memberships"]] == [("default", "developer")]
    async with world.db.read() as session:
        query = select(IdentityRow).where(IdentityRow.subject == issuer.user["sub"])
        assert (await session.scalars(query)).one().issuer == issuer.url
    name = f"user:{person.user_id}"
    seen = (await world.events("identity.link"))[0]
    assert (seen["actor"], seen["object"]) == (name, name)
    assert seen["ip"].startswith("203.0.113.")
    assert (await world.events("session.begin"))[0]["detail"] == {"provider": "joins"}
    assert (await world.events("member.join"))[0]["detail"]["role"] == "developer"
    assert issuer.forms[0]["authorization"].startswith("Basic ")
    assert "client_secret" not in issuer.forms[0]


async def test_the_same_identity_is_the_same_user(world: World, issuer: Issuer) -> None:
    first, again = world.browser(), world.browser()
    one = await welcomed(first, await come_in(first, issuer, JOINS))
    before, issuer.user["email"] = issuer.email, "ann@married.test"
    two = await welcomed(again, await come_in(again, issuer))
    assert one["user"]["user_id"] == two["user"]["user_id"]
    assert two["user"]["email"] == before


async def test_an_address_alone_is_nobody(world: World, issuer: Issuer) -> None:
    """Another subject with the address of a user: the provider gave the address to another."""
    first, other = world.browser(), world.browser()
    await welcomed(first, await come_in(first, issuer, JOINS))
    issuer.user["sub"] += "-another"
    await refused(other, await come_in(other, issuer, JOINS), 403, TAKEN)


@pytest.mark.parametrize("verified", [False, None, "true", 1])
async def test_an_unverified_address_opens_nothing(
    world: World, issuer: Issuer, verified: object
) -> None:
    issuer.user["email_verified"] = verified
    person = world.browser()
    await refused(person, await come_in(person, issuer, JOINS), 403, UNKNOWN)


@pytest.mark.parametrize(
    "email", ["ann@sub.example.com", "ann@example.com@evil.test", "ann@evil.test", "", None, 5]
)
async def test_other_domains_open_nothing(world: World, issuer: Issuer, email: object) -> None:
    issuer.user["email"] = email
    person = world.browser()
    await refused(person, await come_in(person, issuer, JOINS), 403, UNKNOWN)


async def test_an_address_that_only_looks_like_another_is_not_that_one(
    world: World, issuer: Issuer
) -> None:
    """In lower case the sign of Kelvin is the letter k."""
    await world.invited("kim@mike.test", "viewer")
    for looks in ("\u212aim@mike.test", "kim@mi\u212ae.test"):
        assert looks.lower() == "kim@mike.test"
        issuer.user["email"] = looks
        person = world.browser()
        await refused(person, await come_in(person, issuer, MAILS), 403, UNKNOWN)
    issuer.user["email"] = "Kim@Mike.test"
    person = world.browser()
    await welcomed(person, await come_in(person, issuer, MAILS))


async def test_the_address_may_come_from_the_user_endpoint(world: World, issuer: Issuer) -> None:
    issuer.in_token = False
    person = world.browser()
    me = await welcomed(person, await come_in(person, issuer, JOINS))
    assert me["user"]["email"] == issuer.email
    assert issuer.forms[-1]["authorization"] == "Bearer access code0"


@pytest.mark.parametrize(
    "path, verified", [(MAILS, True), (MAILS, False), (ACME, True), (ACME, False)]
)
async def test_an_address_finds_a_user_only_where_that_is_allowed(
    world: World, issuer: Issuer, path: str, *, verified: bool
) -> None:
    issuer.user["email_verified"] = verified
    ann, person = await world.invited(issuer.email, "viewer"), world.browser()
    reply = await come_in(person, issuer, path)
    if path == MAILS and verified:
        assert (await welcomed(person, reply))["user"]["user_id"] == ann.user_id
    else:
        await refused(person, reply, 403, TAKEN if verified else UNKNOWN)


async def test_who_had_an_address_before_its_owner_came_is_out(
    world: World, issuer: Issuer
) -> None:
    """Whoever invites may take the invite: the account is of who has the address."""
    squatter = await world.invited(issuer.email, "viewer")
    owners = issuer.user
    issuer.user = {"sub": owners["sub"] + "-squatter", "name": "Squatter"}
    url = (await squatter.ask("POST", "/auth/identities", json={"provider": "acme"}, status=201))[
        "url"
    ]
    reply = await squatter.http.get(f"{ACME}/callback", params=issuer.agrees(url))
    assert reply.headers["location"] == "/control/linked"
    issuer.user = owners
    person = world.browser()
    me = await welcomed(person, await come_in(person, issuer, MAILS))
    assert me["user"]["user_id"] == squatter.user_id
    await squatter.error("GET", "/auth/me", status=401)
    assert (await world.events("user.claim"))[0]["object"] == f"user:{squatter.user_id}"
    again = world.browser()
    body = {"email": issuer.email, "password": PASSWORD}
    await again.error("POST", "/auth/sign-in", json=body, status=401)
    issuer.user = {"sub": owners["sub"] + "-squatter", "name": "Squatter"}
    await refused(again, await come_in(again, issuer), 403, UNKNOWN)
    issuer.user = owners
    await welcomed(again, await come_in(again, issuer, MAILS))
    await person.ask("GET", "/auth/me")


async def test_a_session_by_a_provider_is_a_session(world: World, issuer: Issuer) -> None:
    """Its cookie, its end everywhere, and its end when the user is switched off."""
    one, two = world.browser(), world.browser()
    reply = await come_in(one, issuer, JOINS)
    _, *flags = next(
        line for line in reply.headers.get_list("set-cookie") if line.startswith(COOKIE + "=")
    ).split("; ")
    assert {flag.lower() for flag in flags} == {"httponly", "path=/", "samesite=lax", "secure"}
    await welcomed(one, reply)
    await welcomed(two, await come_in(two, issuer))
    await one.ask_nothing("POST", "/auth/sign-out-everywhere")
    await two.error("GET", "/auth/me", status=401)
    await welcomed(two, await come_in(two, issuer))
    off = {"is_active": False}
    await world.operator.ask("PATCH", f"/users/{two.user_id}", json=off)
    await refused(two, await come_in(two, issuer), 403, "switched off")
    assert (await world.events("session.refuse"))[0]["object"] == f"user:{two.user_id}"


async def test_where_one_goes_on(world: World, issuer: Issuer) -> None:
    person = world.browser()
    reply = await come_in(person, issuer, JOINS)
    assert reply.headers["location"] == "/control/signed-in"
    assert "You can close" in (await person.http.get("/control/signed-in")).text
    address = await begin(person, ACME, params={"next": "/oauth/authorize?a=b&c=d%20e"})
    reply = await back(person, issuer.agrees(address))
    assert reply.headers["location"] == "/oauth/authorize?a=b&c=d%20e"


async def test_the_pages_lead_there(world: World) -> None:
    person = world.browser()
    page = (await person.http.get("/control/sign-in?next=/auth%3Fa=b")).text
    assert 'href="/control/oidc/acme?next=%2Fauth%3Fa%3Db">Sign in with Acme &lt;ID&gt;</a>' in page
    page = (await person.http.get("/control/sign-in?next=https://evil.test")).text
    assert 'href="/control/oidc/acme">' in page
    russian = {"accept-language": "ru"}
    page = (await person.http.get("/control/accept", headers=russian)).text
    assert 'data-way="/control/v1/auth/providers/acme/accept">Продолжить через Acme' in page
    assert "acme" not in (await person.http.get("/control/reset")).text
    told = await person.ask("GET", "/auth/providers")
    assert told["data"][0] == {"name": "acme", "title": "Acme <ID>", "start": ACME}


async def take(person: Browser, issuer: Issuer, secret: str) -> Any:
    path = "/auth/providers/acme/accept"
    begun = await person.ask("POST", path, json={"secret": secret}, status=201)
    return await back(person, issuer.agrees(begun["url"]))


@pytest.mark.parametrize("told", [True, False])
async def test_an_invite_is_taken_by_a_provider(
    world: World, issuer: Issuer, *, told: bool
) -> None:
    email = issuer.email
    issuer.user |= {"email": email if told else None, "email_verified": None}
    secret = await world.invite(email, "billing")
    person, other = world.browser(), world.browser()
    me = await welcomed(person, await take(person, issuer, secret))
    assert me["user"]["email"] == email
    assert [m["role"] for m in me["memberships"]] == ["billing"]
    path = "/auth/providers/acme/accept"
    error = await other.error("POST", path, json={"secret": secret}, status=400)
    assert error["code"] == "link_not_good"


async def test_an_invite_is_for_one_address(world: World, issuer: Issuer) -> None:
    secret = await world.invite("bob@example.com", "viewer")
    before, person = await world.count(UserRow), world.browser()
    await refused(person, await take(person, issuer, secret), 403, "another e-mail address")
    assert await world.count(UserRow) == before
    async with world.db.read() as session:
        query = select(LinkRow.used_at).where(LinkRow.email == "bob@example.com")
        assert (await session.scalars(query)).one() is None


async def test_an_invite_does_not_take_over_a_user(world: World, issuer: Issuer) -> None:
    """Whoever got hold of the link, and of an identity with any address, is not the user."""
    given = {"slug": f"org-{issuer.people}", "name": "Other"}
    await world.operator.ask("POST", "/organizations", json=given, status=201)
    secret = await world.invite("op@a.test", "viewer", given["slug"])
    issuer.user |= {"email": "op@a.test", "email_verified": False}
    person = world.browser()
    await refused(person, await take(person, issuer, secret), 403, TAKEN)


async def link_own(person: Browser, issuer: Issuer) -> Any:
    begun = await person.ask("POST", "/auth/identities", json={"provider": "acme"}, status=201)
    return await back(person, issuer.agrees(begun["url"]))


async def test_linking_and_unlinking(world: World, issuer: Issuer) -> None:
    email = f"dev{issuer.people}@a.test"
    one, two, person = await world.invited(email, "developer"), world.browser(), world.browser()
    await two.sign_in(email)
    reply = await link_own(one, issuer)
    assert (reply.status_code, reply.headers["location"]) == (303, "/control/linked")
    await one.ask("GET", "/auth/me")
    (identity,) = (await one.ask("GET", "/auth/identities"))["data"]
    assert (identity["issuer"], identity["subject"]) == (issuer.url, issuer.user["sub"])
    assert (await welcomed(person, await come_in(person, issuer)))["user"]["email"] == email
    path = f"/auth/identities/{identity['id']}"
    await world.operator.error("DELETE", path, status=404)
    await one.ask("DELETE", path)
    for gone in (person, two):
        await gone.error("GET", "/auth/me", status=401)
    one.knows(await one.ask("GET", "/auth/me"))
    await refused(person, await come_in(person, issuer), 403, UNKNOWN)
    seen = (await world.events("identity.unlink"))[0]
    assert seen["detail"] == {"issuer": issuer.url, "subject": issuer.user["sub"]}
    await one.error("DELETE", path, status=404)


async def test_the_last_way_in_stays(world: World, issuer: Issuer) -> None:
    person = world.browser()
    await welcomed(person, await come_in(person, issuer, JOINS))
    (identity,) = (await person.ask("GET", "/auth/identities"))["data"]
    error = await person.error("DELETE", f"/auth/identities/{identity['id']}", status=409)
    assert error["code"] == "last_identity"


async def test_the_identity_of_another_is_not_linked(world: World, issuer: Issuer) -> None:
    owner, person = world.browser(), await world.invited(f"x{issuer.email}", "developer")
    await welcomed(owner, await come_in(owner, issuer, JOINS))
    reply = await link_own(person, issuer)
    assert (reply.status_code, "another user" in reply.text) == (403, True)
    assert (await person.ask("GET", "/auth/identities"))["data"] == []


async def by_plain(person: Browser, issuer: Issuer, path: str) -> Any:
    """A provider that speaks OAuth 2.0 alone, and tells no issuer."""
    address = await begin(person, path)
    assert "nonce" not in asked(address)
    assert asked(address)["code_challenge_method"] == "S256"
    query = issuer.agrees(address)
    del query["iss"]
    return await back(person, query, path)


async def test_a_provider_without_id_tokens(world: World, issuer: Issuer) -> None:
    email = issuer.email
    issuer.told = {"sub": None, "id": issuer.people, "client_id": CLIENT, "default_email": email}
    issuer.told["real_name"] = "Анна"
    person, other = world.browser(), world.browser()
    await refused(person, await by_plain(person, issuer, WARY), 403, UNKNOWN)
    me = await welcomed(person, await by_plain(person, issuer, PLAIN))
    assert (me["user"]["name"], me["user"]["email"]) == ("Анна", email)
    assert issuer.forms[0]["client_secret"] == CLIENT_SECRET
    assert issuer.forms[1]["authorization"] == "OAuth access code0"
    assert issuer.asked["/.well-known/openid-configuration"] == 0
    issuer.told["client_id"] = "another"
    await refused(other, await by_plain(other, issuer, PLAIN), 502, "cannot be trusted")


@pytest.mark.parametrize(
    "path, down", [("away", ""), ("fresh", "/keys"), ("acme", "/token"), ("acme", "/me")]
)
async def test_the_password_works_when_the_provider_does_not(
    world: World, issuer: Issuer, path: str, down: str
) -> None:
    issuer.down, issuer.in_token = {down}, False
    person = world.browser()
    russian = {"accept-language": "ru"}
    reply = await person.http.get(f"/control/oidc/{path}", headers=russian)
    if path != "away":
        query = issuer.agrees(reply.headers["location"])
        reply = await person.http.get(
            f"/control/oidc/{path}/callback", params=query, headers=russian
        )
    assert (reply.status_code, "Сервис входа не отвечает" in reply.text) == (503, True)
    assert 'href="/control/sign-in"' in reply.text
    await person.sign_in("op@a.test", PASSWORD)


async def test_the_cookie_of_an_attempt(world: World) -> None:
    reply = await world.browser().http.get(ACME)
    name, *flags = reply.headers["set-cookie"].split("; ")
    assert name.startswith(FLOW_COOKIE + "=")
    wanted = {"httponly", "max-age=600", "path=/", "samesite=lax", "secure"}
    assert {flag.lower() for flag in flags} == wanted
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["referrer-policy"] == "no-referrer"
