from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.flow.harness import Leap, Rig, leaping, open_rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as rig:
        yield rig


@pytest.fixture
async def leaps() -> AsyncIterator[Leap]:
    with leaping() as leap:
        yield leap
