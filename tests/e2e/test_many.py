"""Three servers on one PostgreSQL database, started at the same moment on an empty one."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import asyncpg
import pytest
from tests.e2e.fleet import Fleet, fleet_of
from tests.e2e.harness import SandboxProcess, Server, until
from tests.services.postgres import Postgres

SOON_S = 3.0
"""Seconds. A second is the promise, five is what polling needs; the machine has much to do."""

DONE = "SELECT count(*) FROM releases WHERE status = 'done'"
UPSTREAM = {"1": "gpt-4o-mini", "2": "gpt-4.1"}


@pytest.fixture(scope="module")
def fleet(
    _sandbox_process: SandboxProcess, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_of(3, folder, _sandbox_process, postgres, "xrouter_many") as fleet:
        yield fleet


def told(server: Server, event: str) -> list[dict[str, Any]]:
    """The lines of its log that tell of this event."""
    lines = [json.loads(line) for line in server.err.splitlines() if f'"{event}"' in line]
    return [line for line in lines if line.get("event") == event]


def model(name: str, *labels: str) -> dict[str, Any]:
    """The first label is the latest version."""
    versions = [{"label": label, "upstream": UPSTREAM[label]} for label in labels]
    versions[0]["channel"] = "latest"
    return {"model_id": f"openai/{name}", "provider": "openai", "versions": versions}


class Callers:
    """One thread for each server asks for a model without a pause; none may be refused."""

    def __init__(self, servers: list[Server], name: str) -> None:
        self.seen: list[tuple[Server, str]] = []
        self.failed: list[bytes] = []
        self._name = name
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(each,)) for each in servers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, server: Server) -> None:
        while not self._over.is_set():
            answer = server.chat(self._name)
            if answer.status == 200:
                self.seen.append((server, answer.headers["x-xrouter-version"]))
            else:
                self.failed.append(answer.body)


def test_one_database_is_made_and_filled_once(fleet: Fleet) -> None:
    assert fleet.sql("SELECT count(*) FROM api_keys") == "1"
    assert [server.chat("openai/gpt-4o-mini").status for server in fleet.servers] == [200] * 3
    for server in fleet.servers:
        assert '"level":"error"' not in server.err
        assert "Traceback" not in server.err


def test_one_with_another_master_key_is_turned_away_before_it_does_harm(fleet: Fleet) -> None:
    stranger = fleet.add()
    fleet.servers.remove(stranger)
    (stranger.data / "master.key").write_bytes(bytes(32))
    assert stranger.start(wait=False).wait() == 1
    assert "filled with another master key" in stranger.err
    assert [server.chat("openai/gpt-4o-mini").status for server in fleet.servers] == [200] * 3
    stranger.close()


def test_a_change_through_one_is_whole_and_soon_in_all(fleet: Fleet) -> None:
    first = fleet.servers[0]
    first.control("POST", "/models", model("moving", "1"))
    fleet.wait_agreed()
    changes = 6
    with Callers(fleet.servers, "openai/moving") as callers:
        for number in range(changes):
            label = "12"[(number + 1) % 2]
            body = {"versions": model("moving", label)["versions"]}
            first.control("PATCH", "/models/openai/moving", body)
            since = len(callers.seen)

            def everywhere(since: int = since, label: str = label) -> bool:
                found = {server for server, seen in callers.seen[since:] if seen == label}
                return len(found) == len(fleet.servers)

            until(everywhere, "all answer with the new version", SOON_S)
    assert callers.failed == []
    total = len(callers.seen)
    counted = "SELECT count(*) FROM usage_events WHERE model_served = 'openai/moving'"
    until(lambda: int(fleet.sql(counted)) == total, "all are counted")
    right = " OR ".join(
        f"(version = '{label}' AND upstream_model LIKE '{upstream}%')"
        for label, upstream in UPSTREAM.items()
    )
    assert int(fleet.sql(f"{counted} AND ({right})")) == total  # no half of a change was used


def test_each_process_is_listed_with_its_revision(fleet: Fleet) -> None:
    fleet.servers[1].control("POST", "/models", model("listed", "1"))
    fleet.wait_agreed()

    def agreed() -> bool:
        newest = int(fleet.sql("SELECT revision FROM catalog_state"))
        listed = fleet.instances(fleet.servers[0])
        return {each["revision"] for each in listed.values()} == {newest}

    until(agreed, "all are listed with it")
    for asked in fleet.servers:
        listed = fleet.instances(asked)
        assert set(listed) == {s.process.pid for s in fleet.servers if s.process is not None}
        assert not any(each["behind"] or each["silent"] for each in listed.values())


def test_releases_are_done_once(fleet: Fleet) -> None:
    names = [f"released{number}" for number in range(4)]
    for name in names:
        fleet.servers[0].control("POST", "/models", model(name, "1", "2"))
    at = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    for name in names:
        body = {"model_id": f"openai/{name}", "label": "2", "at": at}
        fleet.servers[1].control("POST", "/releases", body)
    until(lambda: fleet.sql(DONE) == str(len(names)), "all are released")
    fleet.wait_agreed()
    for server in fleet.servers:
        answers = [server.chat(f"openai/{name}") for name in names]
        assert {answer.headers["x-xrouter-version"] for answer in answers} == {"2"}
    tellers = [line["model"] for server in fleet.servers for line in told(server, "released")]
    assert sorted(tellers) == [f"openai/{name}" for name in names]
    changed = fleet.sql(
        "SELECT object FROM catalog_changes WHERE kind = 'model' AND action = 'release'"
        " AND object LIKE '%released%' ORDER BY object"
    )
    assert changed.split() == [f"openai/{name}" for name in names]


async def test_a_holder_that_slept_writes_nothing(fleet: Fleet) -> None:
    """It is stopped between taking the lease and writing what it has found out."""
    holder = fleet.wait_for_holder("probes")
    sleeper = fleet.server_of(holder)
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND query LIKE '%attempt_counts%' AND query LIKE 'SELECT%'"
    )
    connection = await asyncpg.connect(fleet.postgres.url(fleet.database))
    try:
        lock = connection.transaction()
        await lock.start()
        await connection.execute("LOCK TABLE attempt_counts IN ACCESS EXCLUSIVE MODE")
        until(lambda: fleet.sql(waiting) != "0", "the holder looks")
        sleeper.signal(signal.SIGSTOP)
        before = len(told(sleeper, "health_left"))
        await lock.rollback()
    finally:
        await connection.close()
    try:
        successor = fleet.wait_for_holder("probes", but=holder)
        stood = len(told(fleet.server_of(successor), "health_left"))
        assert len(told(sleeper, "health_left")) == before
    finally:
        sleeper.signal(signal.SIGCONT)
    until(lambda: len(told(sleeper, "health_left")) > before, "it finds out when it writes")
    if len(told(fleet.server_of(successor), "health_left")) == stood:  # nor did it stand still
        assert fleet.holder("probes") == successor
    assert sleeper.chat("openai/gpt-4o-mini").status == 200


def test_while_the_database_is_away_nothing_fails_and_nothing_is_lost(
    fleet: Fleet, postgres: Postgres
) -> None:
    name = "openai/gpt-4.1"
    counted = f"SELECT count(*) FROM usage_events WHERE model_served = '{name}'"
    before = int(fleet.sql(counted))
    with Callers(fleet.servers, name) as callers:
        until(lambda: len(callers.seen) > 10, "requests are answered")
        postgres.stop()
        until(lambda: all(map(is_stale, fleet.servers)), "all of them notice")
        began = len(callers.seen)
        until(lambda: len(callers.seen) > began + 100, "they go on answering")
        postgres.start()
        until(lambda: not any(map(is_stale, fleet.servers)), "all of them notice again")
    assert callers.failed == []
    total = before + len(callers.seen)
    until(lambda: int(fleet.sql(counted)) >= total, "the journals are read")
    assert int(fleet.sql(counted)) == total


def is_stale(server: Server) -> bool:
    return "stale" in server.ask("GET", "/health/ready").json


def test_when_the_one_that_probes_is_killed_another_goes_on(fleet: Fleet) -> None:
    """The last test: there is one less of them afterwards."""
    holder = fleet.wait_for_holder("probes")
    killed = fleet.server_of(holder)
    killed.kill()
    successor = fleet.wait_for_holder("probes", but=holder)
    assert successor != holder
    latest = float(fleet.sql("SELECT max(at) FROM health_checks"))
    until(
        lambda: float(fleet.sql("SELECT max(at) FROM health_checks")) > latest + 1, "it is probed"
    )
