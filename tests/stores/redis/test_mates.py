"""Among how many processes a limit is shared out while Redis is away."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.services.redis import Redis
from tests.stores.redis.conftest import PATIENT_S, until
from tests.stores.redis.test_meters import KNOWN, LEASE_S, want

from xrouter.app.gateway import DataPlane, GatewayConfig
from xrouter.domain.ports import Spent, Want
from xrouter.domain.secret import Secret
from xrouter.stores.redis.link import Link
from xrouter.stores.redis.mates import FEWER_BEATS, MOST, Mates
from xrouter.stores.redis.meters import RedisMeters
from xrouter.stores.spent_file import SpentFile
from xrouter.stores.vault import Vault
from xrouter.telemetry.logs import LineWriter, log

CAP = 120
NOWHERE = "redis://127.0.0.1:1/0"
Make = Callable[..., RedisMeters]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """No time passes for them, in which a rate would allow more."""
    made: list[tuple[Link, RedisMeters]] = []
    now = time.time()

    def meters(url: str, mates: Mates | None = None, *, grants: bool = True) -> RedisMeters:
        link = Link(Secret(url), PATIENT_S)
        made.append((link, RedisMeters(link, lambda: now, mates=mates, grants=grants)))
        return made[-1][1]

    yield meters
    await asyncio.gather(*(link.close() for link, _ in made))
    for _, each in made:
        await each.close()


def rate() -> Want:
    return want(CAP, 1, "minute", "requests")


async def granted(meters: RedisMeters, of: Want) -> int:
    """All that it gives, at once."""
    count = 0
    while (await meters.take([of], LEASE_S)).hold is not None:
        count += 1
    return count


def test_it_rises_at_once_and_falls_slowly() -> None:
    mates = Mates()
    mates.hear(4)
    assert mates.count == 4
    for _ in range(FEWER_BEATS - 1):
        mates.beat(2)
    mates.beat(4)
    for _ in range(FEWER_BEATS - 1):
        mates.beat(2)
    mates.miss()  # Redis was away: it has to hear of all anew
    for count in (1, *[2] * (FEWER_BEATS - 2)):
        mates.beat(count)
    assert mates.count == 4
    mates.beat(1)
    assert mates.count == 2


def test_there_are_never_fewer_than_the_workers_of_this_server() -> None:
    mates = Mates(3)
    for _ in range(2 * FEWER_BEATS):
        mates.beat(1)
    assert mates.count == 3


def test_the_number_outlives_the_process(tmp_path: Path) -> None:
    file = tmp_path / "limits.processes"
    mates = Mates(2, file)
    mates.hear(6)
    news = [mates.is_news]
    mates.keep()
    assert [*news, mates.is_news] == [True, False]
    assert Mates(2, file).count == 6
    assert Mates(8, file).count == 8
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("text", ["", "many", "-5", "9" * 5000, "\x00\xff"])
def test_a_number_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "limits.processes"
    file.write_text(text)
    assert Mates(2, file).count == 2


def test_one_that_is_too_large_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "limits.processes"
    file.write_text(str(10 * MOST))
    assert Mates(2, file).count == MOST


def test_a_disk_that_refuses_costs_one_line(tmp_path: Path) -> None:
    mates = Mates(2, tmp_path / "absent" / "limits.processes")
    with log.captured() as events:
        mates.keep()
    assert [each["event"] for each in events] == ["processes_not_noted"]
    assert not mates.is_news


async def test_who_grants_nothing_is_none_of_them(make: Make, redis: Redis, redis_url: str) -> None:
    assert redis.ask(KNOWN) == "+OK"
    workers = [make(redis_url) for _ in range(2)]
    control = make(redis_url, grants=False)
    for _ in range(2):
        for each in (control, *workers):
            await each.turn()
    assert redis.ask("ZCARD xr:{limits}:processes") == ":2"
    redis.stop()
    try:
        assert [await granted(each, rate()) for each in workers] == [CAP // 2, CAP // 2]
    finally:
        redis.start()


async def test_who_starts_while_redis_is_away_knows_of_the_others(
    make: Make, tmp_path: Path
) -> None:
    file = tmp_path / "limits.processes"
    file.write_text("4")
    fleet = [make(NOWHERE, Mates(2, file)) for _ in range(4)]
    assert sum([await granted(each, rate()) for each in fleet]) == CAP
    assert sum([await granted(each, want(CAP, 1)) for each in fleet]) == CAP


async def test_without_a_file_the_workers_know_of_each_other(make: Make) -> None:
    fleet = [make(NOWHERE, Mates(3)) for _ in range(3)]
    assert sum([await granted(each, rate()) for each in fleet]) == CAP


async def test_who_starts_while_redis_is_away_goes_on_with_what_is_left(make: Make) -> None:
    """As the database says; how often it starts makes no difference to the bound."""
    budget, used = want(CAP, 1), 100
    fleet = [make(NOWHERE, Mates(2)) for _ in range(2)]
    total = used
    for _ in range(5):  # the first is killed and comes back, again and again
        fleet[0] = make(NOWHERE, Mates(2))
        spent = [Spent(budget.counter, "total", "Europe/Moscow", used, time.time())]
        for each in fleet:
            each.remember(spent)
        more = await granted(fleet[0], budget)
        used += more
        total += more
    total += await granted(fleet[1], budget)
    assert CAP <= total <= CAP + (CAP - 100) // 2 + 2


async def test_the_number_is_written_as_it_is_heard(
    make: Make, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    assert redis.ask(KNOWN) == "+OK"
    file = tmp_path / "limits.processes"
    first, second = make(redis_url, Mates(1, file)), make(redis_url)
    await first.turn()
    assert file.read_text() == "1\n"
    await second.turn()
    await first.turn()
    assert file.read_text() == "2\n"
    assert first.knows
    assert not make(NOWHERE).knows


async def test_after_an_absence_it_waits_for_the_others(
    make: Make, redis: Redis, redis_url: str
) -> None:
    """They are heard one by one, and Redis could go again before that."""
    assert redis.ask(KNOWN) == "+OK"
    mates = Mates()
    mates.hear(4)
    meters = make(redis_url, mates)

    async def beats(count: int) -> None:
        for _ in range(count):
            await meters.turn()

    await beats(FEWER_BEATS - 1)
    redis.stop()
    await beats(1)
    redis.start()
    await beats(FEWER_BEATS - 1)
    assert mates.count == 4
    await beats(1)
    assert mates.count == 1


# --- joined as a server joins it


@asynccontextmanager
async def plane(
    folder: Path, url: str, workers: int = 2, *, answers: bool = True
) -> AsyncIterator[DataPlane]:
    config = GatewayConfig(folder, redis_url=Secret(url), workers=workers, answers=answers)
    made = DataPlane(config, Vault(b"k" * 32), LineWriter(io.StringIO()))
    made.start()
    try:
        yield made
    finally:
        await made.stop()


def meters_of(made: DataPlane) -> RedisMeters:
    assert isinstance(made.limits, RedisMeters)
    return made.limits


async def test_the_control_process_has_no_share(
    tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    assert redis.ask(KNOWN) == "+OK"
    async with (
        plane(tmp_path, redis_url) as first,
        plane(tmp_path, redis_url) as second,
        plane(tmp_path, redis_url, 1, answers=False) as control,
    ):
        for each in (first, second, control):
            assert await each.are_limits_known()
        assert redis.ask("ZCARD xr:{limits}:processes") == ":2"
        assert (tmp_path / "limits.processes").read_text() == "2\n"
        assert meters_of(control)._shares.mates == 2


async def test_a_worker_that_starts_without_redis_hears_what_was_used(tmp_path: Path) -> None:
    budget = want(CAP, 1)
    spent = SpentFile(tmp_path / "limits.spent")
    spent.write([Spent(budget.counter, "total", "Europe/Moscow", 100, time.time())])
    async with plane(tmp_path, NOWHERE) as worker:
        assert not await worker.are_limits_known()
        worker.follow_file(0.01)
        await until(lambda: meters_of(worker)._shares._spent != {})
        assert await granted(meters_of(worker), budget) == (CAP - 100) // 2
