from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.control.fakes import AcmeAdapter, AcmeServer, OtherAdapter, adapters, described

from xrouter.control.db.engine import Database
from xrouter.control.db.migrate import upgrade
from xrouter.control.people.throttle import Throttle
from xrouter.control.server import Services, create_app
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

ADMIN = "admin-token-of-tests"


@pytest.fixture(autouse=True)
def between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes between tries of passwords and secrets: how slow a test is counts for none."""
    for place in ("server", "oauth.app"):
        monkeypatch.setattr(f"xrouter.control.{place}.Throttle", partial(Throttle, lambda: 0.0))


@pytest.fixture(autouse=True)
def patient_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine is no absent database, nor an absent identity provider."""
    limits = ("db.engine.CONNECT_S", "db.engine.POOL_WAIT_S", "people.oidc.ask.CONNECT_S")
    for name in limits:
        monkeypatch.setattr(f"xrouter.control.{name}", 60.0)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "xrouter.db"
    asyncio.run(upgrade(f"sqlite:///{file}"))
    return file


@pytest.fixture
def sqlite_file(sqlite_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sqlite_template, tmp_path / "xrouter.db"))


@pytest.fixture
def sqlite_url(sqlite_file: Path) -> str:
    return f"sqlite:///{sqlite_file}"


@pytest.fixture(params=["sqlite", "postgresql"])
def db_url(request: pytest.FixtureRequest) -> str:
    """A database of either kind with the newest tables."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of either kind without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
async def db(db_url: str) -> AsyncIterator[Database]:
    database = Database(db_url)
    yield database
    await database.close()


@pytest.fixture
def vault() -> Vault:
    return Vault(bytes(range(32)))


@pytest.fixture
async def wire_client() -> AsyncIterator[Client]:
    client = Client()
    yield client
    await client.close()


@pytest.fixture
def changes() -> list[None]:
    """One item for each time the services said that something changed."""
    return []


@pytest.fixture
async def services(
    db: Database, vault: Vault, wire_client: Client, changes: list[None]
) -> AsyncIterator[Services]:
    tokens = TokenBook()
    yield Services(db, vault, adapters(), wire_client, tokens, changed=lambda: changes.append(None))
    await tokens.close()


class Api:
    """The control API as its client sees it."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.http = client

    async def ask(self, method: str, path: str, *, status: int = 200, **more: Any) -> Any:
        reply = await self.http.request(method, "/control/v1" + path, **more)
        assert reply.status_code == status, reply.text
        return reply.json()

    async def error(self, method: str, path: str, *, status: int, **more: Any) -> Any:
        body = await self.ask(method, path, status=status, **more)
        assert set(body) == {"error"}
        assert {"message", "type", "param", "code"} <= set(body["error"])
        return body["error"]

    async def acme(self, **more: Any) -> Any:
        """Register the provider of the tests."""
        given = {"name": "acme", "base_url": "https://acme.test", "credential": {"api_key": "k"}}
        return await self.ask("POST", "/providers", json={**given, **more}, status=201)

    async def project(self, slug: str) -> None:
        given = {"slug": slug, "name": slug}
        await self.ask("POST", "/organizations/default/projects", json=given, status=201)

    async def acme_model(self, name: str = "one", **more: Any) -> Any:
        given = {"model_id": f"acme/{name}", "provider": "acme", **more}
        return await self.ask("POST", "/models", json=given, status=201)


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Api]:
    app = create_app(services, admin_token=Secret(ADMIN))
    transport = httpx2.ASGITransport(app=app)
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://control.test", headers=headers
    ) as client:
        yield Api(client)


@pytest.fixture
async def acme_server() -> AsyncIterator[AcmeServer]:
    server = AcmeServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(autouse=True)
def acme_models(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the adapter of the tests ships."""
    models = [described("one"), described("two", 32000, "v2", "v1")]
    monkeypatch.setattr(AcmeAdapter, "shipped", models)
    monkeypatch.setattr(OtherAdapter, "shipped", [])
    return models
