"""Limits of workers that share them through a real Redis: it forgets, is away, all start anew."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.harness import SandboxProcess, Server, until
from tests.e2e.storm import Way, way_to
from tests.e2e.test_workers import facts, workers
from tests.services.redis import Redis

MODEL = "openai/gpt-4o-mini"
WORKERS = 3
CAP, USED = 100, 40
SETTLED_S = 3.0
"""After a start: no more changes of the catalog come."""
REVISION = re.compile(r"^xrouter_catalog_revision (\S+)$", re.MULTILINE)
KNOWN = "EXISTS xr:{limits}:known"

pytestmark = pytest.mark.drill


@pytest.fixture
def way(redis: Redis, redis_url: str) -> Iterator[Way]:
    assert redis_url
    with way_to(redis) as way:
        yield way


@pytest.fixture
def server(tmp_path: Path, sandbox: SandboxProcess, way: Way) -> Iterator[Server]:
    env = sandbox.environment | {"XROUTER_REDIS_URL": way.url}
    server = Server(tmp_path, env)
    try:
        yield server.start("--workers", str(WORKERS))
    finally:
        server.close()


class Limited:
    """A key with a limit of so many requests a day."""

    def __init__(self, server: Server) -> None:
        self._server = server
        made: dict[str, Any] = server.control("POST", "/keys", {"name": "limited"})
        self._key = made["key"]
        until(lambda: self._models(12) == {200}, "the key is known")
        limit = {"subject": f"key:{made['key_id']}", "meter": "requests", "window": "day"}
        time.sleep(SETTLED_S)
        before = revision(server)
        self._id = server.control("POST", "/limits", limit | {"amount": CAP})["id"]
        self.granted = 0
        until(lambda: revision(server) > before, "the limit is known")

    def _models(self, count: int) -> set[int]:
        asked = (self._server.ask("GET", "/v1/models", key=self._key) for _ in range(count))
        return {each.status for each in asked}

    def ask(self, count: int) -> Counter[int]:
        """Statuses of so many at once, each over a connection of its own."""
        with ThreadPoolExecutor(10) as pool:
            asked = [pool.submit(self._server.chat, MODEL, key=self._key) for _ in range(count)]
            found = [each.result() for each in asked]
        statuses = Counter(each.status for each in found)
        self.granted += statuses[200]
        return statuses

    def use(self, count: int) -> None:
        """So many, all of which are granted."""
        statuses = self.ask(count)
        assert statuses == {200: count}

    def drain(self) -> None:
        """All that is given, by whichever worker."""
        while (statuses := self.ask(60))[200]:
            assert statuses.keys() <= {200, 429}

    def is_told(self) -> bool:
        """Whether Redis knows of everything."""
        used = self._server.control("GET", f"/limits/{self._id}/state")["used"]
        return int(used) == self.granted


def show(**figures: object) -> None:
    print(json.dumps(figures))  # noqa: T201 - the figures are what a drill is for


def revision(server: Server) -> float:
    """That all workers have reached; up to a second old."""
    found = REVISION.search(server.ask("GET", "/metrics").body.decode())
    return 0.0 if found is None else float(found[1])


def mates(server: Server) -> int:
    return int((server.data / "limits.processes").read_text())


def test_a_redis_that_forgets_under_workers(server: Server, redis: Redis) -> None:
    limited = Limited(server)
    limited.use(USED)
    until(limited.is_told, "all is counted")
    redis.service.stop(signal.SIGKILL)
    redis.start()
    until(lambda: redis.ask(KNOWN) == ":1", "it is told what was spent")
    until(limited.is_told, "the limit goes on")
    limited.drain()
    show(drill="Redis forgets", workers=WORKERS, granted=limited.granted, cap=CAP)
    assert CAP <= limited.granted <= CAP + WORKERS, "a late answer of Redis may cost one more"


def test_all_start_anew_with_an_empty_redis(server: Server, redis: Redis) -> None:
    limited = Limited(server)
    limited.use(USED)
    until(limited.is_told, "all is counted")
    server.stop()
    assert redis.ask("FLUSHALL") == "+OK"
    server.start("--workers", str(WORKERS))
    until(limited.is_told, "the limit goes on")
    limited.drain()
    show(drill="an empty Redis at the start", workers=WORKERS, granted=limited.granted, cap=CAP)
    assert CAP <= limited.granted <= CAP + WORKERS, "a late answer of Redis may cost one more"


def test_workers_are_killed_with_what_redis_has_not_heard(server: Server, way: Way) -> None:
    """It keeps its memory, and hears from the control process what they used without it."""
    limited = Limited(server)
    limited.use(USED)
    until(limited.is_told, "all is counted")
    before = workers(server)
    way.is_cut = True
    limited.use(30)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    way.is_cut = False
    until(lambda: not set(workers(server).values()) & set(before.values()), "others are there")
    until(lambda: facts(server)["running"] == WORKERS, "they answer")
    until(limited.is_told, "all is counted")
    limited.drain()
    show(drill="workers killed unheard", workers=WORKERS, granted=limited.granted, cap=CAP)
    assert CAP <= limited.granted <= CAP + WORKERS, "a late answer of Redis may cost one more"


def test_all_start_while_redis_is_away(server: Server, redis: Redis, way: Way) -> None:
    """Each has its share of what the database says is left; the control process has none."""
    limited = Limited(server)
    limited.use(USED)
    until(limited.is_told, "all is counted")
    until(lambda: mates(server) == WORKERS, "all have heard of each other")
    assert redis.ask("ZCARD xr:{limits}:processes") == f":{WORKERS}"
    server.stop()
    way.is_cut = True
    server.start("--workers", str(WORKERS))
    limited.drain()
    away = limited.granted
    way.is_cut = False
    until(limited.is_told, "it is told what was granted without it", 60)
    limited.drain()
    show(
        drill="Redis away at the start",
        workers=WORKERS,
        granted_without_it=away,
        granted=limited.granted,
        cap=CAP,
    )
    assert USED < away <= CAP + WORKERS, "one that is asked less than others keeps its share"
    assert limited.granted <= CAP + WORKERS
