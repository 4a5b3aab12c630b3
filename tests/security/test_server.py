"""A real server behind a proxy that it trusts: whose address it sees, and where secrets get to."""

from __future__ import annotations

import base64
import json
import re
import secrets
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from tests.control.oauth.conftest import s256
from tests.e2e.harness import PATIENCE, SandboxProcess, Server, until

from xrouter.control.people.throttle import FREE_OF_ADDRESS
from xrouter.domain.identity import new_key

PASSWORD = "canary-password-31f0 horse"
STATE = "canarystate5b2e"
CALLBACK = "https://app.test/cb"
FORM = "application/x-www-form-urlencoded"
CHAT = "openai/gpt-4o-mini"


class Reply:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """Somebody behind the proxy, with cookies. wrong: what was refused, to be looked through."""

    def __init__(
        self, server: Server, address: str = "203.0.113.9", wrong: list[bytes] | None = None
    ) -> None:
        self.server = server
        self.address = address
        self.cookie = ""
        self.csrf = ""
        self.wrong = [] if wrong is None else wrong

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        where = urlsplit(self.server.url)
        given = {"x-forwarded-for": self.address, "origin": self.server.url}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            given |= {"cookie": self.cookie, "x-csrf-token": self.csrf}
        data = body
        if isinstance(body, dict):
            kind = given.setdefault("content-type", "application/json")
            data = urlencode(body) if kind == FORM else json.dumps(body)
        connection = HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
        try:
            connection.request(method, path, data, given)
            reply = connection.getresponse()
            told = {name.lower(): value for name, value in reply.getheaders()}
            answer = Reply(reply.status, told, reply.read())
        finally:
            connection.close()
        if "set-cookie" in told and told["set-cookie"].startswith("xrouter="):
            self.cookie = told["set-cookie"].partition(";")[0]
        if answer.status >= 400:
            self.wrong.append(answer.body + str(told).encode())
        return answer

    def form(self, path: str, **fields: str) -> Reply:
        return self.send("POST", path, fields, content_type=FORM)


@pytest.fixture(scope="module")
def server(
    _sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    _sandbox_process.clear()
    given = {n: v for n, v in _sandbox_process.environment.items() if n.startswith("OPENAI_")}
    more = {"XROUTER_TRUSTED_PROXIES": "127.0.0.0/8, 10.9.0.0/16", "XROUTER_LOG_LEVEL": "debug"}
    server = Server(tmp_path_factory.mktemp("secure"), given | more)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="module")
def operator(server: Server) -> Caller:
    """The first, by the link that was printed."""
    link = re.search(r"/control/setup#(\S+)$", server.out, re.MULTILINE)
    assert link is not None
    caller = Caller(server)
    body = {"secret": link[1], "email": "op@a.test", "name": "Op", "password": PASSWORD}
    reply = caller.send("POST", "/control/v1/auth/setup", body)
    assert reply.status == 201, reply.body
    caller.csrf = reply.json["csrf"]
    return caller


def audit(server: Server, action: str) -> list[Any]:
    found: list[Any] = server.control("GET", f"/audit?action={action}")["data"]
    return found


# --- whose address


@pytest.mark.parametrize(
    "said,seen",
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.9.0.1", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, [2001:db8::9]:4711", "2001:db8::9"),
        ("203.0.113.9, nonsense", None),
    ],
)
@pytest.mark.usefixtures("operator")
def test_the_audit_log_has_the_callers_address(server: Server, said: str, seen: str | None) -> None:
    body = {"email": f"{secrets.token_hex(4)}@a.test", "password": "wrong"}
    caller = Caller(server, said)
    spoofs = {"forwarded": "for=6.6.6.6", "x_real_ip": "6.6.6.6"}
    assert caller.send("POST", "/control/v1/auth/sign-in", body, **spoofs).status == 401
    assert audit(server, "session.refuse")[0]["ip"] == seen


