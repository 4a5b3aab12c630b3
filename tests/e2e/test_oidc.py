"""Signing in at a real OpenID provider, as a browser does: forms, cookies, redirects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2
import pytest
from tests.e2e.fixtures import Servers
from tests.e2e.harness import Server
from tests.services.oidc.provider import OpenIdProvider

PASSWORD = "correct horse battery"
SECRET = "a secret of forty characters or even more"
_FORM = re.compile(r'<form [^>]*action="([^"]+)"')
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')
_STEPS = 12


class Walker:
    """A browser: it keeps cookies, follows redirects, fills in what forms ask for."""

    def __init__(self, server: Server) -> None:
        self.http = httpx2.Client(headers={"accept-language": "en"})
        self.server = server
        self.csrf = ""

    def come_in(
        self, start: str, login: str, before_back: Callable[[], None] = lambda: None
    ) -> httpx2.Response:
        """From a button of ours to the last page, by all that the provider asks."""
        reply = self.http.get(urljoin(self.server.url, start))
        for _ in range(_STEPS):
            if reply.status_code in (302, 303):
                to = urljoin(str(reply.url), reply.headers["location"])
                if "/callback?" in to:
                    before_back()
                reply = self.http.get(to)
                continue
            form = _FORM.search(reply.text)
            if form is None or reply.url.port == httpx2.URL(self.server.url).port:
                return reply
            fields = {name: unescape(value) for name, value in _HIDDEN.findall(reply.text)}
            if 'name="login"' in reply.text:
                fields |= {"login": login, "password": "any"}
            reply = self.http.post(urljoin(str(reply.url), unescape(form[1])), data=fields)
        raise AssertionError("it goes round in circles")

    def ask(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        headers = {"origin": self.server.url, "x-csrf-token": self.csrf}
        url = f"{self.server.url}/control/v1{path}"
        reply = self.http.request(method, url, headers=headers, **more)
        assert reply.status_code == status, reply.text
        told = reply.json() if reply.content else None
        self.csrf = (told or {}).get("csrf", self.csrf)
        return told


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[OpenIdProvider]:
    provider = OpenIdProvider(tmp_path / "provider")
    yield provider
    provider.stop()


@pytest.fixture
def server(servers: Servers, provider: OpenIdProvider) -> Server:
    """Two ways to one provider: RS256 with the secret in the header, ES256 in the body."""
    server = servers(bare=True, XROUTER_SANDBOX="off")
    usual = {"issuer": provider.url, "client_secret": SECRET}
    domains = {"example.com": {"organization": "default", "role": "developer"}}
    corp = {**usual, "title": "Corp", "client_id": "corp", "domains": domains}
    other = {**usual, "preset": "keycloak", "client_id": "other", "client_auth": "post"}
    server.env["XROUTER_OIDC"] = json.dumps({"corp": corp, "other": other})
    provider.start(clients(server))
    server.start()
    return server


@pytest.fixture
def walker(server: Server) -> Iterator[Callable[[], Walker]]:
    made: list[Walker] = []

    def new() -> Walker:
        made.append(Walker(server))
        return made[-1]

    yield new
    for each in made:
        each.http.close()


def clients(server: Server) -> list[dict[str, Any]]:
    def client(name: str, **more: Any) -> dict[str, Any]:
        back = f"{server.url}/control/oidc/{name}/callback"
        return {"client_id": name, "client_secret": SECRET, "redirect_uris": [back], **more}

    post = {"token_endpoint_auth_method": "client_secret_post"}
    return [client("corp"), client("other", id_token_signed_response_alg="ES256", **post)]


def first_operator(server: Server, operator: Walker) -> Walker:
    found = re.search(r"/control/setup#(\S+)$", server.out, re.MULTILINE)
    assert found is not None, server.out
    body = {"secret": found[1], "email": "op@a.test", "name": "Op", "password": PASSWORD}
    operator.ask("POST", "/auth/setup", 201, json=body)
    return operator


def test_people_come_in_by_a_real_provider(
    server: Server, provider: OpenIdProvider, walker: Callable[[], Walker]
) -> None:
    operator, ann, again = first_operator(server, walker()), walker(), walker()
    page = ann.http.get(f"{server.url}/control/sign-in").text
    assert 'href="/control/oidc/corp">Sign in with Corp</a>' in page
    assert 'href="/control/oidc/other">Sign in with Keycloak</a>' in page

    reply = ann.come_in("/control/oidc/corp?next=/control/sign-in", "ann")
    assert str(reply.url) == f"{server.url}/control/sign-in"
    me = ann.ask("GET", "/auth/me")
    assert me["user"]["email"] == "ann@example.com"
    assert [(m["organization"], m["role"]) for m in me["memberships"]] == [("default", "developer")]
    assert str(again.come_in("/control/oidc/other", "ann").url).endswith("/control/signed-in")
    assert again.ask("GET", "/auth/me")["user"]["user_id"] == me["user"]["user_id"]
    again.ask("POST", "/auth/sign-out-everywhere", 204)
    ann.ask("GET", "/auth/me", 401)

    asked = "/auth?callback_url=http%3A%2F%2Flocalhost%3A3000%2F&code_challenge_method=S256"
    asked += "&code_challenge=" + "a" * 43
    page = ann.http.get(server.url + asked).text
    button = re.search(r'href="(/control/oidc/corp[^"]*)">Sign in with Corp', page)
    assert button is not None, page
    assert "asks for an API key" in ann.come_in(unescape(button[1]), "ann").text

    for login in ("new.bob", "mallory@evil.test"):
        stranger = walker()
        reply = stranger.come_in("/control/oidc/corp", login)
        assert (reply.status_code, "Nobody has invited you" in reply.text) == (403, True)
        stranger.ask("GET", "/auth/me", 401)

    begun = operator.ask("POST", "/auth/identities", 201, json={"provider": "corp"})
    assert str(operator.come_in(begun["url"], "boss").url).endswith("/control/linked")
    boss = walker()
    boss.come_in("/control/oidc/other", "boss")
    assert boss.ask("GET", "/auth/me")["user"]["is_operator"]

    reply = walker().come_in("/control/oidc/corp", "ann", before_back=provider.stop)
    assert (reply.status_code, "does not answer" in reply.text) == (503, True)
    back = walker()
    back.ask("POST", "/auth/sign-in", json={"email": "op@a.test", "password": PASSWORD})

    provider.start(clients(server))
    ann.come_in("/control/oidc/other", "ann")
    assert ann.ask("GET", "/auth/me")["user"]["email"] == "ann@example.com"
    assert SECRET not in server.out + server.err
