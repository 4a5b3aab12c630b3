from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest
from tests.services.redis import Redis

from xrouter.stores.redis import answers as module
from xrouter.stores.redis.answers import LARGEST, RedisAnswers
from xrouter.stores.redis.link import Link
from xrouter.stores.vault import Vault
from xrouter.telemetry.logs import log

VAULT = Vault(b"k" * 32)
KEY = b"\x00key\xff"


@pytest.fixture
def answers(link: Link) -> RedisAnswers:
    return RedisAnswers(link, VAULT)


async def written(answers: RedisAnswers) -> None:
    while answers._link._later:
        await asyncio.wait(answers._link._later)


async def test_what_one_process_keeps_another_finds(
    answers: RedisAnswers, link_to: Callable[..., Link], redis_url: str
) -> None:
    other = RedisAnswers(link_to(redis_url), VAULT)
    assert await other.get(KEY) is None
    await answers.put(KEY, b"an answer", 60.0)
    await written(answers)
    assert await other.get(KEY) == b"an answer"
    assert await other.get(b"another key") is None


async def test_the_writer_knows_it_at_once(answers: RedisAnswers) -> None:
    await answers.put(KEY, b"first", 60.0)
    assert await answers.get(KEY) == b"first"
    await answers.put(KEY, b"second", 60.0)
    assert await answers.get(KEY) == b"second"
    await written(answers)
    assert await answers.get(KEY) == b"second"
    assert not answers._writing
    assert answers._under_way == 0


async def test_it_lies_sealed_under_our_prefix_and_ends(
    answers: RedisAnswers, link: Link, redis: Redis
) -> None:
    await answers.put(KEY, b"the plain text", 60.0)
    await written(answers)
    assert redis.ask("DBSIZE") == ":1"
    sealed = await link.call(lambda redis: redis.get(b"xr:answer:" + KEY))
    assert b"plain" not in sealed
    left = await link.call(lambda redis: redis.pttl(b"xr:answer:" + KEY))
    assert 0 < left <= 60_000


async def test_an_answer_that_ended_is_gone(answers: RedisAnswers, link: Link) -> None:
    await answers.put(KEY, b"an answer", 60.0)
    await written(answers)
    await link.call(lambda redis: redis.pexpire(b"xr:answer:" + KEY, 0))
    assert await answers.get(KEY) is None


@pytest.mark.parametrize("value, ttl", [(b"x" * (LARGEST + 1), 60.0), (b"x", 0.0), (b"x", 0.0001)])
async def test_what_cannot_be_kept_replaces_what_was(
    answers: RedisAnswers, redis: Redis, value: bytes, ttl: float
) -> None:
    await answers.put(KEY, b"old", 60.0)
    await written(answers)
    await answers.put(KEY, value, ttl)
    await written(answers)
    assert await answers.get(KEY) is None
    assert redis.ask("DBSIZE") == ":0"


async def test_the_largest_is_kept(answers: RedisAnswers) -> None:
    await answers.put(KEY, b"x" * LARGEST, 60.0)
    await written(answers)
    assert await answers.get(KEY) == b"x" * LARGEST


async def test_what_is_being_written_is_bounded(
    answers: RedisAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNDER_WAY", 10)
    await answers.put(b"a", b"123456", 60.0)
    await answers.put(b"b", b"123456", 60.0)
    await written(answers)
    assert await answers.get(b"a") == b"123456"
    assert await answers.get(b"b") is None


async def test_away_is_a_miss_and_writing_does_not_wait(
    link_to: Callable[..., Link], redis: Redis, redis_url: str
) -> None:
    answers = RedisAnswers(link_to(redis_url), VAULT)
    redis.service.stop(signal.SIGKILL)
    try:
        await answers.put(KEY, b"an answer", 60.0)
        await written(answers)
        assert await answers.get(KEY) is None
        assert not answers._writing
        assert answers._under_way == 0
    finally:
        redis.start()


@pytest.mark.parametrize("change", ["another master key", "damaged", "moved"])
async def test_what_is_not_ours_is_a_miss(answers: RedisAnswers, link: Link, change: str) -> None:
    await answers.put(KEY, b"an answer", 60.0)
    await written(answers)
    if change == "another master key":
        answers = RedisAnswers(link, Vault(b"o" * 32))
    elif change == "damaged":
        await link.call(lambda redis: redis.append(b"xr:answer:" + KEY, "x"))
    else:
        await link.call(lambda redis: redis.rename(b"xr:answer:" + KEY, b"xr:answer:other"))
    with log.captured() as events:
        assert await answers.get(b"other" if change == "moved" else KEY) is None
    assert [event["event"] for event in events] == ["kept_answer_unreadable"]
