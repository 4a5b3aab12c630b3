"""What happened to other gateways does not happen here."""

from __future__ import annotations

import ast
import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import select
from tests.control.oauth.conftest import EMAIL, FORM, ISSUER, PASSWORD, Browser, World
from tests.security.harness import PREFIX, control_routes, filled
from tests.security.test_guessing import counted
from tests.security.test_routes import contents

import xrouter
from xrouter.control.db.tables.base import Base
from xrouter.control.kit import guard
from xrouter.control.kit.access import Access
from xrouter.control.people.passwords import Passwords
from xrouter.control.people.sessions import Sessions
from xrouter.settings import Settings
from xrouter.stores.vault import Vault

SOURCE = Path(xrouter.__file__).parent
INJECTIONS = (
    "' OR '1'='1' --",
    "'; DROP TABLE api_keys; --",
    '" UNION SELECT mac FROM api_keys --',
    "1) OR (SELECT pg_sleep(9)) IS NULL",
    "%' ESCAPE '!",
    "*)(uid=*))(|(uid=*",
    "%s%s%n{0.__class__}{{7*7}}${7*7}",
    "\\x27\\u0027%27",
)
PREFIXES = ("", "oauth-code:", "oauth-refresh:", "oauth-client:", "session:", "link:")


async def me(person: Browser) -> Any:
    return (await person.get(PREFIX + "/auth/me")).json()


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Each call in the control plane: file, call, name of what is called."""
    for path in sorted((SOURCE / "control").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                yield path.relative_to(SOURCE).as_posix(), node, name


# --- keys that are checked by a query made of them


def test_patterns_of_callers_are_no_patterns() -> None:
    """A `%` in what is looked for would search the whole table."""
    searches = {"like", "ilike", "contains", "startswith", "endswith", "regexp_match", "match"}
    plain = {"startswith", "endswith", "match"}  # of texts, too
    found = [(path, call, name) for path, call, name in calls() if name in searches]
    assert not [each for each in found if each[2] in ("like", "ilike", "regexp_match")]
    columns = [
        (path, call)
        for path, call, name in found
        if name not in plain or ast.unparse(call).split(".")[0].endswith("Row")
    ]
    assert len(columns) > 2
    for path, call in columns:
        assert "autoescape" in {word.arg for word in call.keywords}, (path, ast.unparse(call))


async def test_no_credential_gets_into_a_statement(world: World, person: Browser) -> None:
    """In each place in which one can come; also what is refused is looked at with care."""
    client = await world.client()
    await world.publish()
    before = await contents(world)
    statements = counted(world)
    for text in INJECTIONS:
        shown = text.encode().decode("latin-1")
        bearer = {"authorization": f"Bearer {shown}"}
        for path in ("/v1/models", "/api/v1/key", "/api/v1/credits", PREFIX + "/users"):
            assert (await world.http.get(path, headers=bearer)).status_code == 401, path
        for name in ("x-api-key", "api-key"):
            assert (await world.http.get("/v1/models", headers={name: shown})).status_code == 401
        cookie = {"cookie": f"__Host-xrouter={quote(text)}"}
        assert (await world.http.get(PREFIX + "/auth/me", headers=cookie)).status_code == 401
        for field in ("code", "refresh_token", "client_secret", "client_id", "code_verifier"):
            for kind in ("authorization_code", "refresh_token", "client_credentials"):
                given = {"code": "x", "code_verifier": "v" * 43, "refresh_token": "x"}
                reply = await world.token(client, grant_type=kind, **{**given, field: text})
                assert reply.status_code in (400, 401, 429), (field, reply.text)
        body = {"code": text, "code_verifier": "v" * 43}
        assert (await world.http.post("/api/v1/auth/keys", json=body)).status_code == 403
        asked = world.request(client, client_id=text)
        assert (await world.http.get("/oauth/authorize", params=asked)).status_code == 400
        for way in ("setup", "reset", "accept"):
            given = {"secret": text, "password": PASSWORD, "name": text, "email": EMAIL}
            if way == "reset":
                given = {"secret": text, "password": PASSWORD}
            if way == "accept":
                given.pop("email")
            reply = await world.http.post(
                f"{PREFIX}/auth/{way}", json=given, headers={"origin": ISSUER}
            )
            assert reply.status_code in (400, 429), reply.text
    assert len(statements) > 100
    assert not [s for s in statements if any(text in s for text in INJECTIONS)]
    after = await contents(world)
    log, known = after.pop("audit_log"), before.pop("audit_log")
    assert after == before
    assert log[: len(known)] == known
    assert {row[4] for row in log[len(known) :]} == {"client.refuse"}
    assert (await me(person))["user"]["email"] == EMAIL


async def test_no_address_and_no_query_of_the_control_api_gets_into_one(world: World) -> None:
    await world.service()
    before = await contents(world)
    statements = counted(world)
    for method, path, who in control_routes():
        if method != "GET" or who is Access.PUBLIC or path.endswith("/events"):
            continue
        for text in INJECTIONS[:2]:
            target = filled(path, **{part: quote(text, safe="") for part in _parts(path)})
            if "{" in path:
                reply = await world.admin.get(target)
                assert reply.status_code in (400, 403, 404), (target, reply.text)
            for name in ("after", "model", "project"):
                reply = await world.admin.get(filled(path), params={name: text})
                assert reply.status_code < 500, (path, name, reply.text)
    assert not [s for s in statements if any(text in s for text in INJECTIONS)]
    assert await contents(world) == before


def _parts(path: str) -> list[str]:
    return [step[1:-1].partition(":")[0] for step in path.split("/") if step.startswith("{")]


# --- hashes without a salt


async def test_what_is_stored_of_secrets_is_no_plain_hash(world: World, person: Browser) -> None:
    """Whoever reads the database cannot try guesses without the master key."""
    client = await world.client()
    code = await world.code(person, client)
    tokens = (await world.exchange(client, code)).json()
    key = (await world.ask("POST", "/keys", status=201, json={"name": "n"}))["key"]
    given = {"email": "b@a.test", "role": "viewer"}
    link = await world.ask("POST", "/organizations/default/invites", status=201, json=given)
    cookie = next(iter(person.http.cookies.values()))
    kept = [
        *(key, code, cookie, link["secret"], client["client_secret"]),
        *(tokens["refresh_token"], tokens["access_token"], PASSWORD, (await me(person))["csrf"]),
    ]
    stored = await everything(world)
    for secret in kept:
        assert secret.encode() not in stored
        for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2b"):
            for prefix in (
                "",
                "oauth-code:",
                "oauth-refresh:",
                "oauth-client:",
                "session:",
                "link:",
            ):
                made = hashlib.new(name, (prefix + secret).encode())
                assert made.digest() not in stored
                assert made.hexdigest().encode() not in stored
    for mac in ("oauth-refresh:" + tokens["refresh_token"], "oauth-code:" + code, key):
        assert world.services.vault.mac(mac) in stored  # so they would have been found
    other = Vault(bytes(reversed(range(32))))
    assert other.mac(key) != world.services.vault.mac(key)


async def everything(world: World) -> bytes:
    """All values of all rows."""
    parts = []
    async with world.services.db.read() as session:
        for table in Base.metadata.tables.values():
            for row in await session.execute(select(table)):
                parts += [v if isinstance(v, bytes) else str(v).encode() for v in row]
    return b"\x00".join(parts)


async def test_equal_passwords_have_different_hashes() -> None:
    ours = Passwords()
    assert await ours.hash(PASSWORD) != await ours.hash(PASSWORD)


# --- default passwords


async def test_nobody_can_sign_in_before_somebody_was_let_in(world: World) -> None:
    for email in ("admin@localhost.local", "admin@example.com"):
        for password in ("admin", "password", "xrouter", "changeme"):
            stranger = world.open(ip=f"198.51.100.{len(world._opened) % 250}")
            reply = await stranger.post(
                PREFIX + "/auth/sign-in",
                json={"email": email, "password": password},
                headers={"origin": ISSUER},
            )
            assert reply.status_code in (400, 401, 429)
    for token in ("admin", "sk-1234", "sk-xrouter", "changeme", "null", "undefined", "Bearer", ""):
        reply = await world.http.get(
            PREFIX + "/users", headers={"authorization": f"Bearer {token}"}
        )
        assert reply.status_code == 401


def test_no_setting_has_a_secret_that_others_know() -> None:
    words = ("password", "secret", "token", "key", "pepper", "salt")
    values = Settings.model_fields.items()
    named = {name: field.default for name, field in values if any(w in name for w in words)}
    assert {name for name, value in named.items() if isinstance(value, str)} == {"token_algorithm"}


# --- addresses that callers choose


async def test_only_operators_say_where_requests_go(world: World) -> None:
    """No field of what others may send is an address, but for where browsers are sent back."""
    shown: Any = world.control.openapi()
    words = ("url", "uri", "host", "endpoint", "address", "proxy", "webhook", "callback", "bundle")
    open_ones = {(m.lower(), p) for m, p, who in control_routes() if who is not Access.OPERATOR}
    found = set()
    for method, path in open_ones:
        body = shown["paths"].get(path, {}).get(method, {}).get("requestBody")
        if body is not None:
            fields = _fields(shown, body["content"]["application/json"]["schema"])
            found |= {field for field in fields if any(word in field for word in words)}
    assert found <= {"redirect_uris"}
    changes = [each for each in control_routes() if each[1].startswith(PREFIX + "/providers")]
    assert len(changes) > 5
    assert {who for _, _, who in changes} == {Access.OPERATOR}


def _fields(shown: Any, schema: Any, depth: int = 0) -> set[str]:
    """All names in it, however deep."""
    assert depth < 30
    if "$ref" in schema:
        schema = shown["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    inner = [*schema.get("properties", {}).values()]
    inner += [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    inner += [schema["items"]] if isinstance(schema.get("items"), dict) else []
    names = set(schema.get("properties", {}))
    return names.union(*(_fields(shown, each, depth + 1) for each in inner))


async def test_nothing_is_fetched_for_who_signs_in(
    world: World, person: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses to be sent back to are for the browser; the server never goes there."""

    def went(*_given: object, **_more: object) -> Any:
        raise AssertionError("the server asked somebody")

    monkeypatch.setattr(type(world.services.client), "open", went)
    monkeypatch.setattr(asyncio, "open_connection", went)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", went)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", went)
    client = await world.client(redirect_uris=["https://169.254.169.254/latest/meta-data"])
    page = await person.get(
        "/oauth/authorize",
        params=world.request(client, redirect_uri="https://169.254.169.254/latest/meta-data"),
    )
    assert (await person.submit(page, project="default", decision="allow")).status_code == 303
    callback = "https://[::ffff:169.254.169.254]/"
    asked = {"callback_url": callback, "code_challenge": "A" * 43, "code_challenge_method": "S256"}
    page = await person.get("/auth", params=asked)
    reply = await person.submit(page, project="default", decision="allow")
    assert reply.headers["location"].startswith(callback)
    for name in ("request_uri", "jwks_uri", "sector_identifier_uri", "logo_uri", "resource"):
        more = {name: "https://169.254.169.254/"}
        reply = await person.get("/oauth/authorize", params=world.request(client, **more))
        assert reply.status_code in (200, 303, 400)


