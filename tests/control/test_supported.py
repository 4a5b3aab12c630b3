"""With the adapters of this installation: whatever they are, they fit the control plane."""

from __future__ import annotations

import msgspec
import pytest
from tests.control.conftest import Api

from xrouter.control.catalog.adapter_map import build_model_adapter_map
from xrouter.control.catalog.adapters import supported
from xrouter.control.db.engine import Database
from xrouter.control.publish.build import build_snapshot
from xrouter.control.server import Services
from xrouter.domain.errors import InvalidRequest
from xrouter.providers import factory


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def services(services: Services) -> Services:
    return msgspec.structs.replace(services, adapters=supported())


async def test_the_models_of_every_known_provider_reach_the_map(
    api: Api, db: Database, services: Services
) -> None:
    known = factory.providers()
    wanted = {}
    async with db.write() as session:
        connection = await session.connection()
        for name, provider in known.items():
            await connection.exec_driver_sql(
                "INSERT INTO providers (name, display_name, adapter_class) VALUES (?, ?, ?)",
                (name, provider.display_name, provider.adapter_class),
            )
            for model in provider.supported_models:
                wanted[f"{name}/{model.name}"] = factory.resolve(provider.adapter_class)
    done = await api.ask("POST", "/models/sync")
    assert (done["added"], done["failed"]) == (len(wanted), [])
    assert await build_model_adapter_map(db) == wanted
    snapshot = await build_snapshot(db, services.vault, services.adapters)
    for name, provider in known.items():
        for model in provider.supported_models:
            assert snapshot.models[f"{name}/{model.name}"].versions == model.versions


async def test_every_known_provider_says_what_is_missing_or_registers(api: Api) -> None:
    for name, provider in factory.providers().items():
        given = {"name": name, "base_url": provider.default_base_url or "http://127.0.0.1:9"}
        reply = await api.http.post("/control/v1/providers", json=given)
        assert reply.status_code in (201, 400), (name, reply.text)
        if reply.status_code == 400:
            assert reply.json()["error"]["param"], name


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        supported().require("os.system")
