from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop
from tests.wire.rawserver import RawServer

from xrouter.wire.client import Client


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What holds on one event loop must hold on the other."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=[pytest.param(Client, id="own")])
def make_client(request: pytest.FixtureRequest) -> Callable[..., Client]:
    """The implementations that have to keep the transport contract."""
    made: Callable[..., Client] = request.param
    return made


@pytest.fixture
async def client(make_client: Callable[..., Client]) -> AsyncIterator[Client]:
    """A client that must leave no task behind."""
    before = asyncio.all_tasks()
    made = make_client(max_body=1 << 20)
    yield made
    await made.close()
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with RawServer().listening() as started:
        yield started
