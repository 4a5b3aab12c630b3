"""Three workers behind one port under load: one is killed, all are replaced, the head is killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from tests.drills.load import Load, Seen
from tests.e2e.harness import SandboxProcess, Server, until
from tests.e2e.test_workers import children, facts, workers
from tests.services.postgres import Postgres

MODEL = "openai/gpt-4o-mini"
PER_SECOND = float(os.environ.get("DRILL_PER_SECOND", "200"))
WORKERS = 3
AROUND_S = 0.1
"""A request counts as under way when it was so within so long of the kill."""

pytestmark = pytest.mark.drill

Step = Callable[[], Awaitable[object]]


@pytest.fixture(params=["sqlite", "postgresql"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, sandbox: SandboxProcess
) -> Iterator[Server]:
    env = dict(sandbox.environment) | {"XROUTER_ACCESS_LOG": "false"}
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        postgres.sql("DROP DATABASE IF EXISTS xrouter_workers WITH (FORCE)")
        postgres.sql("CREATE DATABASE xrouter_workers")
        env["XROUTER_DATABASE_URL"] = postgres.url("xrouter_workers")
    server = Server(tmp_path, env)
    try:
        yield server.start("--workers", str(WORKERS))
    finally:
        server.close()


def show(**figures: object) -> None:
    print(json.dumps(figures))  # noqa: T201 - the figures are what a drill is for


def loaded(server: Server, seconds: float, at: float, step: Step) -> tuple[list[Seen], float]:
    """What came of the load, and when the step was made, in seconds since it began."""
    done_at = 0.0

    async def script(began: float) -> None:
        nonlocal done_at
        await asyncio.sleep(max(0.0, began + at - time.monotonic()))
        done_at = time.monotonic() - began
        await step()

    seen = Load(server, MODEL, PER_SECOND, keys=[server.key]).run(seconds, script)
    return seen, done_at


def stored(server: Server) -> int:
    return sum(each["outcome"] == "ok" for each in server.events())


def test_a_worker_is_killed_under_load(server: Server) -> None:
    victim = workers(server)["worker-2"]

    async def kill() -> None:
        os.kill(victim, signal.SIGKILL)

    seen, at = loaded(server, 15, 5.0, kill)
    failed = [each for each in seen if not each.whole]
    whole = len(seen) - len(failed)
    under_way = [s for s in seen if s.at - AROUND_S <= at <= s.at + s.took + AROUND_S]
    until(lambda: stored(server) >= whole, "the journals are read")
    events = stored(server)
    show(
        drill="worker killed",
        requests=len(seen),
        failed=len(failed),
        under_way=len(under_way),
        events=events,
        slowest_s=round(max(each.took for each in seen), 3),
    )
    assert all(each in under_way for each in failed)
    assert len(failed) <= len(under_way)
    assert whole <= events <= len(seen)
    assert victim not in workers(server).values()
    assert len(workers(server)) == WORKERS
    until(lambda: len(list((server.data / "journal").iterdir())) <= WORKERS, "none is left over")


def test_all_are_replaced_under_load(server: Server) -> None:
    before = {child.pid for child in children(server).values()}

    async def replace() -> None:
        server.signal(signal.SIGHUP)

    seen, _ = loaded(server, 30, 5.0, replace)
    until(lambda: '"rolling_restart_done"' in server.err, "it is done")
    failed = [each for each in seen if not each.whole]
    until(lambda: stored(server) >= len(seen) - len(failed), "the journals are read")
    events = stored(server)
    show(
        drill="all replaced",
        requests=len(seen),
        failed=len(failed),
        events=events,
        slowest_s=round(max(each.took for each in seen), 3),
    )
    assert failed == []
    assert events == len(seen)
    assert not before & {child.pid for child in children(server).values()}


def test_the_control_process_is_killed_under_load(server: Server) -> None:
    head = children(server)["control-1"]

    async def kill() -> None:
        head.kill()

    seen, _ = loaded(server, 15, 5.0, kill)
    failed = [each for each in seen if not each.whole]
    token = (server.data / "admin.token").read_text().strip()
    path = "/control/v1/providers"
    until(lambda: server.ask("GET", path, key=token).status == 200, "it is back")
    until(lambda: stored(server) >= len(seen) - len(failed), "the journals are read")
    show(
        drill="control process killed",
        database=server.env.get("XROUTER_DATABASE_URL", "sqlite").partition(":")[0],
        requests=len(seen),
        failed=len(failed),
        events=stored(server),
        charges=charged(server),
        slowest_s=round(max(each.took for each in seen), 3),
    )
    assert failed == []
    assert stored(server) == charged(server) == len(seen)


def charged(server: Server) -> int:
    """How many requests the books know."""
    found: set[str] = set()
    after = ""
    while True:
        page = server.control("GET", f"/billing/charges?limit=500{after}")
        found |= {each["event_id"] for each in page["data"]}
        if page["next"] is None:
            return len(found)
        after = f"&after={page['next']}"


def test_a_worker_hangs_under_load(tmp_path: Path, sandbox: SandboxProcess) -> None:
    """It lives and answers nobody: what it has is lost, it is replaced, the others go on."""
    env = sandbox.environment | {"XROUTER_HANG_TIMEOUT": "3", "XROUTER_ACCESS_LOG": "false"}
    server = Server(tmp_path, env)
    try:
        server.start("--workers", str(WORKERS))
        victim = children(server)["worker-2"]

        async def hang() -> None:
            victim.suspend()

        seen, at = loaded(server, 20, 5.0, hang)
        failed = [each for each in seen if not each.whole]
        until(lambda: len(workers(server)) == WORKERS, "another is there")
        show(
            drill="worker hangs",
            requests=len(seen),
            failed=len(failed),
            last_failed_s=round(max((each.at for each in failed), default=at) - at, 2),
            slowest_s=round(max(each.took for each in seen), 3),
        )
        assert '"process_hangs"' in server.err
        assert victim.pid not in workers(server).values()
        assert all(each.at - at < 10 for each in failed)
    finally:
        server.close()


def test_connections_are_spread(server: Server) -> None:
    """The busiest worker has no more than half again its part of the processor's time."""
    pids = workers(server)

    def used() -> Counter[str]:
        return Counter({n: sum(psutil.Process(p).cpu_times()[:2]) for n, p in pids.items()})

    before = used()

    async def nothing() -> None:
        return None

    seen, _ = loaded(server, 15, 1.0, nothing)
    spent = used() - before
    shares = {name: round(value / spent.total(), 2) for name, value in spent.items()}
    show(drill="spread", requests=len(seen), shares=shares)
    assert all(each.whole for each in seen)
    assert facts(server)["running"] == WORKERS
    assert max(shares.values()) <= 1.5 / WORKERS


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
def test_a_second_writer_of_a_sqlite_file_is_turned_away(server: Server, tmp_path: Path) -> None:
    for number, arguments in enumerate(((), ("--workers", "2"))):
        folder = tmp_path / str(number)
        (folder / "var").mkdir(parents=True)
        shutil.copy(server.data / "master.key", folder / "var")
        shutil.copy(server.data / "snapshot.sealed", folder / "var")
        url = f"sqlite:///{server.data / 'xrouter.db'}"
        other = Server(folder, {"XROUTER_DATABASE_URL": url})
        try:
            assert other.start(*arguments, wait=False).wait() == 1
            said = r"Another process \(pid \d+\) is writing to this database, and SQLite takes one"
            assert re.search(said, other.err)
        finally:
            other.close()
    assert server.chat(MODEL).status == 200