@pytest.mark.parametrize("network", ["198.51.100.7", "2001:db8:7::{:x}"])
def test_guesses_are_counted_by_the_callers_address(server: Server, network: str) -> None:
    """Whatever it says that it came through; its neighbours are let in all the while."""
    statuses = []
    for number in range(FREE_OF_ADDRESS + 2):
        said = f"6.6.6.{number}, {network.format(number + 1)}"
        fields = {"client_id": f"client_{secrets.token_hex(4)}", "client_secret": "x", "token": "x"}
        statuses.append(Caller(server, said).form("/oauth/introspect", **fields).status)
    assert statuses[:FREE_OF_ADDRESS] == [401] * FREE_OF_ADDRESS
    assert statuses[-1] == 429
    other = Caller(server, "198.51.100.8").form("/oauth/introspect", client_id="x", token="x")
    assert other.status == 401


def test_a_key_is_held_to_its_addresses_also_where_it_looks_at_itself(server: Server) -> None:
    made = server.control("POST", "/keys", {"name": "n", "ip_ranges": ["203.0.113.0/24"]})
    bearer = {"authorization": f"Bearer {made['key']}"}
    for said, status in (
        ("203.0.113.9", 200),
        ("203.0.114.9", 403),
        ("203.0.113.9, 6.6.6.6", 403),
        ("203.0.113.9, nonsense", 403),
    ):
        for path in ("/api/v1/key", "/api/v1/credits", "/api/v1/auth/key"):
            reply = Caller(server, said).send("GET", path, **bearer)
            assert reply.status == status, (said, path, reply.body)


# --- where requests go


def test_no_request_says_where_it_goes(server: Server) -> None:
    """A key of a provider would go there with it."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        there = f"http://127.0.0.1:{trap.getsockname()[1]}/v1"
        names = ("api_base", "base_url", "api_url", "custom_host", "proxy", "endpoint", "provider")
        for name in names:
            answer = server.chat(CHAT, **{name: there})
            assert answer.status in (200, 400), (name, answer.body)
        caller, bearer = Caller(server), {"authorization": f"Bearer {server.key}"}
        for name in (
            *("x-portkey-custom-host", "x-base-url", "x-api-base", "x-xrouter-base-url"),
            *("helicone-target-url", "x-stainless-base-url", "x-forwarded-host", "x-upstream"),
            *("openai-base-url", "x-original-host", "forwarded", "proxy-connection"),
        ):
            body = {"model": CHAT, "messages": [{"role": "user", "content": "hi"}]}
            reply = caller.send("POST", "/v1/chat/completions", body, **bearer, **{name: there})
            assert reply.status == 200, (name, reply.body)
        for model in (there, f"{there}#openai/gpt-4o-mini", "openai@127.0.0.1/x", "//evil/x"):
            assert server.chat(model).status in (400, 403, 404), model
        with pytest.raises(BlockingIOError):
            trap.accept()


# --- where secrets get to


class Secrets:
    """Each one that was given out or sent, by what it is."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def keep(self, what: str, value: str) -> str:
        assert len(value) >= 12, what
        self.known[what] = value
        return value


