from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from xrouter.sandbox.server import running


@pytest.fixture
async def sandbox_url() -> AsyncIterator[str]:
    async with running() as url:
        yield url


@pytest.fixture
async def http(sandbox_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sandbox_url) as session:
        yield session