# --- rights that were taken away, and connections that were open


class Feed:
    """Somebody who follows the events of the console."""

    def __init__(self, world: World, person: Browser) -> None:
        cookie = "; ".join(f"{n}={v}" for n, v in person.http.cookies.items())
        self.ended = asyncio.Event()
        self.status = 0
        self._began = False
        scope = {
            "type": "http",
            "method": "GET",
            "path": PREFIX + "/health/events",
            "raw_path": (PREFIX + "/health/events").encode(),
            "query_string": b"",
            "root_path": "",
            "client": ("203.0.113.5", 1),
            "headers": [(b"cookie", cookie.encode()), (b"host", b"router.test")],
        }
        self.task = asyncio.create_task(world.door(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if not self._began:
            self._began = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        return None

    async def _send(self, message: Any) -> None:
        assert not self.ended.is_set(), "something came after the end"
        self.status = message.get("status", self.status)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.ended.set()


@pytest.mark.parametrize("how", ["role", "switched off", "signed out", "session"])
async def test_who_lost_the_right_gets_nothing_more(
    world: World, person: Browser, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "RECHECK_S", 0.05)
    second, user_id = await world.invite("two@a.test", "admin")
    await world.ask("PATCH", f"/users/{user_id}", json={"is_operator": True})
    body = {"email": "two@a.test", "password": PASSWORD}
    headers = {"origin": ISSUER}
    reply = await second.http.post(PREFIX + "/auth/sign-in", json=body, headers=headers)
    csrf = reply.json()["csrf"]
    hers, his = Feed(world, second), Feed(world, person)
    async with asyncio.timeout(60):
        while not hers.status == his.status == 200:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # she is asked again, and stays
    assert (hers.status, hers.ended.is_set()) == (200, False)

    if how == "role":
        await world.ask("PATCH", f"/users/{user_id}", json={"is_operator": False})
    elif how == "switched off":
        await world.ask("PATCH", f"/users/{user_id}", json={"is_active": False})
    elif how == "signed out":
        await second.http.post(PREFIX + "/auth/sign-out", headers={**headers, "x-csrf-token": csrf})
    else:
        await world.ask("POST", f"/users/{user_id}/sign-out")

    await asyncio.wait_for(hers.task, 60)
    assert hers.ended.is_set()
    assert not his.task.done()
    his.task.cancel()
    await asyncio.gather(his.task, return_exceptions=True)


async def test_a_feed_does_not_keep_a_session_awake(
    world: World, person: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "RECHECK_S", 0.05)
    seen: list[bool] = []
    feed = Feed(world, person)
    find = Sessions.of

    async def of(self: Sessions, headers: Any, *, touch: bool = True) -> Any:
        seen.append(touch)
        return await find(self, headers, touch=touch)

    async with asyncio.timeout(60):
        while feed.status == 0:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(Sessions, "of", of)
        while len(seen) < 3:
            await asyncio.sleep(0.01)
    assert not any(seen)
    feed.task.cancel()
    await asyncio.gather(feed.task, return_exceptions=True)


async def test_a_form_that_is_too_long_or_odd_is_refused_and_not_a_defect(world: World) -> None:
    for body in (b"a=1&" * 1000, b"%ff%fe=%00", b"\x00" * 70_000, b"=&=&=", b"&" * 5000):
        for path in ("/oauth/token", "/oauth/authorize", "/auth", "/oauth/sign-in"):
            reply = await world.http.post(path, content=body, headers=FORM)
            assert reply.status_code < 500, (path, body[:10])
