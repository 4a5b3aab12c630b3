"""Every route there is: who gets in, by which spelling of its address, and from whose page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import select
from tests.control.oauth.conftest import FORM, ISSUER, Browser, World, error
from tests.security.harness import PREFIX, SAFE, ask, control_routes, filled, oauth_routes

from xrouter.control import server
from xrouter.control.db.tables.base import Base
from xrouter.control.kit.access import Access

EVIL = "https://evil.test"

BY_CLIENT = {"/oauth/token", "/oauth/revoke", "/oauth/introspect", "/api/v1/auth/keys"}
"""They look at no cookie: who asks shows a secret of its own."""
BY_FORM = {"/oauth/authorize", "/auth", "/oauth/sign-in"}
"""Pages whose forms carry a token."""
STREAMS = {"/health/events"}


def changing(world: World) -> list[tuple[str, str, Access | None]]:
    """All that may change something; None for those of the authorization server."""
    found: list[tuple[str, str, Access | None]] = [
        each for each in control_routes() if each[0] not in SAFE
    ]
    return found + [(m, p, None) for m, p in oauth_routes(world) if m not in SAFE]


async def cookies(person: Browser) -> tuple[str, str]:
    """What the browser sends by itself, and the token that it does not."""
    me = (await person.get(PREFIX + "/auth/me")).json()
    return "; ".join(f"{n}={v}" for n, v in person.http.cookies.items()), me["csrf"]


async def contents(world: World) -> dict[str, Any]:
    """All rows there are, but for when who was seen last."""
    async with world.services.db.read() as session:
        return {
            name: [tuple(row) for row in await session.execute(select(table))]
            for name, table in Base.metadata.tables.items()
            if name != "sessions"
        }


def test_no_router_is_left_out(world: World) -> None:
    """What the walks of this file do not see would not be attacked."""
    joined = [route for route in world.control.routes if not hasattr(route, "path")]
    assert len(joined) == len(server._ROOMS) + len(server._PAGES)
    rest = {getattr(route, "path", None) for route in world.control.routes} - {None}
    assert rest == {PREFIX + "/openapi.json"}


def test_no_route_that_changes_something_is_open_to_pages_of_others() -> None:
    for method, path, who in control_routes():
        if method not in SAFE:
            assert who is not Access.PUBLIC, (method, path)


async def test_every_change_by_cookie_needs_a_token_and_a_page_of_ours(
    world: World, person: Browser
) -> None:
    cookie, csrf = await cookies(person)
    before = await contents(world)
    walked = 0
    for method, path, who in changing(world):
        if who is None:
            assert path in BY_CLIENT | BY_FORM, f"{method} {path}: what defends it?"
            continue
        walked += 1
        common = [("cookie", cookie), ("host", "router.test"), ("content-type", "application/json")]
        forged = [
            [*common, ("origin", EVIL), ("x-csrf-token", csrf)],
            [*common, ("origin", "null"), ("x-csrf-token", csrf)],
            [*common, ("sec-fetch-site", "cross-site"), ("x-csrf-token", csrf)],
            [*common, ("sec-fetch-site", "same-site"), ("x-csrf-token", csrf)],
        ]
        if who is not Access.GUEST:
            forged += [
                [*common, ("origin", ISSUER)],
                [*common, ("origin", ISSUER), ("x-csrf-token", "forged")],
            ]
        for headers in forged:
            status, body = await ask(world.door, method, filled(path), headers, b"{}")
            assert status == 403, (method, path, headers, body)
            assert b"foreign_origin" in body or b"csrf_token" in body, (method, path, headers)
    assert walked > 60
    assert await contents(world) == before


async def test_forms_of_the_authorization_server_need_their_token(
    world: World, person: Browser
) -> None:
    client = await world.client()
    cookie, csrf = await cookies(person)
    asked = world.request(client)
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())
    fields = f"request={quote(query)}&project=default&decision=allow"
    login = "email=op@a.test&password=correct+horse+battery&next=" + quote(f"/auth?{query}")
    before = await contents(world)
    for path in sorted(BY_FORM):
        body = login if path == "/oauth/sign-in" else fields
        for more, token in (
            ({}, ""),
            ({}, "&csrf=forged"),
            ({"sec-fetch-site": "same-site"}, f"&csrf={csrf}"),
        ):
            headers = [("cookie", cookie), *FORM.items(), *more.items()]
            status, _ = await ask(world.door, "POST", path, headers, (body + token).encode())
            assert status == 403, (path, more, token)
    assert await contents(world) == before


async def test_endpoints_for_programs_look_at_no_cookie(world: World, person: Browser) -> None:
    cookie, csrf = await cookies(person)
    headers = [("cookie", cookie), ("x-csrf-token", csrf), ("origin", EVIL)]
    before = await contents(world)
    for path in sorted(BY_CLIENT):
        kind = "application/json" if path == "/api/v1/auth/keys" else FORM["content-type"]
        body = b"{}" if path == "/api/v1/auth/keys" else b"token=x&grant_type=client_credentials"
        status, _ = await ask(world.door, "POST", path, [*headers, ("content-type", kind)], body)
        assert status in (400, 401), path
    assert await contents(world) == before


async def test_reading_changes_nothing(world: World, person: Browser) -> None:
    """Else a picture on another site's page would be enough."""
    await world.service()
    known = {"slug": "default", "organization": "default"}
    await person.get(PREFIX + "/auth/me")
    before = await contents(world)
    walked = 0
    for method, path, _ in control_routes():
        if method == "GET" and path.removeprefix(PREFIX) not in STREAMS:
            walked += 1
            await person.get(filled(path, **known))
    for method, path in oauth_routes(world):
        if method == "GET":
            await person.get(filled(path))
    assert walked > 40
    assert await contents(world) == before


