"""Answers of Redis overtake each other, come too late or never: one process passes no limit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.services.redis import Redis
from tests.stores.redis.conftest import PATIENT_S, until
from typing_extensions import override

from xrouter.domain.ports import Want
from xrouter.domain.secret import Secret
from xrouter.stores.redis.link import Link, RedisAway
from xrouter.stores.redis.meters import RedisMeters

LEASE_S = 60.0
CAP = 30
SEEDS = range(12)


def want(limit: int = CAP, amount: int = 1) -> Want:
    return Want("key:k|*|money|total", "money", "total", limit, amount, "Europe/Moscow")


class Jumbled(RedisMeters):
    """gate: what answers wait for. chance: seeded, decides when an answer comes, and whether in
    time; None for at once.
    """

    is_cut = False
    gate: asyncio.Event | None = None
    chance: random.Random | None = None

    @override
    async def _run(self, keys: list[str], told: Sequence[str | int], *, patient: bool) -> Any:
        if self.is_cut and not patient:
            raise RedisAway
        gate, self.gate = self.gate, None
        if self.chance is None:
            found = await super()._run(keys, told, patient=patient)
        else:
            found = await self._some_time(self.chance, keys, told, patient=patient)
        if gate is not None:
            await gate.wait()
        return found

    async def _some_time(
        self, chance: random.Random, keys: list[str], told: Sequence[str | int], *, patient: bool
    ) -> Any:
        await asyncio.sleep(chance.random() * 0.01)
        if not patient and chance.random() < 0.1:
            raise RedisAway
        found = await super()._run(keys, told, patient=patient)
        await asyncio.sleep(chance.random() ** 3 * 0.03)
        if not patient and chance.random() < 0.2:
            raise RedisAway
        return found


@pytest.fixture
async def meters(redis: Redis, redis_url: str) -> AsyncIterator[Jumbled]:
    assert redis.ask("SET xr:{limits}:known 1") == "+OK"
    link = Link(Secret(redis_url), PATIENT_S)
    made = Jumbled(link)
    await made.turn()
    yield made
    await link.close()
    await made.close()


async def quiet(meters: RedisMeters) -> None:
    """All is told that is told in the background."""
    await until(lambda: not meters._link._later)


async def test_granted_by_redis_and_overtaken(meters: Jumbled) -> None:
    """While the answer was on its way, another one was granted the last of it, and told."""
    last = want(limit=1)
    gate = meters.gate = asyncio.Event()
    waiting = asyncio.create_task(meters.take([last], LEASE_S))
    await until(lambda: meters.gate is None)
    meters.is_cut = True
    assert (await meters.take([last], LEASE_S)).hold is not None
    await quiet(meters)
    gate.set()
    assert (await waiting).hold is None
    await quiet(meters)
    meters.is_cut = False
    assert (await meters.take([last], LEASE_S)).hold is None
    assert (await meters.take([want(limit=2)], LEASE_S)).hold is not None


async def test_what_was_not_used_is_free_before_redis_says_so(meters: Jumbled) -> None:
    hold = (await meters.take([want(limit=10, amount=10)], LEASE_S)).hold
    assert hold is not None
    meters.is_cut = True
    assert (await meters.take([want(limit=10)], LEASE_S)).hold is None
    gate = meters.gate = asyncio.Event()
    meters.settle(hold, [4])
    found = [(await meters.take([want(limit=10)], LEASE_S)).hold is not None for _ in range(7)]
    assert found == [True] * 6 + [False]
    gate.set()
    await quiet(meters)
    assert (await meters.look([want(limit=10)]))[0].remaining == 0


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_order_answers_come_in(meters: Jumbled, seed: int) -> None:
    """Three times as many as may; half of the seeds settle what they hold meanwhile."""
    chance = meters.chance = random.Random(seed)

    async def ask() -> int:
        await asyncio.sleep(chance.random() * 0.08)
        hold = (await meters.take([want()], LEASE_S)).hold
        if hold is not None and seed % 2:
            await asyncio.sleep(chance.random() * 0.02)
            meters.settle(hold, [1])
        holds.append(hold)
        return hold is not None

    holds: list[object] = []
    granted = sum(await asyncio.gather(*(ask() for _ in range(3 * CAP))))
    await quiet(meters)
    meters.chance = None
    assert granted <= CAP
    assert (await meters.look([want()]))[0].remaining == CAP - granted
    assert meters._shares._untold == {}
