"""Several servers on one PostgreSQL database under load: it goes away, one of them is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.drills.load import Load, Seen
from tests.e2e.fleet import Fleet, fleet_of
from tests.e2e.harness import SandboxProcess, Server, until
from tests.services.postgres import USER, Postgres

MODEL = "openai/gpt-4o-mini"
PER_SECOND = 30
PROMISED_S = 1.0
CHANGES = 20
LIMITED = "limited"
COUNTED = f"SELECT count(*) FROM usage_events WHERE model_served = '{MODEL}' AND outcome = 'ok'"

pytestmark = pytest.mark.drill


@pytest.fixture
def fleet(tmp_path: Path, sandbox: SandboxProcess, postgres: Postgres) -> Iterator[Fleet]:
    with fleet_of(3, tmp_path, sandbox, postgres, "xrouter_drill") as fleet:
        yield fleet


def show(**figures: object) -> None:
    print(json.dumps(figures))  # noqa: T201 - the figures are what a drill is for


def loaded(
    servers: list[Server], seconds: float, steps: Sequence[tuple[float, Callable[[], object]]]
) -> list[list[Seen]]:
    """Load on each at the same time, and steps, each so many seconds after the beginning."""
    found: dict[int, list[Seen]] = {}

    async def script(_began: float) -> None:
        await asyncio.sleep(0)

    def load(number: int) -> None:
        server = servers[number]
        found[number] = Load(server, MODEL, PER_SECOND, keys=[server.key]).run(seconds, script)

    threads = [threading.Thread(target=load, args=(n,)) for n in range(len(servers))]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for at, step in steps:
        time.sleep(max(0.0, began + at - time.monotonic()))
        step()
    for thread in threads:
        thread.join()
    return [found[number] for number in range(len(servers))]


def test_the_database_goes_away_under_load(fleet: Fleet) -> None:
    steps = ((5.0, fleet.postgres.stop), (15.0, fleet.postgres.start))
    seen = [each for server in loaded(fleet.servers, 25, steps) for each in server]
    failed = [each for each in seen if not each.whole]
    until(lambda: int(fleet.sql(COUNTED)) >= len(seen) - len(failed), "the journals are read")
    events = int(fleet.sql(COUNTED))
    show(drill="database away", requests=len(seen), failed=len(failed), events=events)
    assert failed == []
    assert events == len(seen)


def test_a_process_is_killed_under_load(fleet: Fleet) -> None:
    """Its journal outlives it. Requests that it was answering are lost to their callers alone."""
    killed = fleet.servers[0]
    began = time.monotonic()
    up_at = 0.0

    def restart() -> None:
        nonlocal up_at
        killed.start()
        up_at = time.monotonic() - began

    of_killed, *others = loaded(fleet.servers, 25, ((4.0, killed.kill), (6.0, restart)))
    whole = sum(each.whole for server in (of_killed, *others) for each in server)
    until(lambda: int(fleet.sql(COUNTED)) >= whole, "the journals are read")
    events = int(fleet.sql(COUNTED))
    cut = [each for each in of_killed if not each.whole]
    show(drill="process killed", answered=whole, cut=len(cut), events=events)
    assert all(each.whole for server in others for each in server)
    assert whole <= events <= whole + len(cut)
    assert min(each.at + each.took for each in cut) > 3
    after = [each for each in of_killed if each.at > up_at]
    assert after
    assert all(each.whole for each in after)


def test_changes_are_everywhere_within_a_second(fleet: Fleet) -> None:
    took = []
    for number in range(CHANGES):
        fleet.servers[0].control("PATCH", f"/models/{MODEL}", {"display_name": f"Name {number}"})
        began = time.monotonic()
        newest = int(fleet.sql("SELECT revision FROM catalog_state"))
        for server in fleet.servers:
            until(lambda s=server, n=newest: _revision(s) >= n, "it follows")  # type: ignore[misc]
        took.append(time.monotonic() - began)
    show(drill="changes", slowest_s=round(max(took), 3), usual_s=round(sorted(took)[10], 3))
    assert max(took) < PROMISED_S


def _revision(server: Server) -> int:
    return int(server.ask("GET", "/health/ready").json["revision"])


def test_one_that_stays_behind_is_named(fleet: Fleet) -> None:
    """It may not read the models any more, but says that it lives."""
    fleet.postgres.sql(f"DROP ROLE IF EXISTS {LIMITED}; CREATE ROLE {LIMITED} LOGIN")
    fleet.sql(
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {LIMITED};"
        f" GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {LIMITED}"
    )
    url = urlsplit(fleet.postgres.url(fleet.database))
    theirs = url._replace(netloc=url.netloc.replace(USER, LIMITED, 1)).geturl()
    server = fleet.add(XROUTER_DATABASE_URL=theirs)
    fleet.start(server)
    pid = server.process.pid if server.process else 0
    first = fleet.servers[0]
    until(lambda: pid in fleet.instances(first), "it is listed")
    fleet.sql(f"REVOKE SELECT ON llm_models FROM {LIMITED}")
    first.control("PATCH", f"/models/{MODEL}", {"display_name": "Another"})
    until(lambda: bool(fleet.instances(first)[pid]["behind"]), "it is behind")
    named = fleet.instances(first)[pid]["instance_id"]
    told = f'"event":"revision_disagreement","instance":"{named}"'
    until(lambda: all(told in each.err for each in fleet.servers[:3]), "all others tell of it")
    assert server.ask("GET", "/health/ready").json["stale"]
    assert server.chat(MODEL).status == 200
    fleet.sql(f"GRANT SELECT ON llm_models TO {LIMITED}")
    until(lambda: not fleet.instances(first)[pid]["behind"], "it has caught up")
    server.close()
    fleet.sql(f"DROP OWNED BY {LIMITED}; DROP ROLE {LIMITED}")


def test_one_that_is_stopped_is_named_and_one_that_leaves_is_not(fleet: Fleet) -> None:
    first, stopped, leaving = fleet.servers
    pids = [server.process.pid for server in fleet.servers if server.process]
    until(lambda: set(fleet.instances(first)) == set(pids), "all are listed")
    stopped.signal(signal.SIGSTOP)
    try:
        assert leaving.stop() == 0
        assert pids[2] not in fleet.instances(first)
        until(lambda: bool(fleet.instances(first)[pids[1]]["silent"]), "it is silent")
        until(lambda: '"event":"instance_silent"' in first.err, "it is told")
    finally:
        stopped.signal(signal.SIGCONT)
    until(lambda: not fleet.instances(first)[pids[1]]["silent"], "it is heard again")
