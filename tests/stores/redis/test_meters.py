"""Limits that processes share: exact while Redis answers, bounded while it does not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from tests.services.redis import Redis
from tests.stores.redis.conftest import PATIENT_S, until

from xrouter.domain.limits import Meter, Window
from xrouter.domain.ports import Hold, Meters, Spent, Verdict, Want
from xrouter.domain.secret import Secret
from xrouter.domain.windows import FOREVER
from xrouter.stores.redis.holds import SharedHold
from xrouter.stores.redis.link import DEADLINE_S, Link
from xrouter.stores.redis.meters import RedisMeters

LEASE_S = 60.0
CAP = 100
MetersAt = Callable[..., RedisMeters]


def want(
    limit: int = 10,
    amount: int = 1,
    window: Window = "total",
    meter: Meter = "money",
    name: str = "k",
) -> Want:
    return Want(f"key:{name}|*|{meter}|{window}", meter, window, limit, amount, "Europe/Moscow")


def taken(verdict: Verdict) -> Hold:
    assert verdict.hold is not None, verdict
    return verdict.hold


async def left(meters: Meters, of: Want) -> int:
    return (await meters.look([of]))[0].remaining


async def stands(meters: Meters, of: Want, remaining: int) -> None:
    """Settling is in the background: wait for it."""
    async with asyncio.timeout(20):
        while await left(meters, of) != remaining:
            await asyncio.sleep(0.005)


KNOWN = "SET xr:{limits}:known 1"
"""Said to a Redis that is to be believed though nobody has told it what was spent."""


@pytest.fixture
async def meters_at(redis: Redis, redis_url: str) -> AsyncIterator[MetersAt]:
    assert redis_url
    assert redis.ask(KNOWN) == "+OK"
    made: list[tuple[Link, RedisMeters]] = []

    def make(url: str, deadline_s: float = PATIENT_S) -> RedisMeters:
        link = Link(Secret(url), deadline_s)
        made.append((link, RedisMeters(link)))
        return made[-1][1]

    yield make
    for link, meters in made:
        await link.close()
        await meters.close()


@pytest.fixture
def meters(meters_at: MetersAt, redis_url: str) -> RedisMeters:
    return meters_at(redis_url)


def is_up(meters: RedisMeters) -> bool:
    return meters._link.up


# --- as in memory


async def test_a_rate(meters: RedisMeters) -> None:
    rate = want(3, 1, "minute", "requests")
    verdicts = [await meters.take([rate], LEASE_S) for _ in range(4)]
    assert [v.levels[0].remaining for v in verdicts] == [2, 1, 0, 0]
    assert [v.hold is None for v in verdicts] == [False, False, False, True]
    assert 15 < verdicts[3].wait_s <= 20
    assert 50 < verdicts[3].levels[0].reset_s <= 60


async def test_tokens_not_used_are_given_back(meters: RedisMeters) -> None:
    tokens = want(1000, 900, "minute", "tokens")
    hold = taken(await meters.take([tokens], LEASE_S))
    assert (await meters.take([tokens], LEASE_S)).hold is None
    meters.settle(hold, [100])
    await until(lambda: not meters._link._later)
    assert await left(meters, tokens) >= 900
    assert (await meters.take([want(5, 6, "minute", "tokens")], LEASE_S)).wait_s == FOREVER


@pytest.mark.parametrize("window", ["day", "month", "total"])
async def test_a_count(meters: RedisMeters, window: Window) -> None:
    day = want(10, 4, window)
    first, second = [taken(await meters.take([day], LEASE_S)) for _ in range(2)]
    refused = await meters.take([day], LEASE_S)
    assert (refused.hold, refused.refused, refused.levels[0].remaining) == (None, 0, 2)
    assert (refused.wait_s == FOREVER) == (window == "total")
    assert refused.wait_s == refused.levels[0].reset_s
    meters.settle(first, [1])
    meters.settle(first, [1])
    meters.release(second)
    await stands(meters, day, 9)


async def test_a_refusal_takes_nothing(meters: RedisMeters) -> None:
    many, one = want(10, 1, name="a"), want(1, 1, name="b")
    taken(await meters.take([many, one], LEASE_S))
    refused = await meters.take([many, one], LEASE_S)
    assert (refused.refused, refused.wait_s) == (1, FOREVER)
    assert await left(meters, many) == 9


@pytest.mark.parametrize("meter", ["running", "streams"])
async def test_calls_at_a_time(meters: RedisMeters, meter: Meter) -> None:
    place = want(1, 1, "now", meter)
    hold = taken(await meters.take([place], LEASE_S))
    assert (await meters.take([place], LEASE_S)).wait_s == 1.0
    meters.settle(hold, [0])
    await stands(meters, place, 1)


async def test_what_nobody_settles_is_free_after_its_lease(meters: RedisMeters) -> None:
    budget = want(10, 10)
    hold = taken(await meters.take([budget], 0.05))
    await stands(meters, budget, 10)
    meters.settle(hold, [4])  # late, but spent it is
    await stands(meters, budget, 6)
    taken(await meters.take([want(10, 0)], 0.0))
    assert await left(meters, budget) == 6


async def test_money_is_exact_beyond_a_double(meters: RedisMeters) -> None:
    budget = want(2**62, 2**61 + 1)
    hold = taken(await meters.take([budget], LEASE_S))
    meters.settle(hold, [2**60 + 1])
    await until(lambda: not meters._link._later)
    used = await meters._link.call(lambda r: r.hget(f"xr:{{limits}}:c:{budget.counter}", "u"))
    assert int(used) == 2**60 + 1


async def test_a_seed_is_what_was_used_at_least(meters: RedisMeters) -> None:
    day, total, week = want(10, 1, "day"), want(10, 1), want(10, 9, name="more")
    meters.settle(taken(await meters.take([week], LEASE_S)), [8])
    await stands(meters, week, 2)
    taken(await meters.take([total], LEASE_S))  # held, and not among what was spent
    now = time.time()
    meters.seed(
        [
            Spent(day.counter, "day", "Europe/Moscow", 4, now),
            Spent(total.counter, "total", "Europe/Moscow", 5, now),
            Spent(week.counter, "total", "Europe/Moscow", 5, now),
            Spent("key:old|*|money|day", "day", "Europe/Moscow", 5, now - 3 * 86400),
        ]
    )
    await stands(meters, day, 6)
    await stands(meters, total, 4)
    assert await left(meters, week) == 2
    assert await left(meters, want(10, 1, "day", name="old")) == 10
    meters.seed([Spent(day.counter, "day", "Europe/Moscow", 4, now)])
    await until(lambda: not meters._link._later)
    assert await left(meters, day) == 6


# --- E01, E02: many processes


async def storm(fleet: list[RedisMeters], requests: int, seconds: float = 0.0) -> int:
    """So many requests at once, each for 7 of a budget for a hundred; how many were granted."""
    budget = want(CAP * 7, 7)

    async def ask(number: int) -> int:
        await asyncio.sleep(seconds * number / requests)
        meters = fleet[number % len(fleet)]
        verdict = await meters.take([budget], LEASE_S)
        if verdict.hold is None:
            return 0
        await asyncio.sleep(0.01)
        meters.settle(verdict.hold, [7])
        return 1

    return sum(await asyncio.gather(*(ask(number) for number in range(requests))))


@pytest.fixture
async def fleet(meters_at: MetersAt, redis_url: str) -> list[RedisMeters]:
    made = [meters_at(redis_url) for _ in range(3)]
    for _ in range(2):
        for each in made:
            await each.turn()
    return made


async def test_five_hundred_at_once_on_a_budget_for_a_hundred(fleet: list[RedisMeters]) -> None:
    assert [each._shares.mates for each in fleet] == [3, 3, 3]
    assert await storm(fleet, 500) == CAP
    await stands(fleet[0], want(CAP * 7, 7), 0)


async def test_the_same_with_a_redis_that_is_slow(meters_at: MetersAt, redis_url: str) -> None:
    """Nobody waits for it, and shares are told to it in the background."""
    async with slowed(redis_url, 0.2) as url:
        fleet = [meters_at(url, DEADLINE_S) for _ in range(3)]
        for _ in range(2):
            for each in fleet:
                await each.turn()
        assert [each._shares.mates for each in fleet] == [3, 3, 3]
        granted = await storm(fleet, 500, seconds=1.0)
        assert CAP - 3 <= granted <= CAP
        await until(lambda: not any(each._telling for each in fleet))
        for each in fleet:
            await each.turn()
        spent = meters_at(redis_url)
        await stands(spent, want(CAP * 7, 7), (CAP - granted) * 7)


async def test_the_same_with_a_redis_that_dies(fleet: list[RedisMeters], redis: Redis) -> None:
    """Each goes on with its share of what it had heard was left."""
    first = await storm(fleet, 60)
    assert first == 60
    redis.stop()
    try:
        second = await storm(fleet, 440, seconds=0.5)
    finally:
        redis.start()
    assert 36 <= second <= 40 + 3
    await until(lambda: not any(each._telling for each in fleet))


async def test_killed_in_the_middle(fleet: list[RedisMeters], redis: Redis) -> None:
    """The bound: what was free when each heard last, shared among them."""

    async def kill() -> None:
        await asyncio.sleep(0.05)
        await asyncio.to_thread(redis.stop)

    try:
        granted, _ = await asyncio.gather(storm(fleet, 500, seconds=0.3), kill())
    finally:
        redis.start()
    assert CAP * 0.5 <= granted <= 2 * CAP


async def test_what_was_spent_without_redis_is_told_when_it_is_back(
    fleet: list[RedisMeters], redis: Redis
) -> None:
    meters, budget = fleet[0], want(30, 4)
    redis.stop()
    holds = [taken(await meters.take([budget], LEASE_S)) for _ in range(2)]
    assert (await meters.take([budget], LEASE_S)).hold is None
    while is_up(meters):
        await meters.take([want(9, 1, name="x")], LEASE_S)
        await asyncio.sleep(0.05)
    for hold in holds:
        meters.settle(hold, [3])
    redis.start()
    redis.ask(KNOWN)
    async with asyncio.timeout(30):
        while meters._owed or meters._telling:
            await meters.turn()
            await asyncio.sleep(0.05)
    await stands(meters, budget, 24)


async def test_whoever_leaves_while_asking_holds_nothing(
    meters_at: MetersAt, redis_url: str
) -> None:
    may_answer = asyncio.Event()
    may_answer.set()
    others = meters_at(redis_url)
    async with slowed(redis_url, 0.0, may_answer) as url:
        meters = meters_at(url)
        taken(await meters.take([want(name="first")], LEASE_S))
        may_answer.clear()
        task = asyncio.create_task(meters.take([want(10, 10)], LEASE_S))
        await stands(others, want(10, 1), 0)  # it is taken, and the answer is on its way
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_answer.set()
        await stands(others, want(10, 1), 10)


@asynccontextmanager
async def slowed(
    url: str, seconds: float, may_answer: asyncio.Event | None = None
) -> AsyncIterator[str]:
    """A way to Redis on which everything takes longer, and answers come when they may."""
    parts = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()
    at_once = asyncio.Event()
    at_once.set()

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may: asyncio.Event
    ) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    await asyncio.sleep(seconds / 2)
                    await may.wait()
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(parts.hostname, parts.port)
        for source, sink, may in ((reader, forth, at_once), (back, writer, may_answer or at_once)):
            task = asyncio.create_task(pump(source, sink, may))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- long requests, and a Redis that forgets


async def test_who_holds_for_long_goes_on_holding(meters_at: MetersAt, redis_url: str) -> None:
    """A stream that is longer than the lease keeps its place; that of a dead process is free."""
    now = [0.0]
    link = Link(Secret(redis_url), PATIENT_S)
    living, dead = RedisMeters(link, clock=lambda: now[0]), meters_at(redis_url)
    place = want(2, 1, "now", "running")
    key = f"xr:{{limits}}:h:{place.counter}"

    async def until_when(hold: Hold) -> float | None:
        assert isinstance(hold, SharedHold)
        ((_, member),) = hold.members()
        found: float | None = await link.call(lambda redis: redis.zscore(key, member))
        return found

    try:
        hold = taken(await living.take([place], LEASE_S))
        lost = taken(await dead.take([place], LEASE_S))
        first = await until_when(hold)
        await living.turn()
        assert await until_when(hold) == first, "it is not due yet"
        now[0] += LEASE_S / 4
        await living.turn()
        assert (await until_when(hold) or 0) > (first or 0)
        assert isinstance(lost, SharedHold)
        ((_, member),) = lost.members()
        await link.call(lambda redis: redis.zadd(key, {member: 1}))  # its lease is over
        last = taken(await living.take([place], LEASE_S))
        assert (await living.take([place], LEASE_S)).hold is None
        living.settle(hold, [0])
        living.settle(last, [0])
        await stands(living, place, 2)
        now[0] += LEASE_S
        await living.turn()
        assert await until_when(hold) is None, "what has ended is not renewed"
    finally:
        await link.close()
        await living.close()


async def test_a_redis_that_has_forgotten_is_not_believed(
    fleet: list[RedisMeters], redis: Redis
) -> None:
    """Shares, until somebody tells what was spent; what is held is told at once."""
    budget, rest = want(90, 30), want(90, 1)
    first, second, third = fleet
    hold = taken(await first.take([budget], LEASE_S))
    first.settle(taken(await first.take([budget], LEASE_S)), [30])
    await stands(first, rest, 30)
    for each in fleet:
        await each.take([want(90, 91)], LEASE_S)
    assert redis.ask("FLUSHALL") == "+OK"

    for each in fleet:  # 30 are left, 10 for each
        assert (await each.take([want(90, 11)], LEASE_S)).hold is None
        assert each.lost
    alone = taken(await second.take([want(90, 10)], LEASE_S))
    await until(lambda: not any(each._link._later for each in fleet))
    third.seed([Spent(budget.counter, "total", "Europe/Moscow", 30, time.time())])
    await until(lambda: not third._link._later)
    for each in fleet:
        await each.turn()
        await until(lambda m=each: not m._link._later)  # type: ignore[misc]
        assert not each.lost
    assert await left(first, budget) == 90 - 30 - 30 - 10
    first.settle(hold, [0])
    second.settle(alone, [5])
    await stands(third, budget, 55)
