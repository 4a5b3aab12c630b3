"""The authorization server and a door that takes its tokens, as browsers and programs see them."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from msgspec.structs import replace
from tests.control.conftest import ADMIN
from tests.control.fakes import adapters

from xrouter.app.gateway import DataPlane, GatewayConfig
from xrouter.control.db.tables.base import utc_now
from xrouter.control.oauth.app import OAuth
from xrouter.control.oauth.config import Means, OAuthConfig
from xrouter.control.people.sessions import Sessions
from xrouter.control.people.sign_in import SignInService
from xrouter.control.publish.build import build_snapshot
from xrouter.control.server import Services, create_app
from xrouter.domain.secret import Secret
from xrouter.edge.health import Health
from xrouter.edge.server import Door
from xrouter.telemetry.logs import LineWriter

ISSUER = "https://router.test"
CALLBACK = "https://app.test/cb"
PASSWORD = "correct horse battery"
EMAIL = "op@a.test"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


class Browser:
    """One person's."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self.http.get(path, **more)

    async def submit(self, page: httpx2.Response, **fields: str) -> httpx2.Response:
        """Send the form of a page, with the hidden fields that it holds."""
        action = re.search(r'<form action="([^"]+)"', page.text)
        assert action, page.text
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text)
        data = {unescape(name): unescape(value) for name, value in hidden} | fields
        return await self.http.post(action[1], content=urlencode(data), headers=FORM)


