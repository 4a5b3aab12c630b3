from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from tests.control.conftest import Api
from tests.control.people.conftest import COOKIE, ORIGIN, PASSWORD, Browser, Invited, NewBrowser

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.people import LinkRow, SessionRow, UserRow
from xrouter.control.people.sessions import IDLE, LONGEST, MAX_OF_USER


async def all_of(db: Database, table: Any) -> list[Any]:
    async with db.read() as session:
        return list((await session.scalars(select(table))).all())


async def set_all(db: Database, table: Any, **values: Any) -> None:
    async with db.write() as session:
        await session.execute(update(table).values(**values))


async def test_the_first_operator_is_made_by_the_link(operator: Browser) -> None:
    me = await operator.ask("GET", "/auth/me")
    assert me["user"]["email"] == "op@a.test"
    assert me["user"]["is_operator"]
    assert [(m["organization"], m["role"]) for m in me["memberships"]] == [("default", "owner")]
    assert me["csrf"] == operator.csrf


@pytest.mark.usefixtures("operator")
async def test_the_set_up_link_works_once(admin: Api, db: Database) -> None:
    error = await admin.error("POST", "/auth/setup-link", status=409)
    assert error["code"] == "already_set_up"
    assert (await all_of(db, LinkRow))[0].used_at is not None


async def test_a_new_set_up_link_ends_the_one_before(browser: NewBrowser, admin: Api) -> None:
    old = await admin.ask("POST", "/auth/setup-link", status=201)
    new = await admin.ask("POST", "/auth/setup-link", status=201)
    given = {"email": "a@b.test", "name": "A", "password": PASSWORD}
    first = browser()
    error = await first.error(
        "POST", "/auth/setup", json={**given, "secret": old["secret"]}, status=400
    )
    assert (error["param"], error["code"]) == ("secret", "link_not_good")
    await first.ask("POST", "/auth/setup", json={**given, "secret": new["secret"]}, status=201)
    error = await first.error(
        "POST", "/auth/setup", json={**given, "secret": new["secret"]}, status=400
    )
    assert error["code"] == "link_not_good"


async def test_a_set_up_link_ends_in_a_day(browser: NewBrowser, admin: Api, db: Database) -> None:
    link = await admin.ask("POST", "/auth/setup-link", status=201)
    (row,) = await all_of(db, LinkRow)
    assert row.expires_at - row.created_at == timedelta(hours=24)
    assert link["page"].endswith("#" + link["secret"])
    await set_all(db, LinkRow, expires_at=utc_now())
    body = {"email": "a@b.test", "name": "A", "password": PASSWORD, "secret": link["secret"]}
    await browser().error("POST", "/auth/setup", json=body, status=400)


async def test_signing_in_and_out(operator: Browser, browser: NewBrowser) -> None:
    other = browser()
    await other.sign_in(" OP@A.Test ")
    assert other.user_id == operator.user_id
    await other.ask_nothing("POST", "/auth/sign-out")
    await other.error("GET", "/auth/me", status=401)
    await operator.ask("GET", "/auth/me")


async def test_an_old_cookie_is_worth_nothing_after_signing_out(operator: Browser) -> None:
    kept = operator.cookie
    assert kept is not None
    await operator.ask_nothing("POST", "/auth/sign-out")
    assert operator.cookie is None
    await operator.error("GET", "/auth/me", status=401, headers={"cookie": f"{COOKIE}={kept}"})


async def test_signing_out_everywhere(operator: Browser, browser: NewBrowser) -> None:
    other = browser()
    await other.sign_in("op@a.test")
    await other.ask_nothing("POST", "/auth/sign-out-everywhere")
    await other.error("GET", "/auth/me", status=401)
    await operator.error("GET", "/auth/me", status=401)


@pytest.mark.parametrize(
    "email,password",
    [("op@a.test", "wrong password"), ("nobody@a.test", PASSWORD), ("gone@a.test", PASSWORD)],
)
async def test_what_is_wrong_is_not_said(
    operator: Browser, invited: Invited, browser: NewBrowser, email: str, password: str
) -> None:
    gone = await invited("gone@a.test", "viewer")
    await operator.ask("PATCH", f"/users/{gone.user_id}", json={"is_active": False})
    error = await browser().error(
        "POST", "/auth/sign-in", json={"email": email, "password": password}, status=401
    )
    assert error["code"] == "wrong_password"
    assert error["message"] == "The e-mail address or the password is wrong."


