from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.services.redis import Redis
from tests.stores.redis.conftest import PATIENT_S, until
from tests.stores.redis.test_link import frozen

from xrouter.domain.deadline import Deadline
from xrouter.domain.secret import Secret
from xrouter.flow.lanes import JointLanes, Place
from xrouter.providers.base import Lane
from xrouter.stores.redis.hearing import Hearing
from xrouter.stores.redis.lanes import RedisLanes, _name
from xrouter.stores.redis.link import Link

KEY = ("account", 7)
ONE = Lane(KEY, 1)
SHORT_S = 0.2


class Process:
    """What one process has of its own: a link, its lanes, and who waits in it."""

    def __init__(self, link: Link, lease_s: float = 30.0, patience_s: float = 20.0) -> None:
        self.link = link
        self.hearing = Hearing(link)
        self.shared = RedisLanes(link, self.hearing, lease_s, patience_s)
        self.lanes = JointLanes(self.shared)

    def ask(self, lane: Lane = ONE) -> asyncio.Task[Place]:
        return asyncio.create_task(self.lanes.enter(lane))

    async def waits(self, count: int = 1) -> None:
        """Until so many of ours have a turn in Redis."""
        await until(lambda: len(self.shared._waiting.get(_name(KEY), ())) >= count)

    async def quiet(self) -> None:
        while self.link._later:
            await asyncio.wait(self.link._later)

    def forgive(self) -> None:
        """The time in which Redis is not asked is over."""
        self.link._alone_until = 0.0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.hearing.run())
        try:
            await until(lambda: self.hearing.live)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


Make = Callable[..., Process]


@pytest.fixture
def process(link_to: Callable[..., Link], redis_url: str) -> Make:
    def make(deadline_s: float = PATIENT_S, **more: float) -> Process:
        return Process(link_to(redis_url, deadline_s), **more)

    return make


def left(redis: Redis) -> str:
    return redis.ask(f"ZCARD {_name(KEY)}")


async def test_a_place_is_one_among_all_processes(process: Make, redis: Redis) -> None:
    here, there = process(), process()
    place = await here.lanes.enter(ONE)
    second = there.ask()
    await there.waits()
    assert not second.done()
    place.leave()
    place.leave()
    (await second).leave()
    await here.quiet()
    await there.quiet()
    assert redis.ask("DBSIZE") == ":0"


async def test_another_account_has_its_own_places(process: Make) -> None:
    here, there = process(), process()
    await here.lanes.enter(ONE)
    await there.lanes.enter(Lane(("account", 8), 1))


async def test_all_wait_in_one_line(process: Make) -> None:
    processes = [process() for _ in range(3)]
    order: list[int] = []

    async def call(number: int) -> None:
        place = await processes[number % 3].lanes.enter(ONE)
        order.append(number)
        place.leave()

    place = await processes[0].lanes.enter(ONE)
    calls = []
    for number in (1, 2):  # the third process has its place; each of the others has one turn
        calls.append(asyncio.create_task(call(number)))
        await processes[number].waits()
    calls.append(asyncio.create_task(call(0)))
    await asyncio.sleep(0)
    place.leave()
    await asyncio.gather(*calls)
    assert order == [1, 2, 0]


async def test_a_crowd_does_not_starve_a_single_caller(process: Make) -> None:
    crowd, single = process(), process()
    done: list[str] = []

    async def call(who: Process, name: str) -> None:
        place = await who.lanes.enter(ONE)
        done.append(name)
        place.leave()

    first = await crowd.lanes.enter(ONE)
    many = [asyncio.create_task(call(crowd, "crowd")) for _ in range(50)]
    one = asyncio.create_task(call(single, "single"))
    await single.waits()
    first.leave()
    await one
    assert done.count("crowd") <= 2  # of those who had a turn before it, at most a width
    await asyncio.gather(*many)


