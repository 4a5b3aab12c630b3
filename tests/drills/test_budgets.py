"""Budgets and limits under load: one process and three over Redis; Redis slow, killed, away; the
database away for a minute.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.drills.load import Load, Seen
from tests.e2e.fleet import Fleet
from tests.e2e.harness import SandboxProcess, Server, until
from tests.e2e.storm import MODEL, Budget, Way, counting, way_to
from tests.services.postgres import Postgres
from tests.services.redis import Redis

REQUESTS = 500
CAP = 100
PER_SECOND = 30
LATE = 32
"""Calls of Redis at a time: what they were granted too late to be heard is not granted again."""

T = TypeVar("T")

pytestmark = pytest.mark.drill


@pytest.fixture
def way(redis: Redis) -> Iterator[Way]:
    assert redis.ask("FLUSHALL") == "+OK"
    with way_to(redis) as way:
        yield way


@pytest.fixture(params=[1, 3], ids=["one", "three"])
def fleet(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    sandbox: SandboxProcess,
    postgres: Postgres,
    way: Way,
) -> Iterator[Fleet]:
    with counting(request.param, tmp_path, sandbox, postgres, way) as fleet:
        time.sleep(3)  # all have heard of each other
        yield fleet


def away(fleet: Fleet) -> int:
    """By how many rubles the cap may be passed while Redis does not answer."""
    processes = len(fleet.servers)
    return CAP - CAP // processes + processes - 1


def show(**figures: object) -> None:
    print(json.dumps(figures))  # noqa: T201 - the figures are what a drill is for


def beside(work: Callable[[], T], seconds: float, step: Callable[[], object]) -> T:
    """Work in a thread, and a step here, so many seconds later: services are this thread's."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    try:
        time.sleep(seconds)
        step()
    finally:
        thread.join()
    return found[0]


def test_five_hundred_at_once(fleet: Fleet) -> None:
    budget = Budget(fleet, CAP)
    seen = budget.storm(REQUESTS)
    show(drill="at once", processes=len(fleet.servers), **figures(seen))
    assert seen.failed == 0
    assert CAP - LATE <= seen.answered <= CAP + away(fleet)


def test_five_hundred_in_ten_seconds(fleet: Fleet) -> None:
    """As fast as Redis answers: exact."""
    budget = Budget(fleet, CAP)
    seen = budget.storm(REQUESTS, seconds=10)
    show(drill="in ten seconds", processes=len(fleet.servers), **figures(seen))
    assert seen.failed == 0
    assert seen.answered == CAP


def test_with_redis_slowed_by_200_ms(fleet: Fleet, way: Way) -> None:
    budget = Budget(fleet, CAP)
    way.delay_s = 0.2
    try:
        seen = budget.storm(REQUESTS, seconds=3)
    finally:
        way.delay_s = 0.0
    show(drill="slow Redis", processes=len(fleet.servers), **figures(seen))
    assert seen.failed == 0
    assert CAP - len(fleet.servers) <= seen.answered <= CAP + away(fleet)
    for server in fleet.servers:
        until(lambda s=server: budget.used(s) == min(CAP, seen.answered), "Redis has been told")  # type: ignore[misc]


def test_with_redis_killed_in_the_middle(fleet: Fleet, redis: Redis) -> None:
    """It comes back with an empty memory a second later."""
    budget = Budget(fleet, CAP)

    def kill() -> None:
        redis.service.stop(signal.SIGKILL)
        time.sleep(1)
        redis.start()

    seen = beside(lambda: budget.storm(REQUESTS, seconds=4), 1, kill)
    until(lambda: redis.ask("EXISTS xr:{limits}:known") == ":1", "it is told what was spent")
    for server in fleet.servers:
        until(lambda s=server: budget.used(s) >= min(CAP, seen.answered), "it knows")  # type: ignore[misc]
    later = budget.storm(REQUESTS, seconds=3)
    show(
        drill="killed Redis",
        processes=len(fleet.servers),
        later=later.answered,
        **figures(seen),
    )
    assert seen.failed == later.failed == 0
    assert seen.answered <= CAP + away(fleet)
    assert max(CAP, seen.answered) - 1 <= later.rubles <= max(CAP, seen.answered) + 1


def test_redis_is_away_for_half_a_minute(fleet: Fleet, redis: Redis) -> None:
    """Nobody is refused who would not be with Redis, and nobody waits."""
    budget = Budget(fleet, 10**6)
    limit = {"subject": "key:*", "meter": "requests", "window": "minute", "amount": 10**6}
    running = {"subject": "project:*", "meter": "running", "window": "now", "amount": 300}
    for each in (limit, running):
        fleet.servers[0].control("POST", "/limits", each)

    def away_() -> None:
        redis.service.stop(signal.SIGKILL)
        time.sleep(30)
        redis.start()

    found = beside(lambda: loaded(fleet, budget.key, 45), 5, away_)
    failed = [each for each in found if not each.whole]
    took = sorted(each.took for each in found)
    show(
        drill="Redis away",
        processes=len(fleet.servers),
        requests=len(found),
        failed=len(failed),
        slowest_s=round(took[-1], 2),
        p99_s=round(took[len(took) * 99 // 100], 3),
    )
    assert failed == []


def test_the_database_is_away_for_a_minute(fleet: Fleet, down_s: float) -> None:
    """With limits and budgets: no request fails, no event is lost, all is charged once."""
    budget = Budget(fleet, 10**6)
    tokens = {"subject": "project:*", "meter": "tokens", "window": "day", "amount": 10**9}
    fleet.servers[0].control("POST", "/limits", tokens)
    fleet.wait_agreed()

    def away_() -> None:
        fleet.postgres.stop()
        time.sleep(down_s)
        fleet.postgres.start()

    found = beside(lambda: loaded(fleet, budget.key, down_s + 10), 5, away_)
    failed = [each for each in found if not each.whole]
    query = f"SELECT count(*) FROM usage_events WHERE key_id = '{budget.key_id}'"
    until(lambda: int(fleet.sql(query)) >= len(found), "the journals are read")
    events = int(fleet.sql(query))
    budget.answered = len(found)
    charged = budget.charged()
    show(
        drill="database away",
        processes=len(fleet.servers),
        down_s=down_s,
        requests=len(found),
        failed=len(failed),
        events=events,
        rubles=charged,
    )
    assert failed == []
    assert events == charged == len(found)
    for server in fleet.servers:
        until(lambda s=server: budget.used(s) == len(found), "the budget knows")  # type: ignore[misc]


def figures(seen: Any) -> dict[str, object]:
    """For `show`."""
    return {
        "answered": seen.answered,
        "refused": seen.statuses[429],
        "failed": seen.failed,
        "cap": CAP,
    }


def loaded(fleet: Fleet, key: str, seconds: float) -> list[Seen]:
    """Load on each server at the same time."""
    found: list[Seen] = []

    async def script(_began: float) -> None:
        await asyncio.sleep(0)

    def load(server: Server) -> None:
        found.extend(Load(server, MODEL, PER_SECOND, keys=[key]).run(seconds, script))

    threads = [threading.Thread(target=load, args=(server,)) for server in fleet.servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