def test_with_redis_limits_are_exact(
    tmp_path: Path, sandbox: SandboxProcess, redis_url: str
) -> None:
    server = Server(tmp_path, dict(sandbox.environment) | {"XROUTER_REDIS_URL": redis_url})
    try:
        server.start("--workers", str(WORKERS))
        assert "without Redis" not in server.out
        made = server.control("POST", "/keys", {"name": "limited"})
        limit = {"meter": "requests", "window": "day", "amount": 40}
        server.control("POST", "/limits", limit | {"subject": f"key:{made['key_id']}"})

        def limited() -> bool:
            looks = [server.ask("GET", "/v1/models", key=made["key"]) for _ in range(12)]
            return all(each.status == 200 for each in looks)

        until(limited, "the key is known")
        time.sleep(1)
        with ThreadPoolExecutor(10) as pool:
            asked = [pool.submit(server.chat, MODEL, key=made["key"]) for _ in range(90)]
            granted = sum(each.result().status == 200 for each in asked)
        show(drill="limit with redis", granted=granted)
        assert granted == 40
    finally:
        server.close()


def test_without_a_database_and_a_snapshot_it_says_so(tmp_path: Path) -> None:
    server = Server(tmp_path, {"XROUTER_DATABASE_URL": "postgresql://x@127.0.0.1:1/none"})
    try:
        assert server.start("--workers", "2", wait=False).wait() == 1
        assert "There is no snapshot to go on with, either" in server.err
    finally:
        server.close()