@pytest.mark.usefixtures("operator")
async def test_the_cookie_is_for_this_host_and_no_script(browser: NewBrowser) -> None:
    body = {"email": "op@a.test", "password": PASSWORD}
    reply = await browser().http.post("/control/v1/auth/sign-in", json=body)
    name, *flags = reply.headers["set-cookie"].split("; ")
    assert name.startswith(COOKIE + "=")
    assert len(name.partition("=")[2]) >= 43
    assert {f.lower() for f in flags} == {"httponly", "path=/", "samesite=lax", "secure"}


@pytest.mark.parametrize(
    "host,origin,plain",
    [
        ("localhost:8080", "http://localhost:8080", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8080", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("localhost", "https://localhost", False),
        ("10.0.0.1", "https://10.0.0.1", False),
        ("localhost.evil.test", "https://localhost.evil.test", False),
    ],
)
@pytest.mark.usefixtures("operator")
async def test_only_loopback_gets_a_plain_cookie(
    browser: NewBrowser, host: str, origin: str, plain: bool
) -> None:
    person = browser()
    body = {"email": "op@a.test", "password": PASSWORD}
    headers = {"host": host, "origin": origin}
    reply = await person.http.post("/control/v1/auth/sign-in", json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    cookie = reply.headers["set-cookie"]
    assert cookie.startswith("xrouter=") is plain
    assert ("Secure" in cookie) is not plain
    assert "HttpOnly" in cookie
    person.http.cookies.clear()
    headers["cookie"] = cookie.partition(";")[0]
    assert (await person.http.get("/control/v1/auth/me", headers=headers)).status_code == 200


async def test_a_plain_cookie_opens_nothing_but_loopback(operator: Browser) -> None:
    """A neighbour's subdomain can set a plain cookie, and no __Host- cookie."""
    kept = operator.cookie
    operator.http.cookies.clear()
    await operator.error("GET", "/auth/me", status=401, headers={"cookie": f"xrouter={kept}"})
    twice = f"{COOKIE}={kept}; {COOKIE}=another"
    await operator.error("GET", "/auth/me", status=401, headers={"cookie": twice})


async def test_a_session_given_beforehand_is_not_taken_over(invited: Invited) -> None:
    """Fixation: signing in gives a new secret, and ends the session that the browser brought."""
    mallory = await invited("mallory@a.test", "viewer")
    planted = mallory.cookie
    victim = mallory
    await victim.sign_in("op@a.test")
    assert victim.cookie != planted
    victim.http.cookies.clear()
    await victim.error("GET", "/auth/me", status=401, headers={"cookie": f"{COOKIE}={planted}"})


async def test_a_made_up_cookie_is_no_session(operator: Browser, db: Database) -> None:
    operator.http.cookies.clear()
    for made in ("x", "x" * 43, "x" * 5000, "", "%00"):
        await operator.error("GET", "/auth/me", status=401, headers={"cookie": f"{COOKIE}={made}"})
    assert len(await all_of(db, SessionRow)) == 1


async def test_the_secret_is_not_kept(operator: Browser, db: Database) -> None:
    (row,) = await all_of(db, SessionRow)
    (user,) = await all_of(db, UserRow)
    kept = operator.cookie or ""
    assert kept.encode() not in row.mac + row.csrf
    assert operator.csrf.encode() not in row.csrf
    assert row.ip == "203.0.113.5"
    assert PASSWORD not in user.password
    assert user.password.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_a_session_ends_when_nobody_uses_it(operator: Browser, db: Database) -> None:
    await set_all(db, SessionRow, seen_at=utc_now() - IDLE + timedelta(minutes=1))
    await operator.ask("GET", "/auth/me")
    (row,) = await all_of(db, SessionRow)
    assert utc_now() - row.seen_at < timedelta(minutes=1)
    await set_all(db, SessionRow, seen_at=utc_now() - IDLE)
    await operator.error("GET", "/auth/me", status=401)


async def test_a_session_ends_however_much_it_is_used(operator: Browser, db: Database) -> None:
    (row,) = await all_of(db, SessionRow)
    assert row.expires_at - row.created_at == LONGEST
    await set_all(db, SessionRow, expires_at=utc_now())
    await operator.error("GET", "/auth/me", status=401)


async def test_sessions_are_bounded(operator: Browser, db: Database) -> None:
    async with db.write() as session:
        for number in range(MAX_OF_USER + 5):
            session.add(
                SessionRow(
                    mac=bytes([number]),
                    csrf=b"",
                    user_id=1,
                    seen_at=utc_now(),
                    expires_at=utc_now() + LONGEST,
                )
            )
        session.add(
            SessionRow(mac=b"ended", csrf=b"", user_id=1, seen_at=utc_now(), expires_at=utc_now())
        )
    await operator.sign_in("op@a.test")
    rows = await all_of(db, SessionRow)
    assert len(rows) == MAX_OF_USER
    assert b"ended" not in {row.mac for row in rows}


async def test_a_user_who_is_switched_off_is_out_at_once(
    operator: Browser,
    invited: Invited,
) -> None:
    person = await invited("dev@a.test", "developer")
    path = f"/users/{person.user_id}"
    await operator.ask("PATCH", path, json={"is_active": False})
    await person.error("GET", "/auth/me", status=401)
    await operator.ask("PATCH", path, json={"is_active": True})
    await person.error("GET", "/auth/me", status=401)
    await person.sign_in("dev@a.test")


async def test_a_new_password_ends_the_other_sessions(
    operator: Browser, browser: NewBrowser
) -> None:
    other = browser()
    await other.sign_in("op@a.test")
    before = operator.cookie
    body = {"current": "wrong one", "password": "another good one"}
    error = await operator.error("POST", "/auth/password", json=body, status=400)
    assert (error["param"], error["code"]) == ("current", "wrong_password")
    body["current"] = PASSWORD
    operator.knows(await operator.ask("POST", "/auth/password", json=body))
    assert operator.cookie != before
    await operator.ask("GET", "/auth/me")
    await other.error("GET", "/auth/me", status=401)
    await other.sign_in("op@a.test", "another good one")


async def test_a_reset_link_gives_a_new_password(
    operator: Browser, invited: Invited, browser: NewBrowser
) -> None:
    person = await invited("dev@a.test", "developer")
    link = await operator.ask("POST", f"/users/{person.user_id}/reset", status=201)
    other = browser()
    body = {"secret": link["secret"], "password": "short"}
    error = await other.error("POST", "/auth/reset", json=body, status=400)
    assert (error["param"], error["code"]) == ("password", "weak_password")
    body["password"] = "another good one"
    await other.ask_nothing("POST", "/auth/reset", json=body)
    await person.error("GET", "/auth/me", status=401)
    await other.error("POST", "/auth/reset", json=body, status=400)
    await other.sign_in("dev@a.test", "another good one")


async def test_links_of_one_kind_are_not_of_another(
    operator: Browser, invited: Invited, browser: NewBrowser
) -> None:
    person = await invited("dev@a.test", "developer")
    link = await operator.ask("POST", f"/users/{person.user_id}/reset", status=201)
    body = {"secret": link["secret"], "password": PASSWORD}
    for path in ("/auth/accept", "/auth/setup"):
        more = {"email": "a@b.test", "name": "A"} if path == "/auth/setup" else {}
        await browser().error("POST", path, json={**body, **more}, status=400)


async def test_people_change_their_own_name_and_nothing_else(operator: Browser) -> None:
    me = await operator.ask("PATCH", "/auth/me", json={"name": "Boss", "language": "en"})
    assert (me["user"]["name"], me["user"]["language"]) == ("Boss", "en")
    for field in ("is_operator", "email", "user_id", "is_active", "password"):
        error = await operator.error("PATCH", "/auth/me", json={field: "x"}, status=400)
        assert (error["param"], error["code"]) == (field, "unknown_parameter")


async def test_the_admin_token_is_nobody(admin: Api) -> None:
    await admin.error("GET", "/auth/me", status=403)
    await admin.error("POST", "/auth/sign-out", status=403)


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.test"}, {"origin": "null"}, {"origin": f"{ORIGIN}:8443"}],
)
@pytest.mark.usefixtures("operator")
async def test_another_site_cannot_sign_somebody_in(
    browser: NewBrowser, headers: dict[str, str]
) -> None:
    body = {"email": "op@a.test", "password": PASSWORD}
    error = await browser().error("POST", "/auth/sign-in", json=body, headers=headers, status=403)
    assert error["code"] == "foreign_origin"


@pytest.mark.usefixtures("operator")
async def test_over_plain_http_nobody_signs_in_from_elsewhere(browser: NewBrowser) -> None:
    body = {"email": "op@a.test", "password": PASSWORD}
    headers = {"host": "10.0.0.1:8080", "origin": "http://10.0.0.1:8080"}
    error = await browser().error("POST", "/auth/sign-in", json=body, headers=headers, status=403)
    assert error["code"] == "https_needed"