def people(server: Server, caller: Caller, kept: Secrets) -> None:
    """Right and wrong ways to come in."""
    wrong = kept.keep("a wrong password", "canary-wrong-77aa")
    email = kept.keep("a password that was typed as an address", "canary-typed@in.wrong.field")
    stranger = Caller(server, "203.0.113.20", caller.wrong)
    for name in ("op@a.test", email):
        body = {"email": name, "password": wrong}
        assert stranger.send("POST", "/control/v1/auth/sign-in", body).status == 401
    kept.keep("a session", caller.cookie.partition("=")[2])
    kept.keep("a CSRF token", caller.csrf)
    forged = kept.keep("a made-up cookie", "canary-cookie-91bb")
    stranger.cookie = f"xrouter={forged}"
    assert stranger.send("GET", "/control/v1/auth/me").status == 401
    given = {"email": "new@a.test", "role": "viewer"}
    link = caller.send("POST", "/control/v1/organizations/default/invites", given)
    kept.keep("an invite", link.json["secret"])
    weak = kept.keep("a password that is refused", "aaaaabbbbbaaaaa")[:9]
    body = {"secret": link.json["secret"], "name": "N", "password": weak}
    assert stranger.send("POST", "/control/v1/auth/accept", body).status == 400
    lost = kept.keep("a link that is none", "canary-link-55cc-canary")
    for way, more in (("reset", {}), ("accept", {"name": "N"})):
        body = {"secret": lost, "password": PASSWORD, **more}
        assert stranger.send("POST", f"/control/v1/auth/{way}", body).status == 400


def applications(caller: Caller, kept: Secrets) -> str:
    """The whole way to a token, and wrong turns. Returns the token."""
    given = {"name": "App", "redirect_uris": [CALLBACK], "scopes": ["chat", "models"]}
    client = caller.send("POST", "/control/v1/oauth/clients", given).json
    ident = {"client_id": client["client_id"]}
    ident["client_secret"] = kept.keep("a client's secret", client["client_secret"])
    verifier = kept.keep("a verifier", "canary-verifier-" + "v" * 40)
    asked = {"response_type": "code", "client_id": client["client_id"], "state": STATE}
    asked |= {"code_challenge": s256(verifier), "code_challenge_method": "S256"}
    query = urlencode(asked)
    assert caller.send("GET", f"/oauth/authorize?{query}").status == 200
    fields = {"request": query, "csrf": caller.csrf, "decision": "allow", "project": "default"}
    back = caller.form("/oauth/authorize", **fields).headers["location"]
    code = kept.keep("a code", parse_qs(urlsplit(back).query)["code"][0])
    how = {**ident, "grant_type": "authorization_code"}
    tokens = caller.form("/oauth/token", **how, code=code, code_verifier=verifier).json
    refresh = kept.keep("a refresh token", tokens["refresh_token"])
    access = kept.keep("an access token", tokens["access_token"])
    kept.keep("the signature of a token", access.rpartition(".")[2])
    caller.form("/oauth/token", **how, code=code, code_verifier=verifier)  # twice
    caller.form("/oauth/token", **ident, grant_type="refresh_token", refresh_token=refresh)
    caller.form("/oauth/token", **ident, grant_type=refresh, scope=access)
    guess = kept.keep("a wrong client secret", "xrs_canary-guess-40dd")
    caller.form("/oauth/token", client_id=client["client_id"], client_secret=guess)
    basic = base64.b64encode(f"{client['client_id']}:{guess}".encode()).decode()
    kept.keep("the same as Basic", basic)
    caller.send("POST", "/oauth/token", {}, content_type=FORM, authorization=f"Basic {basic}")
    caller.form("/oauth/introspect", **ident, token=access)
    caller.form("/oauth/revoke", **ident, token=guess)
    caller.form(f"/oauth/token?{urlencode(ident)}", **how)
    return access


