from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests.services.process import free_port
from tests.services.redis import Redis
from tests.stores.redis.conftest import PATIENT_S

from xrouter.domain.errors import OperatorError
from xrouter.domain.secret import Secret
from xrouter.stores.redis import link as module
from xrouter.stores.redis.link import DOUBT_S, OPEN_S, Link, RedisAway
from xrouter.telemetry.logs import log

QUICK_S = 0.05


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Asked:
    """Counts what reaches the client."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, redis: Any) -> Any:
        self.times += 1
        return redis.ping()


@contextmanager
def frozen(redis: Redis) -> Iterator[None]:
    process = redis.service._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
        assert redis.ask("PING") == "+PONG"


def answer(link: Link) -> Any:
    return link.call(lambda redis: redis.ping())


async def again(link: Link, clock: Clock) -> Any:
    """The answer, once there is time enough to connect: a client in a hurry has little."""
    for _ in range(50):
        clock.now += OPEN_S
        with suppress(RedisAway):
            return await link.call(lambda redis: redis.ping(), within=PATIENT_S)
    raise AssertionError("it does not come back")


async def test_a_call_is_answered(link: Link) -> None:
    assert await answer(link)
    assert link.up


async def test_nothing_is_opened_before_the_first_call(link_to: Callable[..., Link]) -> None:
    assert link_to(f"redis://127.0.0.1:{free_port()}").up


async def test_a_frozen_redis_costs_a_deadline_and_then_nothing(
    link_to: Callable[..., Link], redis: Redis, redis_url: str
) -> None:
    clock, asked = Clock(), Asked()
    link = link_to(redis_url, QUICK_S, clock=clock)
    with log.captured() as events:
        with frozen(redis):
            for _ in range(3):
                with pytest.raises(RedisAway):
                    await link.call(asked)
                before = asked.times
                with pytest.raises(RedisAway):  # in doubt: nobody asks a second time at once
                    await link.call(asked)
                assert asked.times == before
                assert link.up is (asked.times < 3)
                clock.now += DOUBT_S
            with pytest.raises(RedisAway):
                await link.call(asked)
            assert asked.times == 3
            clock.now += OPEN_S
            with pytest.raises(RedisAway):
                await link.call(asked)
            assert asked.times == 4
        assert await again(link, clock)
    assert link.up
    assert [event["event"] for event in events] == ["redis_away", "redis_back"]


async def test_one_tries_alone(link_to: Callable[..., Link], redis: Redis, redis_url: str) -> None:
    clock, asked = Clock(), Asked()
    link = link_to(redis_url, QUICK_S, clock=clock)
    with frozen(redis):
        with pytest.raises(RedisAway):
            await link.call(asked)
        clock.now += OPEN_S
        asked.times = 0
        ends = await asyncio.gather(*(link.call(asked) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(end, RedisAway) for end in ends)
    assert asked.times == 1


async def test_a_trial_that_is_cancelled_lets_others_try(
    link_to: Callable[..., Link], redis: Redis, redis_url: str
) -> None:
    clock, asked = Clock(), Asked()
    link = link_to(redis_url, QUICK_S, clock=clock)
    with frozen(redis):
        with pytest.raises(RedisAway):
            await link.call(asked)
        clock.now += OPEN_S
        trial = asyncio.create_task(link.call(asked, within=60.0))
        while asked.times < 2:
            await asyncio.sleep(0)
        trial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trial
        assert not link._trying
    assert await again(link, clock)


async def test_a_crowd_at_a_frozen_redis_waits_for_one_deadline(
    link_to: Callable[..., Link], redis: Redis, redis_url: str
) -> None:
    asked = Asked()
    link = link_to(redis_url, QUICK_S, clock=Clock())
    with frozen(redis):
        ends = await asyncio.gather(*(link.call(asked) for _ in range(500)), return_exceptions=True)
    assert all(isinstance(end, RedisAway) for end in ends)
    assert asked.times <= module.CONNECTIONS


async def test_a_killed_redis_is_away_and_comes_back(
    link_to: Callable[..., Link], redis: Redis, redis_url: str
) -> None:
    clock = Clock()
    link = link_to(redis_url, clock=clock)
    await asyncio.gather(*(answer(link) for _ in range(10)))
    redis.service.stop(signal.SIGKILL)
    try:
        for _ in range(3):
            with pytest.raises(RedisAway):
                await answer(link)
            clock.now += OPEN_S
        assert not link.up
    finally:
        redis.start()
    assert await answer(link)
    assert link.up


async def test_a_caller_that_leaves_mixes_up_no_answers(link: Link) -> None:
    await link.call(lambda redis: redis.mset({"a": "1", "b": "2"}))
    for _ in range(50):
        asking = asyncio.create_task(link.call(lambda redis: redis.get("a")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await link.call(lambda redis: redis.get("b")) == b"2"


async def test_a_caller_that_leaves_at_any_moment_has_left(link: Link) -> None:
    """Also in the one in which what it says has just been said."""

    async def ask_on() -> None:
        while True:
            await answer(link)

    for turns in range(60):
        asking = asyncio.create_task(ask_on())
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking], timeout=PATIENT_S)
        assert asking.cancelled()


async def test_an_error_of_redis_is_redis_away_too(link: Link) -> None:
    with pytest.raises(RedisAway):
        await link.call(lambda redis: redis.execute_command("NO SUCH COMMAND"))


async def test_work_in_the_background_is_finished_at_the_end(
    link_to: Callable[..., Link],
    redis: Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENT_S", PATIENT_S)
    link = link_to(redis_url)

    async def write() -> None:
        await link.call(lambda redis: redis.set("a", "1"))

    link.later(write())
    await link.close()
    assert redis.ask("EXISTS a") == ":1"


@pytest.mark.parametrize("url", ["redis://h:none/0", "redis://u:hush@h/0?db=x", "redis://[/"])
def test_a_url_that_makes_no_sense(url: str) -> None:
    with pytest.raises(OperatorError) as caught:
        Link(Secret(url))
    assert "XROUTER_REDIS_URL" in caught.value.message
    assert "hush" not in f"{caught.value.message}{caught.value.hint}"
    assert caught.value.__suppress_context__


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(module, "import_module", absent)
    with pytest.raises(OperatorError) as caught:
        Link(Secret("redis://127.0.0.1"))
    assert caught.value.hint == 'pip install "xrouter[redis]"'


async def test_a_password_is_in_no_log_line(redis: Redis, link_to: Callable[..., Link]) -> None:
    clock = Clock()
    link = link_to(redis.url.replace("redis://", "redis://user:hush@"), clock=clock)
    with log.captured() as events:
        for _ in range(3):
            with pytest.raises(RedisAway):
                await answer(link)
            clock.now += OPEN_S
    assert [event["event"] for event in events] == ["redis_away"]
    assert "WRONGPASS" in str(events) or "invalid username-password" in str(events)
    assert "hush" not in str(events)
