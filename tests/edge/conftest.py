from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop
from tests.edge.harness import House, open_house


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the product runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A running door that must leave no task behind."""
    before = asyncio.all_tasks()
    async with open_house() as opened:
        yield opened
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}