def keys(server: Server, kept: Secrets, token: str) -> None:
    """Keys and tokens where they belong, and everywhere else."""
    admin = (server.data / "admin.token").read_text().strip()
    kept.keep("the admin token", admin)
    kept.keep("the first key", server.key)
    stranger = Caller(server, "203.0.113.30")
    unknown = kept.keep("an unknown key", new_key())
    for secret in (unknown, server.key, token, admin):
        stranger.send("GET", "/v1/models", authorization=f"Bearer {secret}")
        stranger.send("GET", "/v1/models", x_api_key=secret, api_key=unknown)
        stranger.send("GET", "/api/v1/key", authorization=f"Bearer {secret}")
        stranger.send("GET", "/control/v1/keys", authorization=f"Basic {secret}")
        stranger.send("GET", f"/control/v1/keys/{quote(secret)}", authorization=f"Bearer {admin}")
        for name in ("key", "api_key", "access_token", "token", "client_secret"):
            for path in ("/v1/models", "/control/v1/keys", "/api/v1/key", "/nothing"):
                stranger.send("GET", f"{path}?{name}={quote(secret)}")
        for path in ("/v1/models/", "/v1/", "/oauth/", "/control/", "/api/v1/", "/"):
            stranger.send("GET", path + quote(secret))
        bearer = {"authorization": f"Bearer {server.key}"}
        for body in (
            {"model": CHAT, "messages": secret},
            {"model": CHAT, "messages": [], secret: 1},
            {"model": CHAT, "messages": [{"role": secret}], "temperature": secret},
        ):
            stranger.send("POST", "/v1/chat/completions", body, **bearer)


def providers(server: Server, caller: Caller, kept: Secrets) -> None:
    """Credentials that operators set, and those that are refused."""
    good = kept.keep("a provider's key", "sk-canary-provider-62ee")
    kind = server.control("GET", "/providers/openai")["adapter_class"]
    base = {"name": "second", "adapter_class": kind, "base_url": "https://127.0.0.1:9"}
    made = caller.send("POST", "/control/v1/providers", {**base, "credential": {"api_key": good}})
    assert made.status == 201, made.body
    bad = kept.keep("a credential in a wrong place", "sk-canary-misplaced-18ff")
    for changed in (
        {"name": "x y", "credential": {"api_key": bad}},
        {"name": "third", "credential": bad},
        {"name": "third", "credential": {"api_key": bad, "un heard of": bad}},
        {"name": "third", "api_key": bad},
        {"name": "third", "base_url": f"https://user:{bad}@host/"},
        {"name": "third", "credential": {"api_key": [bad]}},
        {"name": "third", "options": {"api_key": bad}, "timeouts": bad},
    ):
        reply = caller.send("POST", "/control/v1/providers", {**base, **changed})
        assert reply.status == 400, (changed, reply.body)
    broken = '{"name": "third", "credential": {"api_key": "' + bad
    caller.send("POST", "/control/v1/providers", broken, content_type="application/json")


def written(server: Server) -> Iterator[tuple[str, bytes]]:
    """Names and contents of all that others than the caller may read."""
    yield "log", server.err.encode()
    yield "metrics", server.ask("GET", "/metrics").body
    token = (server.data / "admin.token").read_text().strip()
    paths = (
        *("changes", "audit?limit=500", "usage?limit=1000", "keys", "providers", "registry"),
        *("users", "oauth/clients", "oauth/keys", "organizations", "projects", "instances"),
        *("state", "health", "models", "limits", "health/incidents", "billing/charges"),
    )
    for path in paths:
        answer = server.ask("GET", f"/control/v1/{path}", key=token)
        assert answer.status == 200, (path, answer.body)
        yield path, answer.body
    for file in server.data.rglob("*"):
        if file.is_file() and file.name != "admin.token":
            yield file.name, file.read_bytes()


def test_no_secret_is_found_anywhere(server: Server, operator: Caller) -> None:
    """In logs, metrics, refusals, the history, the journal, the database, or any other file."""
    kept = Secrets()
    kept.keep("a password", PASSWORD)
    people(server, operator, kept)
    token = applications(operator, kept)
    keys(server, kept, token)
    providers(server, operator, kept)
    assert server.chat(CHAT).status == 200
    until(lambda: len(server.events()) > 0, "the journal is drained")

    for where, content in written(server):
        for what, secret in kept.known.items():
            assert secret.encode() not in content, f"{what} in {where}"
        assert STATE.encode() not in content, f"the state in {where}"
    assert len(operator.wrong) > 8
    for body in operator.wrong:
        for what, secret in kept.known.items():
            assert secret.encode() not in body, f"{what} in {body.decode()}"
