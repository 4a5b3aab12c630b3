"""The authorization endpoint, attacked: O-01 to O-17."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import pytest
from tests.control.oauth.conftest import (
    CALLBACK,
    FORM,
    ISSUER,
    Browser,
    World,
    error,
    s256,
    told,
)

pytestmark = pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
"""What is read from a request does not depend on the database."""

PATH = "/oauth/authorize"
LOOPBACK = "http://127.0.0.1/cb"

NEAR_MISSES = [
    "https://app.test/cb/",
    "https://app.test/CB",
    "https://APP.test/cb",
    "HTTPS://app.test/cb",
    "http://app.test/cb",
    "https://app.test/cb?",
    "https://app.test/cb?a=1",
    "https://app.test/cb#",
    "https://app.test/cb#a",
    "https://app.test/cb%2f",
    "https://app.test/%63b",
    "https://app.test/cb/../cb",
    "https://app.test/x/../cb",
    "https://app.test/%2e%2e/cb",
    "https://app.test//cb",
    "https://app.test/cb;a",
    "https://app.test:443/cb",
    "https://app.test:8443/cb",
    "https://app.test./cb",
    "https://app.test\\cb",
    "https://user@app.test/cb",
    "https://app.test@evil.test/cb",
    "https://evil.test/cb",
    "https://evil.test/https://app.test/cb",
    "https://app.test.evil.test/cb",
    "https://evilapp.test/cb",
    "https://a.app.test/cb",
    "https://app.test/c",
    "https://app.test/cbx",
    "https://app.test/cb?next=https://evil.test",
    "https://xn--app-0na.test/cb",
    "https://\u0430pp.test/cb",
    " https://app.test/cb",
    "https://app.test/cb ",
    "https://app.test/cb\r\nx: y",
    "https://app.test/cb\x00",
    "//app.test/cb",
    "app.test/cb",
    "/cb",
    "javascript:alert(1)",
    "http://localhost/cb",
    "http://localhost:5000/cb",
    "http://127.0.0.1:5000/cb/",
    "http://127.0.0.1:5000/other",
    "http://127.0.0.1:5000@evil.test/cb",
    "http://127.0.0.1:/cb",
    "http://127.0.0.1:5000:5/cb",
    "http://127.0.0.2:5000/cb",
    "http://127.1/cb",
    "http://2130706433/cb",
    "https://127.0.0.1:5000/cb",
    "http://[::ffff:127.0.0.1]:5000/cb",
    "http://[::1]:5000/cb",
]


def is_page(reply: httpx2.Response, status: int) -> None:
    """An HTML page that leads nowhere, with every defence in its headers."""
    assert reply.status_code == status, reply.text
    assert "location" not in reply.headers
    headers = reply.headers
    assert headers["content-type"].startswith("text/html")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "<script" not in reply.text


async def show(world: World, client: Any, **more: Any) -> httpx2.Response:
    return await world.http.get(PATH, params=world.request(client, **more))


async def test_o01_a_redirect_uri_is_compared_character_by_character(world: World) -> None:
    client = await world.client(redirect_uris=[CALLBACK, LOOPBACK])
    for given in NEAR_MISSES:
        reply = await show(world, client, redirect_uri=given)
        assert reply.status_code == 400, given
        is_page(reply, 400)


async def test_o01_only_the_port_of_a_loopback_address_may_differ(world: World) -> None:
    client = await world.client(redirect_uris=[LOOPBACK, "http://[::1]/six", "com.example.app:/cb"])
    for good in (
        LOOPBACK,
        "http://127.0.0.1:5000/cb",
        "http://[::1]:65535/six",
        "http://[::1]/six",
        "com.example.app:/cb",
    ):
        assert (await show(world, client, redirect_uri=good)).status_code == 200, good
    for bad in ("http://127.0.0.1/six", "http://[::1]:1/cb", "com.example.app:/cb2"):
        is_page(await show(world, client, redirect_uri=bad), 400)


async def test_o02_without_a_good_client_and_redirect_uri_nobody_is_redirected(
    world: World,
) -> None:
    client = await world.client()
    wrong: list[dict[str, Any]] = [
        {"client_id": None},
        {"client_id": "client_unknown"},
        {"client_id": "\x00"},
        {"client_id": "клиент"},
        {"redirect_uri": "https://evil.test/"},
    ]
    for changed in wrong:
        is_page(await show(world, client, **changed), 400)
    two = await world.client(redirect_uris=[CALLBACK, CALLBACK + "2"])
    is_page(await show(world, two, redirect_uri=None), 400)
    await world.ask("PATCH", f"/oauth/clients/{client['client_id']}", json={"is_active": False})
    is_page(await show(world, client), 400)


async def test_o02_a_single_registered_redirect_uri_may_be_left_out(world: World) -> None:
    client = await world.client()
    reply = await show(world, client, redirect_uri=None, scope="images")
    assert reply.headers["location"].startswith(CALLBACK + "?")


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"response_type": None}, "invalid_request"),
    ({"code_challenge": None}, "invalid_request"),
    ({"scope": "chat images"}, "invalid_scope"),
    ({"scope": "chat,models"}, "invalid_scope"),
    ({"request": "x.y.z"}, "request_not_supported"),
    ({"request_uri": "https://evil.test/r"}, "request_uri_not_supported"),
    ({"response_mode": "fragment"}, "invalid_request"),
    ({"resource": "https://other.test"}, "invalid_target"),
]


async def test_o03_every_other_error_goes_to_the_application(world: World) -> None:
    client = await world.client()
    for changed, name in PROBLEMS:
        reply = await show(world, client, **changed)
        assert reply.headers["location"].startswith(CALLBACK + "?"), changed
        assert told(reply)["error"] == name, changed
        assert told(reply)["state"] == "st4te"
        assert told(reply)["iss"] == ISSUER


async def test_o03_an_address_with_a_query_keeps_it(world: World) -> None:
    uri = "https://app.test/cb?a=1&b=%20"
    client = await world.client(redirect_uris=[uri])
    reply = await show(world, client, redirect_uri=uri, response_type="token")
    assert reply.headers["location"].startswith(uri + "&")


@pytest.mark.parametrize("public", [True, False])
async def test_o04_a_challenge_is_required_of_all_clients(world: World, public: bool) -> None:
    client = await world.client(is_public=public)
    reply = await show(world, client, code_challenge=None, code_challenge_method=None)
    assert told(reply)["error"] == "invalid_request"


async def test_o05_only_s256(world: World) -> None:
    client = await world.client()
    for method in (None, "", "plain", "s256", "S512", "S256 "):
        reply = await show(world, client, code_challenge_method=method)
        assert told(reply)["error"] == "invalid_request", method


async def test_o06_a_challenge_is_43_characters_of_base64url(world: World) -> None:
    client = await world.client()
    good = s256("x")
    for bad in (good[:-1], good + "A", good[:-1] + "=", good[:-1] + "+", good[:-1] + "/", "Я" * 43):
        reply = await show(world, client, code_challenge=bad)
        assert told(reply)["error"] == "invalid_request", bad


async def test_o07_what_comes_twice_is_an_error_what_is_empty_absent(world: World) -> None:
    client = await world.client()
    given = world.request(client, scope="chat")
    for name in given:
        twice = urlencode([*given.items(), (name, given[name])])
        reply = await world.http.get(f"{PATH}?{twice}")
        if name in ("client_id", "redirect_uri"):
            is_page(reply, 400)
        else:
            assert told(reply)["error"] == "invalid_request", name
    reply = await show(world, client, response_type="")
    assert told(reply)["error"] == "invalid_request"
    assert (await show(world, client, unheard_of="x", scope="")).status_code == 200


async def test_o08_no_response_type_but_code(world: World) -> None:
    client = await world.client()
    for kind in ("token", "id_token", "code token", "code id_token", "none", "CODE"):
        assert told(await show(world, client, response_type=kind))["error"] == (
            "unsupported_response_type"
        )


@pytest.mark.parametrize(
    "state", [b"plain", "юникод".encode(), b"%0d%0a\r\n", b"\xff\xfe", b"a b+c&d=e", b"x" * 2048]
)
async def test_o09_the_state_comes_back_byte_for_byte(
    world: World, person: Browser, state: bytes
) -> None:
    client = await world.client()
    query = urlencode(world.request(client, state=None)) + "&state=" + quote(state, safe="")
    page = await person.get(f"{PATH}?{query}")
    reply = await person.submit(page, project="default", decision="allow")
    assert reply.headers["location"].endswith("&state=" + quote(state, safe=""))
    denied = await person.submit(page, decision="deny")
    assert denied.headers["location"].endswith("&state=" + quote(state, safe=""))
    assert "error=access_denied" in denied.headers["location"]


async def test_o09_a_longer_state_is_refused(world: World) -> None:
    client = await world.client()
    reply = await show(world, client, state="x" * 2049)
    assert told(reply) == {
        "error": "invalid_request",
        "error_description": "The state is longer than 2048 bytes.",
        "iss": ISSUER,
    }


async def test_o10_the_issuer_is_in_every_answer(world: World, person: Browser) -> None:
    client = await world.client()
    metadata = (await world.http.get("/.well-known/oauth-authorization-server")).json()
    page = await person.get(PATH, params=world.request(client), headers={"host": "evil.test"})
    good = await person.submit(page, project="default", decision="allow")
    bad = await show(world, client, response_type="token")
    assert told(good)["iss"] == told(bad)["iss"] == metadata["issuer"] == ISSUER


async def test_o11_a_code_ends_after_a_minute(world: World, person: Browser) -> None:
    client = await world.client()
    code = await world.code(person, client)
    world.ahead = timedelta(seconds=61)
    assert error(await world.exchange(client, code)) == "invalid_grant"


async def test_o11_a_code_is_bound_to_what_it_was_made_for(world: World, person: Browser) -> None:
    client = await world.client(redirect_uris=[CALLBACK, CALLBACK + "2"])
    for changed in ({"redirect_uri": CALLBACK + "2"}, {"code_verifier": "w" * 43}):
        code = await world.code(person, client)
        assert error(await world.exchange(client, code, **changed)) == "invalid_grant"
        # and it is burnt
        assert error(await world.exchange(client, code)) == "invalid_grant"


async def test_o12_consent_takes_a_session_and_its_token(world: World, person: Browser) -> None:
    client = await world.client(name="<b>Shop</b>", scopes=["chat", "account"])
    page = await person.get(PATH, params=world.request(client))
    is_page(page, 200)
    assert "&lt;b&gt;Shop&lt;/b&gt;" in page.text
    assert page.text.count("<li>") == 2
    allow = {"project": "default", "decision": "allow"}
    for csrf in ("", "forged", "x" * 5000):
        is_page(await person.submit(page, csrf=csrf, **allow), 403)
    cross = {"sec-fetch-site": "cross-site"}
    person.http.headers.update(cross)
    is_page(await person.submit(page, **allow), 403)
    stranger = world.browser()
    reply = await stranger.submit(page, **allow)
    is_page(reply, 200)
    assert 'name="password"' in reply.text


@pytest.mark.usefixtures("person")
async def test_o12_the_form_to_sign_in_has_its_own_token(world: World) -> None:
    client = await world.client()
    stranger = world.browser()
    page = await stranger.get(PATH, params=world.request(client))
    known = {"email": "op@a.test", "password": "correct horse battery"}
    is_page(await stranger.submit(page, csrf="forged", **known), 403)
    victim = world.browser()  # the attacker's token is of no use in another browser
    is_page(await victim.submit(page, **known), 403)
    for elsewhere in ("https://evil.test/", "//evil.test", "/oauth/token?x", "", "/auth\r\nx"):
        reply = await stranger.submit(page, next=elsewhere, **known)
        is_page(reply, 400)
    assert (await stranger.submit(page, **known)).status_code == 303


async def test_o12_only_a_first_party_client_needs_no_consent(
    world: World, person: Browser
) -> None:
    client = await world.client(is_first_party=True)
    reply = await person.get(PATH, params=world.request(client))
    assert "code" in told(reply)


async def test_o13_no_page_can_be_framed(world: World, person: Browser) -> None:
    client = await world.client()
    is_page(await world.http.get(PATH), 400)
    is_page(await show(world, client), 200)
    page = await person.get(PATH, params=world.request(client))
    is_page(page, 200)
    assert (
        f"form-action 'self' {CALLBACK.removesuffix('/cb')};"
        in (page.headers["content-security-policy"])
    )
    is_page(await world.http.post("/oauth/sign-in", content="next=x", headers=FORM), 400)


async def test_o14_browsers_are_sent_on_with_303(world: World, person: Browser) -> None:
    client = await world.client()
    assert (await world.consent(person, client)).status_code == 303
    assert (await show(world, client, response_type="token")).status_code == 303


async def test_o15_no_page_of_another_site_reads_the_endpoint(
    world: World, person: Browser
) -> None:
    client = await world.client()
    origin = {"origin": "https://evil.test"}
    page = await person.get(PATH, params=world.request(client), headers=origin)
    preflight = await world.http.options(
        PATH, headers={**origin, "access-control-request-method": "POST"}
    )
    assert preflight.status_code == 405
    for reply in (page, preflight):
        assert not [name for name in reply.headers if name.startswith("access-control")]


async def test_o16_redirect_uris_that_cannot_be_registered(world: World) -> None:
    for bad in (
        "javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "http://app.test/cb",
        "http://localhost/cb",
        "https://app.test/cb#x",
        "https://user:pw@app.test/cb",
        "https://app.test/a/../cb",
        "https://APP.test/cb",
        "HTTPS://app.test/cb",
        "https://app.test./cb",
        "https:///cb",
        "https://app.test:99999/cb",
        "https://app.test/<script>",
        "https://app.test/a b",
        "https://приложение.test/cb",
        "app:/cb",
        "com.example.app://host/cb",
        "/cb",
        "",
    ):
        given = {"name": "App", "redirect_uris": [bad]}
        body = await world.ask("POST", "/oauth/clients", status=400, json=given)
        assert body["error"]["param"].startswith("redirect_uris"), bad


async def test_o17_what_carries_a_code_is_kept_by_nobody(world: World, person: Browser) -> None:
    reply = await world.consent(person, await world.client())
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-store"
    assert "st4te" not in reply.text