async def test_a_place_given_back_elsewhere_is_heard_of(
    process: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xrouter.stores.redis.lanes.FIRST_PAUSE_S", 3600.0)
    here, there = process(), process()
    async with there.listening():
        place = await here.lanes.enter(ONE)
        second = there.ask()
        await there.waits()
        place.leave()
        async with asyncio.timeout(20):
            await second


async def test_two_places_given_back_at_once_wake_two(
    process: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xrouter.stores.redis.lanes.FIRST_PAUSE_S", 3600.0)
    two = Lane(KEY, 2)
    here, there = process(), process()
    async with there.listening():
        places = [await here.lanes.enter(two), await here.lanes.enter(two)]
        waiting = [there.ask(two), there.ask(two)]
        await there.waits(2)
        for place in places:
            place.leave()
        async with asyncio.timeout(20):
            await asyncio.gather(*waiting)


async def test_a_caller_that_leaves_has_no_turn_and_no_place(process: Make, redis: Redis) -> None:
    here, there = process(), process()
    place = await here.lanes.enter(ONE)
    gone = there.ask()
    await there.waits()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await there.quiet()
    assert left(redis) == ":1"
    place.leave()
    await here.quiet()
    assert left(redis) == ":0"
    await there.lanes.enter(ONE)


async def test_a_request_waits_within_its_deadline(process: Make, redis: Redis) -> None:
    here, there = process(), process()
    await here.lanes.enter(ONE)
    with pytest.raises(TimeoutError), Deadline(0.05):
        await there.lanes.enter(ONE)
    await there.quiet()
    assert left(redis) == ":1"


async def test_places_of_a_process_that_crashed_free_themselves(process: Make) -> None:
    crashed, other = process(lease_s=SHORT_S), process()
    await crashed.lanes.enter(ONE)
    async with asyncio.timeout(20):
        await other.lanes.enter(ONE)


async def test_the_turn_of_a_process_that_crashed_ends(process: Make, redis: Redis) -> None:
    here, crashed, other = process(), process(patience_s=SHORT_S), process()
    place = await here.lanes.enter(ONE)
    assert not await crashed.shared._look(_name(KEY), 1, "gone")  # asked, and never again
    place.leave()
    async with asyncio.timeout(20):
        await other.lanes.enter(ONE)
    assert redis.ask(f"ZCARD {_name(KEY)}:turns") == ":0"


async def test_what_is_renewed_does_not_end(process: Make, redis: Redis) -> None:
    here = process()
    place = await here.lanes.enter(ONE)
    assert redis.ask(f"PEXPIRE {_name(KEY)} 1000") == ":1"
    await here.shared.turn()
    assert int(redis.ask(f"PTTL {_name(KEY)}").lstrip(":")) > 20_000
    assert left(redis) == ":1"
    place.leave()


async def test_a_redis_that_forgot_everything_is_told(process: Make, redis: Redis) -> None:
    here, there = process(), process()
    await here.lanes.enter(ONE)
    redis.ask("FLUSHALL")
    await here.shared.turn()
    second = there.ask()
    await there.waits()
    second.cancel()


async def test_one_that_was_given_back_while_it_was_renewed_is_given_back_again(
    process: Make, redis: Redis
) -> None:
    here = process()
    place = await here.lanes.enter(ONE)
    renewing = asyncio.create_task(here.shared.turn())
    await asyncio.sleep(0)
    place.leave()
    await renewing
    await here.quiet()
    await here.shared.turn()
    assert left(redis) == ":0"
    assert not here.shared._owed


async def test_without_redis_each_process_has_its_own_limit(process: Make, redis: Redis) -> None:
    here, there = process(), process()
    redis.service.stop(signal.SIGKILL)
    try:
        places = [await here.lanes.enter(ONE), await there.lanes.enter(ONE)]
        second = here.ask()
        await asyncio.sleep(0)
        assert not second.done()  # the limit of this process
        places[0].leave()
        (await second).leave()
        await here.quiet()
    finally:
        redis.start()
    there.forgive()
    here.forgive()
    await there.shared.turn()  # back: who has a place says so
    await here.shared.turn()
    assert left(redis) == ":1"


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_redis_that_freezes_lets_go_of_callers(
    process: Make, redis: Redis, waiting: bool
) -> None:
    here, there = process(), process()
    if waiting:
        await here.lanes.enter(ONE)
    second = there.ask()
    if waiting:
        await there.waits()
    there.link._deadline_s = 0.05
    with frozen(redis):
        async with asyncio.timeout(20):
            place = await second
        place.leave()
        await there.quiet()
        assert there.shared._owed
    there.forgive()
    here.forgive()
    await there.shared.turn()
    await here.shared.turn()
    assert left(redis) == (":1" if waiting else ":0")


async def test_what_is_owed_is_bounded(process: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrouter.stores.redis.lanes.MAX_OWED", 2)
    shared = process().shared
    for holder in "abc":
        shared._owe(holder, "lane")
    assert list(shared._owed) == ["b", "c"]


@given(
    width=st.integers(1, 3),
    calls=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["run", "cancel"]), st.integers(0, 5)),
        max_size=25,
    ),
)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_never_more_than_the_width_hold_at_once(
    redis: Redis, width: int, calls: list[tuple[int, str, int]]
) -> None:
    redis.ask("FLUSHALL")
    asyncio.run(_hold(redis, Lane(KEY, width), calls))
    assert redis.ask("DBSIZE") == ":0"


async def _hold(redis: Redis, lane: Lane, calls: list[tuple[int, str, int]]) -> None:
    processes = [Process(Link(Secret(redis.url), PATIENT_S)) for _ in range(3)]
    holding = 0

    async def call(number: int, steps: int) -> None:
        nonlocal holding
        place = await processes[number].lanes.enter(lane)
        holding += 1
        try:
            assert holding <= lane.width
            for _ in range(steps):
                await asyncio.sleep(0)
        finally:
            holding -= 1
            place.leave()

    tasks = []
    for number, end, steps in calls:
        tasks.append(asyncio.create_task(call(number, steps)))
        for _ in range(steps):
            await asyncio.sleep(0)
        if end == "cancel":
            tasks[-1].cancel()
    for done in await asyncio.gather(*tasks, return_exceptions=True):
        assert done is None or isinstance(done, asyncio.CancelledError)
    for each in processes:
        await each.quiet()
        await each.shared.turn()  # what was said twice, in case it was overtaken
        await each.link.close()
