from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from tests.e2e.fixtures import _sandbox_process, sandbox, served, servers

from xrouter.domain.secret import Secret
from xrouter.stores.redis.link import Link

__all__ = ["_sandbox_process", "sandbox", "served", "servers"]

SOON_S = 20.0
PATIENT_S = 20.0
"""Tests are about order, not about speed: a busy machine is no absent Redis."""

PATIENT = ("hearing", "lanes", "meters")
"""Modules that know what may take its time."""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():
            await asyncio.sleep(0.002)


def patience(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """For what nobody waits for."""
    for name in PATIENT:
        patch.setattr(f"xrouter.stores.redis.{name}.PATIENT_S", seconds)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    patience(monkeypatch, PATIENT_S)


@pytest.fixture
async def link_to() -> AsyncIterator[Callable[..., Link]]:
    made: list[Link] = []

    def make(url: str, deadline_s: float = PATIENT_S, **more: Callable[[], float]) -> Link:
        made.append(Link(Secret(url), deadline_s, **more))
        return made[-1]

    yield make
    for link in made:
        await link.close()


@pytest.fixture
def link(link_to: Callable[..., Link], redis_url: str) -> Link:
    return link_to(redis_url)
