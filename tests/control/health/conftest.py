from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.control.conftest import ADMIN, Api
from tests.control.fakes import ACME, AcmeServer, adapters
from tests.control.health.parts import NOON, Clock, Watch, seal

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow, ModelRow, ProviderRow
from xrouter.control.health import endpoints
from xrouter.control.health.events import Events
from xrouter.control.health.prober import ProberOptions
from xrouter.control.health.service import HealthService
from xrouter.control.instances import Instances
from xrouter.control.instances import router as instances_router
from xrouter.control.kit import errors
from xrouter.control.kit.guard import Guard
from xrouter.control.kit.rooms import Rooms
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault
from xrouter.wire.client import Client
from xrouter.wire.tokens import TokenBook

PREFIX = "/control/v1"


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def instances(db: Database, clock: Clock) -> Instances:
    return Instances(db, clock)


@pytest.fixture
def health_app(db: Database, events: Events, clock: Clock, instances: Instances) -> FastAPI:
    """The health API alone."""
    app = FastAPI(openapi_url=None)
    app.state.rooms = Rooms(HealthService(db, events, clock), instances)
    routers = (endpoints.router, instances_router)
    for router in routers:
        app.include_router(router, prefix=PREFIX)
    errors.install(app, routers, PREFIX)
    app.add_middleware(Guard, admin_token=Secret(ADMIN))
    return app


@pytest.fixture
async def health(health_app: FastAPI) -> AsyncIterator[Api]:
    transport = httpx2.ASGITransport(app=health_app)
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://control.test", headers=headers
    ) as client:
        yield Api(client)


@pytest.fixture
async def acme_rows(db: Database, vault: Vault, acme_server: AcmeServer) -> Any:
    """The provider of the tests with two endpoints: `primary` and `standby`, and a model."""
    async with db.write() as session:
        session.add(ProviderRow(name="acme", display_name="Acme", adapter_class=ACME))
        await session.flush()
        made = []
        for priority, name in enumerate(("primary", "standby")):
            row = EndpointRow(
                provider="acme", name=name, base_url=acme_server.url, priority=priority
            )
            session.add(row)
            await session.flush()
            row.credential = seal(vault, row.id)
            made.append(row)
        session.add(
            ModelRow(model_id="acme/one", provider="acme", adapter_class=ACME, display_name="One")
        )
    return made


@pytest.fixture
def options() -> ProberOptions:
    return ProberOptions(patience_s=30.0, spread=0.0)


@pytest.fixture
async def tokens() -> AsyncIterator[TokenBook]:
    book = TokenBook()
    yield book
    await book.close()


@pytest.fixture
def watch(
    db: Database,
    vault: Vault,
    clock: Clock,
    events: Events,
    options: ProberOptions,
    wire_client: Client,
    tokens: TokenBook,
) -> Watch:
    return Watch(db, vault, adapters(), wire_client, tokens, events, options, clock)