def spellings(path: str) -> list[str]:
    """Addresses that a careless reader takes for this one, or that lead to it when tidied up."""
    inner = path.removeprefix("/control/v1")
    open_one = "/control/v1/auth/sign-in"
    return [
        "/" + path,
        path + "/",
        path + "//",
        path + "/.",
        path + ";x=1",
        path + "%00",
        path + "%20",
        path + "%0a",
        path + "%23",
        path + "%3fx=1",
        path + "\\",
        path.upper(),
        path.title(),
        path.replace("/control/", "/control//"),
        path.replace("/control/", "/control/./"),
        path.replace("/control/", "/./control/"),
        path.replace("/control/", "/control/x/../"),
        path.replace("/control/", "/control%2f"),
        path.replace("/v1/", "%2Fv1%2F"),
        path.replace("/v1/", "/%76%31/"),
        path.replace("/v1/", "/v1%2f"),
        path.replace("/", "\\"),
        f"{open_one}/../..{inner}",
        f"{open_one}/%2e%2e/%2e%2e{inner}",
        f"{open_one}/..%2f..{inner}",
        f"{open_one}%00{inner}",
        f"/control/pages/..%2fv1{inner}",
        f"/control/pages/../v1{inner}",
        f"/control/sign-in/..{path.removeprefix('/control')}",
        f"/v1/models/../..{path}",
        f"/oauth/..{path}",
        f"/oauth/%2e%2e{path}",
        f"/.well-known/oauth-authorization-server/../..{path}",
        f"http://router.test{path}",
        f"//evil.test{path}",
    ]


