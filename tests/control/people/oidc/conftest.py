"""A router that knows a provider, and browsers that go there; shared by the tests of a file.

Each test has a person of its own (`issuer.user`), and each browser an address of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
import pytest_asyncio
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import func, select
from tests.control.conftest import ADMIN, Api
from tests.control.fakes import adapters
from tests.control.people.conftest import ORIGIN, Browser
from tests.control.people.oidc.issuer import CLIENT, CLIENT_SECRET, Issuer

from xrouter.control.db.engine import Database
from xrouter.control.oauth.config import OAuthConfig
from xrouter.control.people.oidc.config import Fixed, Joining, OidcConfig, ProviderConfig
from xrouter.control.people.roles import Role
from xrouter.control.server import Services, create_app
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

ACME = "/control/oidc/acme"
JOINS = "/control/oidc/joins"
DOMAINS = {"example.com": Joining(organization="default", role=Role.developer)}
FLOW_COOKIE = "__Host-xrouter-oidc"


class World(Struct):
    """One application, its database, its provider, its first operator."""

    app: Any
    db: Database
    issuer: Issuer
    stack: AsyncExitStack
    numbers: Iterator[int]
    operator: Browser
    admin: Api

    def browser(self) -> Browser:
        """Nobody's, at an address of its own."""
        place = f"203.0.113.{next(self.numbers)}"
        return Browser(_client(self.app, place, self.stack))

    async def invited(self, email: str, role: str) -> Browser:
        """A person who has a password."""
        person = self.browser()
        secret = await self.invite(email, role)
        await person.enter("/auth/accept", secret=secret, name=email)
        return person

    async def invite(self, email: str, role: str, organization: str = "default") -> str:
        given = {"email": email, "role": role}
        path = f"/organizations/{organization}/invites"
        link = await self.operator.ask("POST", path, json=given, status=201)
        return str(link["secret"])

    async def events(self, action: str) -> list[Any]:
        """Of the audit log, the newest first."""
        found = await self.admin.ask("GET", f"/audit?action={action}")
        return list(found["data"])

    async def count(self, table: Any) -> int:
        async with self.db.read() as session:
            return (await session.scalars(select(func.count()).select_from(table))).one()


def providers(issuer: str) -> tuple[ProviderConfig, ...]:
    """What the router knows: one provider in several ways, and one that is not there."""
    acme = ProviderConfig(
        name="acme",
        title="Acme <ID>",
        issuer=issuer,
        client_id=CLIENT,
        client_secret=Secret(CLIENT_SECRET),
    )
    fixed = Fixed(
        authorization_endpoint=f"{issuer}/authorize",
        token_endpoint=f"{issuer}/token",
        userinfo_endpoint=f"{issuer}/me?format=json",
        scheme="OAuth",
        subject="id",
        email="default_email",
        name="real_name",
        audience="client_id",
    )
    plain = replace(acme, name="plain", issuer="https://login.acme.test", fixed=fixed)
    return (
        acme,
        replace(acme, name="joins", domains=DOMAINS),
        replace(acme, name="mails", link_by_email=True),
        replace(acme, name="fresh", domains=DOMAINS),
        replace(plain, domains=DOMAINS, trust_email=True),
        replace(plain, name="wary", domains=DOMAINS),
        replace(acme, name="away", issuer="http://127.0.0.1:1"),
    )


@pytest.fixture(scope="module")
def sqlite_world(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> str:
    file = tmp_path_factory.mktemp("world") / "xrouter.db"
    file.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{file}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of either kind with the newest tables."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_world")
        return
    databases = request.getfixturevalue("databases")
    name = databases.take()
    yield request.getfixturevalue("postgres").url(name)
    databases.give_back(name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(world_url: str) -> AsyncIterator[World]:
    issuer, db, client, tokens = Issuer(), Database(world_url), Client(), TokenBook()
    await issuer.start()
    async with AsyncExitStack() as stack:
        for each in (db.close, client.close, tokens.close, issuer.stop):
            stack.push_async_callback(each)
        services = Services(db, Vault(bytes(range(32))), adapters(), client, tokens)
        services = replace(
            services,
            oauth=OAuthConfig(issuer=ORIGIN),
            oidc=OidcConfig(ORIGIN, providers(issuer.url)),
        )
        app = create_app(services, admin_token=Secret(ADMIN))
        admin = Api(_client(app, "198.51.100.1", stack))
        admin.http.headers["authorization"] = f"Bearer {ADMIN}"
        operator = Browser(_client(app, "198.51.100.2", stack))
        link = await admin.ask("POST", "/auth/setup-link", status=201)
        await operator.enter("/auth/setup", secret=link["secret"], email="op@a.test", name="Op")
        yield World(app, db, issuer, stack, count(1), operator, admin)


@pytest.fixture
def issuer(world: World) -> Issuer:
    """As a right provider is, with a person whom nobody knows yet."""
    world.issuer.reset()
    return world.issuer


async def begin(browser: Browser, path: str = ACME, **more: Any) -> str:
    """Where the provider's button leads."""
    reply = await browser.http.get(path, **more)
    assert reply.status_code == 303, reply.text
    return str(reply.headers["location"])


async def back(browser: Browser, query: Any, path: str = ACME) -> httpx2.Response:
    return await browser.http.get(f"{path}/callback", params=query)


async def come_in(browser: Browser, issuer: Issuer, path: str = ACME) -> httpx2.Response:
    """There, and back with the person's consent."""
    return await back(browser, issuer.agrees(await begin(browser, path)), path)


async def welcomed(browser: Browser, reply: httpx2.Response) -> Any:
    """Who the browser is signed in as."""
    assert reply.status_code == 303, reply.text
    me = await browser.ask("GET", "/auth/me")
    browser.knows(me)
    return me


async def refused(browser: Browser, reply: httpx2.Response, status: int, text: str) -> None:
    """A page says why, and nobody is signed in."""
    assert (reply.status_code, text in reply.text) == (status, True), reply.text
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["x-frame-options"] == "DENY"
    await browser.error("GET", "/auth/me", status=401)


def asked(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


def _client(app: Any, place: str, stack: AsyncExitStack) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, client=(place, 1234))
    client = httpx2.AsyncClient(transport=transport, base_url=ORIGIN, headers={"origin": ORIGIN})
    stack.push_async_callback(client.aclose)
    return client
