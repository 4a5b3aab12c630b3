from __future__ import annotations

from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace
from tests.control.conftest import ADMIN, Api
from tests.control.fakes import ACME

from xrouter.control.db.engine import Database
from xrouter.control.kit.rooms import Rooms
from xrouter.control.registry.history import HistoryService
from xrouter.control.registry.service import RegistryService
from xrouter.control.server import Services, create_app
from xrouter.domain.secret import Secret

Json = dict[str, Any]
PROVIDER: Json = {
    "name": "acme",
    "display_name": "Acme",
    "adapter_class": ACME,
    "country": "RU",
    "endpoints": [
        {
            "name": "primary",
            "base_url": "https://acme.test",
            "credential": {"api_key": "top-secret"},
            "max_running": 4,
        }
    ],
}
VERSIONS = [
    {"label": "v2", "upstream": "one@v2", "channel": "latest"},
    {"label": "v1", "upstream": "one@v1", "channel": "deprecated", "status": "deprecated"},
]
PRICE = {
    "effective_from": "2026-01-01T00:00:00Z",
    "currency": "RUB",
    "input": 100,
    "output": 200,
    "source": "the list",
}


_WHOLE: Json = {
    "providers": [PROVIDER],
    "models": [
        {"model_id": "acme/one", "provider": "acme", "versions": VERSIONS},
        {"model_id": "acme/two", "provider": "acme"},
    ],
    "prices": [{"model_id": "acme/one", "prices": [PRICE]}],
    "routes": [
        {
            "name": "bot",
            "aliases": ["auto"],
            "policy": {"fallbacks": ["acme/two"]},
            "targets": [{"model": "acme/one:latest", "endpoint": "primary", "weight": 3}],
        },
        {"name": "outer", "targets": [{"model": "auto"}, {"model": "acme/two"}]},
    ],
}


def whole() -> Json:
    """A small catalog of everything there is."""
    return deepcopy(_WHOLE)


class RegistryApi(Api):
    async def put(self, given: Json, **query: Any) -> Json:
        done: Json = await self.ask("PUT", "/registry", json=given, params=query)
        return done

    async def refused(self, given: Json, **query: Any) -> Json:
        error: Json = await self.error("PUT", "/registry", json=given, params=query, status=400)
        return error

    async def export(self, secrets: str = "none") -> Json:
        found: Json = await self.ask("GET", f"/registry?secrets={secrets}")
        return found

    async def revision(self) -> int:
        found: int = (await self.ask("GET", "/changes?limit=1"))["data"][0]["revision"]
        return found

    async def restore(self, revision: int, *, status: int = 200, dry_run: bool = False) -> Json:
        path, given = f"/revisions/{revision}/restore", {"dry_run": dry_run}
        done: Json = await self.ask("POST", path, json=given, status=status)
        return done


def joined(services: Services, db: Any = None, vault: Any = None) -> httpx2.AsyncClient:
    """The control API with the rooms of this folder."""
    app = create_app(services, admin_token=Secret(ADMIN))
    if db is not None or vault is not None:
        rooms: Rooms = app.state.rooms
        given = db or services.db, vault or services.vault, services.adapters, services.changed
        rooms._services[RegistryService] = RegistryService(*given)
        rooms._services[HistoryService] = HistoryService(*given)
    headers = {"authorization": f"Bearer {ADMIN}"}
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://control.test", headers=headers
    )


@pytest.fixture
async def fresh(
    services: Services, sqlite_template: Path, tmp_path: Path
) -> AsyncIterator[RegistryApi]:
    """Another install, an empty one, with the same master key."""
    file = tmp_path / "fresh.db"
    file.write_bytes(sqlite_template.read_bytes())
    db = Database(f"sqlite:///{file}")
    try:
        async with joined(replace(services, db=db)) as client:
            yield RegistryApi(client)
    finally:
        await db.close()


@pytest.fixture
async def api(services: Services) -> AsyncIterator[RegistryApi]:
    async with joined(services) as client:
        yield RegistryApi(client)