@pytest.mark.usefixtures("person")
async def test_no_spelling_of_an_address_goes_round_the_guard(world: World) -> None:
    """For nobody, and for somebody with the lowest role."""
    viewer, _ = await world.invite("v@a.test", "viewer")
    cookie = [("cookie", (await cookies(viewer))[0])]
    paths = [p for m, p, who in control_routes() if m == "GET" and who is Access.OPERATOR]
    paths = [filled(path) for path in paths if path.removeprefix(PREFIX) not in STREAMS]
    assert len(paths) > 15
    for path in paths[::4]:
        for target in spellings(path):
            if "%76%31" in target:  # the same address, properly written
                assert (await ask(world.door, "GET", target))[0] == 401
                assert (await ask(world.door, "GET", target, cookie))[0] == 403
                continue
            for headers in ([], cookie):
                status, body = await ask(world.door, "GET", target, headers)
                assert status in (400, 401, 403, 404, 405), (target, headers, status)
                assert b'"data"' not in body, target


async def test_words_about_another_address_or_method_are_not_believed(world: World) -> None:
    opens = ("/control/sign-in", "/control/v1/auth/sign-in", "/health/live")
    for name in ("x-original-url", "x-rewrite-url", "x-forwarded-prefix", "x-original-uri"):
        for value in opens:
            status, _ = await ask(world.door, "GET", PREFIX + "/users", [(name, value)])
            assert status == 401, (name, value)
    for method in ("HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "GETX"):
        status, body = await ask(world.door, method, PREFIX + "/users")
        assert status in (401, 405), method
        assert b'"data"' not in body
    for name in ("x-http-method-override", "x-method-override", "x-http-method"):
        status, _ = await ask(
            world.door, "POST", "/oauth/authorize", [(name, "GET"), *FORM.items()]
        )
        assert status in (400, 403), name


HOSTS = (
    "x/control/sign-in?",
    "x?",
    "x#",
    "x#@",
    "u:p@x",
    "",
    "a b",
    "[",
    "x:99999",
    "x\\y",
    "x%00",
)


async def test_a_host_that_is_none_changes_no_decision(world: World) -> None:
    """Starlette makes `request.url` of it, path and query included."""
    client = await world.service()
    given = f"grant_type=client_credentials&client_id={client['client_id']}"
    given += f"&client_secret={client['client_secret']}"
    data = given.encode()
    for host in HOSTS:
        headers = [("host", host)]
        assert (await ask(world.door, "GET", PREFIX + "/users", headers))[0] == 401, host
        assert (await ask(world.door, "PUT", PREFIX + "/users", headers))[0] == 401, host
        admin = [*headers, ("authorization", world.admin.headers["authorization"])]
        assert (await ask(world.door, "GET", PREFIX + "/users", admin))[0] == 200, host
        status, body = await ask(world.door, "PUT", PREFIX + "/users", admin)
        assert (status, b"PUT /control/v1/users" in body) == (405, True), host
        form = [*headers, *FORM.items()]
        for target, fields in (
            (f"/oauth/token?{given}", b""),
            ("/oauth/token?x=1", data),
        ):
            assert (await ask(world.door, "POST", target, form, fields))[0] == 400, host
        assert (await ask(world.door, "POST", "/oauth/token", form, data))[0] == 200, host


def test_nobody_asks_the_framework_for_the_url() -> None:
    """It is made of the header Host; what is routed and what is authorised is the scope's path."""
    asks = re.compile(r"\b(request|visit|req)\.(url|base_url|url_for)\b")
    floors = [Path(server.__file__).parents[1] / name for name in ("control", "edge", "app")]
    texts = {path: path.read_text("utf-8") for floor in floors for path in floor.rglob("*.py")}
    takes = re.compile(r"^from (starlette\.requests|fastapi) import .*\bRequest\b", re.MULTILINE)
    found = [
        f"{path}: {line.strip()}"
        for path, text in texts.items()
        if takes.search(text)
        for line in text.splitlines()
        if asks.search(line.partition("#")[0])
    ]
    assert sum(takes.search(text) is not None for text in texts.values()) > 10
    assert found == []


async def test_what_is_not_there_is_not_told_of_to_strangers(world: World) -> None:
    assert error(await world.http.post("/oauth/token"), 400) == "invalid_request"
    for path in ("/control/v1/users", "/control/v1/nothing", "/control/nothing"):
        assert (await world.http.get(path)).status_code == 401