class World:
    """A router. `now` is its clock; `changes` counts what the data plane was told of."""

    def __init__(self, services: Services, config: OAuthConfig, folder: Path) -> None:
        self.services = services
        self.config = config
        self.ahead = timedelta()
        self.changes = 0
        self.control = create_app(services, admin_token=Secret(ADMIN))
        rooms = self.control.state.rooms
        means = Means(services.db, services.vault, config, self._changed, self.now)
        self.oauth = OAuth(means, rooms.get(Sessions), rooms.get(SignInService))
        self.data = DataPlane(GatewayConfig(folder), services.vault, LineWriter(io.StringIO()))
        self.door = Door(
            self.data.flow,
            self.data.snapshots,
            self.data.keys,
            lambda: b"",
            Health(self.data.snapshots),
            responses=self.data.responses,
            fallback=self._fallback,
        )
        self._opened: list[httpx2.AsyncClient] = []
        self.http = self.open()
        self.admin = self.open(authorization=f"Bearer {ADMIN}")

    def now(self) -> datetime:
        return utc_now() + self.ahead

    def _changed(self) -> None:
        self.changes += 1

    async def _fallback(self, scope: Any, receive: Any, send: Any) -> None:
        app = self.control if scope["path"].startswith("/control/") else self.oauth.app
        await app(scope, receive, send)

    def open(self, ip: str = "203.0.113.5", **headers: str) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=self.door, client=(ip, 1234))
        client = httpx2.AsyncClient(transport=transport, base_url=ISSUER, headers=headers)
        self._opened.append(client)
        return client

    def browser(self) -> Browser:
        return Browser(self.open(**{"sec-fetch-site": "same-origin"}))

    async def publish(self) -> None:
        services = self.services
        snapshot = await build_snapshot(
            services.db, services.vault, adapters(), issuer=self.config.issuer
        )
        self.data.snapshots.replace(snapshot)

    async def ask(self, method: str, path: str, *, status: int = 200, **more: Any) -> Any:
        reply = await self.admin.request(method, "/control/v1" + path, **more)
        assert reply.status_code == status, reply.text
        return reply.json() if reply.content else None

    async def client(self, **more: Any) -> Any:
        given = {"name": "App", "redirect_uris": [CALLBACK], "scopes": ["chat", "models"]}
        return await self.ask("POST", "/oauth/clients", status=201, json={**given, **more})

    async def service(self, **more: Any) -> Any:
        """A client that acts for itself."""
        given = {"redirect_uris": [], "grant_types": ["client_credentials"], "project": "default"}
        return await self.client(**{**given, **more})

    async def set_up(self) -> Browser:
        """The first operator, signed in."""
        link = await self.ask("POST", "/auth/setup-link", status=201)
        browser = self.browser()
        body = {"secret": link["secret"], "email": EMAIL, "name": "Op", "password": PASSWORD}
        reply = await browser.http.post(
            "/control/v1/auth/setup", json=body, headers={"origin": ISSUER}
        )
        assert reply.status_code == 201, reply.text
        return browser

    async def invite(self, email: str, role: str) -> tuple[Browser, str]:
        """Another person with a role, signed in, and their id."""
        given = {"email": email, "role": role}
        link = await self.ask("POST", "/organizations/default/invites", status=201, json=given)
        browser = self.browser()
        body = {"secret": link["secret"], "name": email, "password": PASSWORD}
        reply = await browser.http.post(
            "/control/v1/auth/accept", json=body, headers={"origin": ISSUER}
        )
        assert reply.status_code == 201, reply.text
        user_id: str = reply.json()["user"]["user_id"]
        return browser, user_id

    def request(self, client: Any, **more: Any) -> dict[str, str]:
        """A good authorization request; None takes a parameter away."""
        given = {
            "response_type": "code",
            "client_id": client["client_id"],
            "redirect_uri": CALLBACK,
            "code_challenge": s256("v" * 43),
            "code_challenge_method": "S256",
            "state": "st4te",
            **more,
        }
        return {name: value for name, value in given.items() if value is not None}

    async def consent(self, browser: Browser, client: Any, **more: Any) -> httpx2.Response:
        """Ask, and allow."""
        page = await browser.get("/oauth/authorize", params=self.request(client, **more))
        assert page.status_code == 200, page.text
        return await browser.submit(page, project="default", decision="allow")

    async def code(self, browser: Browser, client: Any, **more: Any) -> str:
        reply = await self.consent(browser, client, **more)
        return told(reply)["code"]

    async def token(self, client: Any, **more: Any) -> httpx2.Response:
        """Of the token endpoint; the client shows its secret as fields."""
        data = {"client_id": client["client_id"], **more}
        if client.get("client_secret") and "client_secret" not in more:
            data["client_secret"] = client["client_secret"]
        data = {name: value for name, value in data.items() if value is not None}
        return await self.http.post("/oauth/token", content=urlencode(data), headers=FORM)

    async def exchange(self, client: Any, code: str, **more: Any) -> httpx2.Response:
        given = {"grant_type": "authorization_code", "code": code, "code_verifier": "v" * 43}
        return await self.token(client, **{**given, "redirect_uri": CALLBACK, **more})

    async def refresh(self, client: Any, token: str, **more: Any) -> httpx2.Response:
        return await self.token(client, grant_type="refresh_token", refresh_token=token, **more)

    async def tokens(self, browser: Browser, client: Any, **more: Any) -> Any:
        """A whole way: consent, code, tokens."""
        reply = await self.exchange(client, await self.code(browser, client, **more))
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def own_token(self, client: Any, **more: Any) -> Any:
        reply = await self.token(client, grant_type="client_credentials", **more)
        assert reply.status_code == 200, reply.text
        return reply.json()["access_token"]

    async def post(self, path: str, client: Any, **more: str) -> httpx2.Response:
        """As a client, with Basic."""
        auth = (client["client_id"], client["client_secret"])
        return await self.http.post(path, content=urlencode(more), headers=FORM, auth=auth)

    async def call(self, token: str | None, **headers: str) -> httpx2.Response:
        """The data plane."""
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return await self.http.get("/v1/models", headers=headers)

    async def close(self) -> None:
        for client in self._opened:
            await client.aclose()
        await self.data.stop()


def told(reply: httpx2.Response) -> dict[str, str]:
    """What a redirect says to the application."""
    assert reply.status_code == 303, reply.text
    query = parse_qs(urlsplit(reply.headers["location"]).query, keep_blank_values=True)
    return {name: values[0] for name, values in query.items()}


def error(reply: httpx2.Response, status: int = 400) -> str:
    """The code of an error of the token endpoint."""
    assert reply.status_code == status, reply.text
    assert reply.headers["cache-control"] == "no-store"
    name: str = reply.json()["error"]
    return name


def fresh_verifier() -> str:
    return secrets.token_urlsafe(48)


NewWorld = Callable[..., Awaitable[World]]


@pytest.fixture
async def new_world(services: Services, tmp_path: Path) -> AsyncIterator[NewWorld]:
    made: list[World] = []

    async def new(**more: Any) -> World:
        config = OAuthConfig(issuer=ISSUER)
        folder = tmp_path / f"data{len(made)}"
        folder.mkdir()
        made.append(World(services, replace(config, **more), folder))
        await made[-1].oauth.keys.turn()
        return made[-1]

    yield new
    for world in made:
        await world.close()


@pytest.fixture
async def world(new_world: NewWorld) -> World:
    return await new_world()


@pytest.fixture
async def person(world: World) -> Browser:
    return await world.set_up()
