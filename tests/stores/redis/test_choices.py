"""Who may answer is chosen in Redis as it is in memory, at once with what they need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.services.redis import Redis
from tests.stores.redis.conftest import PATIENT_S, until
from tests.stores.redis.test_meters import KNOWN, LEASE_S, left, stands, taken
from typing_extensions import override

from xrouter.domain.choices import Choices
from xrouter.domain.limits import Window
from xrouter.domain.ports import Hold, Spent, Want
from xrouter.domain.secret import Secret
from xrouter.stores.memory.meters import MemoryMeters
from xrouter.stores.memory.share import ShareMeters
from xrouter.stores.redis.link import Link, RedisAway
from xrouter.stores.redis.meters import RedisMeters

WINDOWS: tuple[Window, ...] = ("total", "minute", "now", "total", "minute")
LIMITS = (6, 2, 2, 3, 2)
"""Of rates so little that nothing becomes free by itself within a test."""
EITHER = Choices(((0,), (1,)), 2)

_examples = count()


def want(name: str, limit: int, amount: int, window: Window = "total") -> Want:
    return Want(f"model:{name}|*|requests|{window}", "requests", window, limit, amount, "UTC", name)


class Late(RedisMeters):
    """Redis does it, and nobody waits for its answer."""

    @override
    async def _run(self, keys: list[str], told: Sequence[str | int], *, patient: bool) -> Any:
        found = await super()._run(keys, told, patient=patient)
        if not patient:
            raise RedisAway
        return found


@asynccontextmanager
async def opened(url: str, kind: type[RedisMeters]) -> AsyncIterator[RedisMeters]:
    link = Link(Secret(url), PATIENT_S)
    meters = kind(link)
    yield meters
    await link.close()
    await meters.close()


@pytest.fixture
async def late(redis: Redis, redis_url: str) -> AsyncIterator[RedisMeters]:
    assert redis.ask(KNOWN) == "+OK"
    async with opened(redis_url, Late) as meters:
        yield meters


@pytest.fixture
async def prompt(redis: Redis, redis_url: str) -> AsyncIterator[RedisMeters]:
    assert redis.ask(KNOWN) == "+OK"
    async with opened(redis_url, RedisMeters) as meters:
        yield meters


async def quiet(meters: RedisMeters) -> None:
    """Nothing is on its way any more."""
    await until(lambda: not meters._link._later)


steps = st.lists(
    st.tuples(
        st.lists(st.lists(st.integers(0, 4), unique=True, max_size=3), min_size=1, max_size=4),
        st.integers(0, 2),
        st.lists(st.integers(0, 3), min_size=5, max_size=5),
        st.integers(0, 3),
    ),
    max_size=12,
)


@settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(steps=steps)
def test_as_in_memory(
    redis: Redis, steps: list[tuple[list[list[int]], int, list[int], int]]
) -> None:
    """Whatever ways there are, and whoever is settled meanwhile."""
    asyncio.run(_same(redis, steps))


async def _same(redis: Redis, steps: list[tuple[list[list[int]], int, list[int], int]]) -> None:
    assert redis.ask(KNOWN) == "+OK"
    memory = MemoryMeters()
    open_: list[tuple[Hold, Hold]] = []
    example = next(_examples)
    async with opened(redis.url, RedisMeters) as shared:
        for ways, chains, amounts, settled in steps:
            each = zip(WINDOWS, LIMITS, amounts, strict=True)
            wants = [want(f"{example}-{n}", c, a, w) for n, (w, c, a) in enumerate(each)]
            choices = Choices(tuple(map(tuple, ways)), max(1, len(ways) - chains))
            here = await memory.take(wants, LEASE_S, choices)
            there = await shared.take(wants, LEASE_S, choices)
            assert (here.refused, here.opened if here.hold else ()) == (
                there.refused,
                there.opened if there.hold else (),
            )
            assert [each.remaining for each in here.levels] == [
                each.remaining for each in there.levels
            ]
            assert here.wait_s == pytest.approx(there.wait_s, abs=15)
            if here.hold is not None and there.hold is not None:
                assert list(here.hold.wants) == list(there.hold.wants)
                open_.append((here.hold, there.hold))
            if settled and open_:
                ours, theirs = open_.pop()
                used = [min(settled, w.amount) for w in ours.wants]
                memory.settle(ours, used)
                shared.settle(theirs, used)
                await quiet(shared)
        for ours, theirs in open_:
            memory.release(ours)
            shared.release(theirs)


async def test_what_was_granted_too_late_and_otherwise_is_given_back(
    late: RedisMeters, prompt: RedisMeters
) -> None:
    """Alone it is the other one: nothing is left of what Redis took for the first."""
    first, second = want("first", 9, 1), want("second", 9, 1)
    late._shares.remember(first.counter, 9, "0")
    verdict = await late.take([first, second], LEASE_S, EITHER)
    assert verdict.opened == (1,)
    assert list(taken(verdict).wants) == [second]
    await quiet(late)
    assert await left(prompt, first) == 9
    assert await left(prompt, second) == 8
    late.settle(taken(verdict), [1])
    await stands(prompt, second, 8)


async def test_alone_as_well_somebody_must_be_left(late: RedisMeters) -> None:
    rate, budget = want("first", 9, 1, "minute"), want("second", 9, 1)
    late.seed([Spent(budget.counter, "total", "UTC", 9, time.time())])
    await quiet(late)
    granted = [await late.take([rate, budget], LEASE_S, EITHER) for _ in range(9)]
    assert [verdict.opened for verdict in granted] == [(0,)] * 9
    verdict = await late.take([rate, budget], LEASE_S, EITHER)
    assert (verdict.hold, verdict.refused) == (None, 0)
    assert 0 < verdict.wait_s < 60
    assert [each.remaining for each in verdict.levels] == [0, 0]


async def test_a_share_of_each() -> None:
    meters = ShareMeters(MemoryMeters(), 3)
    wants = [want("first", 3, 1), want("second", 6, 1)]
    verdicts = [await meters.take(wants, LEASE_S, EITHER) for _ in range(3)]
    assert [verdict.opened for verdict in verdicts] == [(0, 1), (1,), ()]
    assert [verdict.hold is None for verdict in verdicts] == [False, False, True]


async def test_seeds_close_a_way(prompt: RedisMeters) -> None:
    first, second = want("first", 9, 1), want("second", 9, 1)
    prompt.seed([Spent(first.counter, "total", "UTC", 9, time.time())])
    await quiet(prompt)
    verdict = await prompt.take([first, second], LEASE_S, EITHER)
    assert verdict.opened == (1,)
    prompt.release(taken(verdict))
    await stands(prompt, second, 9)


async def test_many_at_once_pass_neither_limit(redis: Redis, redis_url: str) -> None:
    """Three processes; whoever may be asked answers, now the first of them and now the last."""
    assert redis.ask(KNOWN) == "+OK"
    first, second = want("first", 7 * 30, 7), want("second", 7 * 20, 7)
    used = {first: 0, second: 0}

    async def ask(meters: RedisMeters, number: int) -> bool:
        verdict = await meters.take([first, second], LEASE_S, EITHER)
        if verdict.hold is None:
            return False
        await asyncio.sleep(0.001 * (number % 7))
        answers = verdict.hold.wants[-(number % 2)]
        used[answers] += 7
        meters.settle(verdict.hold, [7 if each is answers else 0 for each in verdict.hold.wants])
        return True

    async with AsyncExitStack() as stack:
        fleet = [await stack.enter_async_context(opened(redis_url, RedisMeters)) for _ in range(3)]
        granted = await asyncio.gather(*(ask(fleet[n % 3], n) for n in range(200)))
        assert sum(granted) * 7 == sum(used.values())
        assert used[first] <= first.limit
        assert used[second] <= second.limit
        for each, amount in used.items():
            await stands(fleet[0], each, each.limit - amount)
        more = 0
        for n in range(60):
            more += await ask(fleet[n % 3], n)
            await quiet(fleet[n % 3])
        assert more == 50 - sum(granted), "what was given back is free"
        assert used == {first: first.limit, second: second.limit}
