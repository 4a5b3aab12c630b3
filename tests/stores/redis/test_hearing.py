from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from tests.services.redis import Redis
from tests.stores.redis.conftest import patience, until
from tests.stores.redis.test_link import frozen

from xrouter.stores.redis import hearing as module
from xrouter.stores.redis.hearing import Hearing, RedisSignal
from xrouter.stores.redis.link import Link
from xrouter.telemetry.logs import log


class Process:
    def __init__(self, link: Link, check_s: float = 20.0) -> None:
        self.hearing = Hearing(link, check_s)
        self.signal = RedisSignal(link, self.hearing)
        self.times = 0
        self.signal.listen(self._told)

    def _told(self) -> None:
        self.times += 1

    async def told(self, times: int) -> None:
        await until(lambda: self.times == times)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.hearing.run())
        try:
            await until(lambda: self.signal.live)
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert not self.signal.live


Make = Callable[..., Process]


@pytest.fixture
def process(link_to: Callable[..., Link], redis_url: str) -> Make:
    def make(**more: float) -> Process:
        return Process(link_to(redis_url), **more)

    return make


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.005)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.02)


async def test_a_change_is_heard_by_others_and_not_by_who_made_it(process: Make) -> None:
    here, there = process(), process()
    async with here.listening(), there.listening():
        assert (here.times, there.times) == (1, 1)  # it may have missed some before
        for number in range(2, 5):
            here.signal.tell()
            await there.told(number)
        there.signal.tell()
        await here.told(2)
    assert there.times == 4


async def test_a_restart_of_redis_is_survived(process: Make, redis: Redis) -> None:
    here = process()
    async with here.listening():
        with log.captured() as events:
            redis.service.stop(signal.SIGKILL)
            try:
                await until(lambda: not here.signal.live)
            finally:
                redis.start()
            await until(lambda: here.signal.live)
        assert here.times == 3  # when it went and when it came
        assert [event["event"] for event in events] == ["redis_not_heard"]


async def test_a_frozen_redis_is_found_out(
    process: Make, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience(monkeypatch, 0.5)
    here = process(check_s=0.02)
    async with here.listening():
        with frozen(redis):
            await until(lambda: not here.signal.live)
        await until(lambda: here.signal.live)


async def test_silence_is_no_failure(process: Make, link: Link) -> None:
    check_s = 0.2

    async def pings() -> int:
        stats = await link.call(lambda redis: redis.info("commandstats"))
        count: int = stats.get("cmdstat_ping", {}).get("calls", 0)
        return count

    while True:
        pause = 0.0
        await link.call(lambda redis: redis.config_resetstat())
        here = process(check_s=check_s)
        with log.captured() as events:
            async with here.listening(), asyncio.timeout(20):
                while await pings() < 3:
                    looked_at = time.monotonic()
                    await asyncio.sleep(0.01)
                    pause = max(pause, time.monotonic() - looked_at)
                is_live = here.signal.live
        if pause < check_s / 2:  # else we stood still ourselves, and heard nothing
            break
    assert is_live
    assert not events


async def test_without_redis_telling_costs_nothing(process: Make, redis: Redis) -> None:
    here = process()
    redis.service.stop(signal.SIGKILL)
    try:
        for _ in range(5):
            here.signal.tell()
    finally:
        redis.start()


async def test_a_redis_that_freezes_while_it_is_connected_anew_is_found_out(
    link_to: Callable[..., Link],
    redis_url: str,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a database to be chosen, connecting waits for an answer."""
    patience(monkeypatch, 0.5)
    here = Process(link_to(redis_url.rpartition("/")[0] + "/1"), check_s=0.05)
    async with here.listening():
        redis.ask("CLIENT KILL TYPE pubsub")
        with frozen(redis):  # before the loop has its turn
            await until(lambda: not here.signal.live)
        await until(lambda: here.signal.live)
