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

from xrouter.domain.limits import Meter, Window
from xrouter.domain.ports import Hold, Want
from xrouter.domain.secret import Secret
from xrouter.stores.redis import meter_script as script
from xrouter.stores.redis import meters as module
from xrouter.stores.redis.link import Link, RedisAway
from xrouter.stores.redis.meters import RedisMeters

LEASE_S = 60.0
CAP = 30
SEEDS = range(12)


def want(limit: int = CAP, amount: int = 1, window: Window = "total") -> Want:
    meter: Meter = "running" if window == "now" else "money"
    return Want(f"key:k|*|{meter}|{window}", meter, window, limit, amount, "Europe/Moscow")


class Jumbled(RedisMeters):
    """is_cut: no request is answered; is_away: nothing is. losing: so many answers to the end of a
    hold, which Redis has heard. gate: what the next answer waits for. chance: seeded, decides when
    an answer comes, and whether in time; None for at once.
    """

    is_cut = is_away = False
    losing = 0
    gate: asyncio.Event | None = None
    chance: random.Random | None = None

    @override
    async def _run(self, keys: list[str], told: Sequence[str | int], *, patient: bool) -> Any:
        if self.is_away or (self.is_cut and not patient):
            raise RedisAway
        gate, self.gate = self.gate, None
        if self.chance is None:
            found = await super()._run(keys, told, patient=patient)
        else:
            found = await self._some_time(self.chance, keys, told, patient=patient)
        if gate is not None:
            await gate.wait()
        if self.losing and told[0] == "end":
            self.losing -= 1
            raise RedisAway
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


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRIES_S", (0.0, 0.0))


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


async def granted(meters: RedisMeters, of: Want, tries: int) -> list[Hold]:
    """One after another."""
    found = [(await meters.take([of], LEASE_S)).hold for _ in range(tries)]
    return [hold for hold in found if hold is not None]


async def left(meters: RedisMeters, of: Want) -> int:
    return (await meters.look([of]))[0].remaining


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


# --- what ends while Redis is away


async def test_more_than_was_held_is_used_once(meters: Jumbled) -> None:
    [hold] = await granted(meters, want(100, 10), 1)
    meters.is_away = True
    meters.settle(hold, [40])
    await quiet(meters)
    assert len(await granted(meters, want(100), 100)) == 60
    meters.is_away = False
    await meters.turn()
    assert await left(meters, want(100)) == 0


@pytest.mark.parametrize("lost", [20, 41, 62])
async def test_an_end_that_redis_has_heard_counts_once(meters: Jumbled, lost: int) -> None:
    """Its answer was lost, be it once, or each time that it was tried."""
    holds = await granted(meters, want(100), 20)
    meters.losing = lost
    for hold in holds:
        meters.settle(hold, [1])
    await quiet(meters)
    for _ in range(30):
        await meters.turn()
    assert (await left(meters, want(100)), meters._unheard) == (80, {})


async def test_a_debt_is_paid_once_though_the_answer_was_lost(
    meters: Jumbled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TELLING", 0)
    meters.is_away = True
    for hold in await granted(meters, want(100), 20):
        meters.settle(hold, [1])
    meters.is_away, meters.losing = False, 2
    for _ in range(4):
        await meters.turn()
    assert await left(meters, want(100)) == 80


async def test_what_was_given_back_while_redis_was_away_is_free_at_once(meters: Jumbled) -> None:
    [hold] = await granted(meters, want(10, 10), 1)
    meters.is_away = True
    meters.release(hold)
    await quiet(meters)
    meters.is_away = False
    await meters.turn()
    assert await left(meters, want(10)) == 10


async def test_who_held_through_a_long_absence_goes_on_holding(
    meters: Jumbled, redis: Redis
) -> None:
    """Redis frees what nobody has renewed: it is not asked before it has been told."""
    now, running = [0.0], want(10, window="now")
    meters._clock, meters._renewed_at = lambda: now[0], 0.0
    holds = await granted(meters, running, 11)
    members = [f"{hold.hold_id}|1|0" for hold in meters._open.values()]
    assert len(holds) == len(members) == 10
    for member in members:
        assert redis.ask(f"ZADD {script.holders(running)} XX CH 1 {member}") == ":1"
    now[0] += LEASE_S + 1
    assert await granted(meters, running, 5) == []
    await meters.turn()
    assert await granted(meters, running, 5) == []


async def test_a_lapsed_hold_is_told_again(meters: Jumbled, redis: Redis) -> None:
    running = want(10, window="now")
    holds = await granted(meters, running, 10)
    assert redis.ask(f"DEL {script.holders(running)}") == ":1"
    for hold in meters._open.values():
        hold.renew_at = 0.0
    await meters.turn()
    await meters.turn()
    assert redis.ask(f"ZCARD {script.holders(running)}") == f":{len(holds)}"


async def test_used_in_a_new_day_before_redis_has_begun_it(meters: Jumbled, redis: Redis) -> None:
    today = want(10, window="day")
    yesterday = script.bounds(today, meters._wall())[0]
    key = script.keys([today])[0]
    assert redis.ask(f"HSET {key} s {yesterday} u 3 h 0") == ":3"
    meters.is_away = True
    for hold in await granted(meters, today, 6):
        meters.settle(hold, [1])
    await quiet(meters)
    meters.is_away = False
    await meters.turn()
    assert len(await granted(meters, today, 10)) == 4


# --- limits that change, a memory that is lost, a clock that goes back


async def test_a_limit_that_was_lowered(meters: Jumbled) -> None:
    holds = await granted(meters, want(100, 5), 10)
    assert await granted(meters, want(10), 1) == []
    meters.settle(holds[0], [5])
    await quiet(meters)
    meters.is_cut = True
    assert await granted(meters, want(10), 3) == []


async def test_a_limit_that_was_raised(meters: Jumbled) -> None:
    [hold, *_] = await granted(meters, want(10), 10)
    gate = meters.gate = asyncio.Event()
    waiting = asyncio.create_task(meters.take([want(100)], LEASE_S))
    await until(lambda: meters.gate is None)
    meters.settle(hold, [1])
    await quiet(meters)
    gate.set()
    assert (await waiting).hold is not None


async def test_what_was_told_to_a_redis_without_memory_ends_there_too(
    meters: Jumbled, redis: Redis
) -> None:
    assert redis.ask("FLUSHALL") == "+OK"
    for _ in range(2 * CAP):
        [hold] = await granted(meters, want(window="now"), 1)
        await quiet(meters)
        meters.settle(hold, [0])
        await quiet(meters)


async def test_a_clock_that_was_set_back_is_believed(meters: Jumbled) -> None:
    holds = await granted(meters, want(100), 90)
    meters._shares._heard[want().counter].at += 3_600_000_000
    for hold in holds:
        meters.settle(hold, [1])
    await quiet(meters)
    for _ in range(3):
        for hold in await granted(meters, want(100), 10):
            meters.release(hold)
        await quiet(meters)
    meters.is_cut = True
    assert len(await granted(meters, want(100), 20)) == 10


async def test_a_refusal_says_when_the_window_ends(meters: Jumbled) -> None:
    """Also while something is kept free of which Redis does not know."""
    today = want(10, window="day")
    meters.is_away = True
    assert len(await granted(meters, today, 10)) == 10
    meters.is_away = False
    assert 0 < (await meters.take([today], LEASE_S)).wait_s <= 25 * 3600
