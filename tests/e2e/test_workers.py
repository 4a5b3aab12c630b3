"""Several processes behind one port: `xrouter serve --workers N`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from tests.e2e.fixtures import Servers
from tests.e2e.harness import Answer, SandboxProcess, Server, read_stream, until

from xrouter.control.people.throttle import FREE_OF_ACCOUNT

MODEL = "openai/gpt-4o-mini"
WORKERS = 2
SOON_S = 3.0
LIMIT = "x-ratelimit-limit-requests"
ANSWERED = re.compile(
    r"^xrouter_requests_total\{.*gpt-4o-mini.*status=\"200\"\} (\S+)$", re.MULTILINE
)


@pytest.fixture(scope="module")
def several(
    _sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Two workers on SQLite, without Redis."""
    server = Server(tmp_path_factory.mktemp("several"), _sandbox_process.environment)
    try:
        yield server.start("--workers", str(WORKERS))
    finally:
        server.close()


def children(server: Server) -> dict[str, psutil.Process]:
    """The processes of a server, by what they are: `worker-1`, `control-1`."""
    assert server.process is not None
    found = {}
    for child in psutil.Process(server.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            name = re.search(r'"name":"(\w+-\d+)-\d+"', " ".join(child.cmdline()))
            if name is not None:
                found[name[1]] = child
    return found


def workers(server: Server) -> dict[str, int]:
    return {n: each.pid for n, each in children(server).items() if n.startswith("worker")}


def facts(server: Server) -> dict[str, int]:
    found: dict[str, int] = server.ask("GET", "/health/ready").json["facts"]["workers"]
    return found


def answered(server: Server) -> float:
    text = server.ask("GET", "/metrics").body.decode()
    return sum(float(value) for value in ANSWERED.findall(text))


class Callers:
    """Threads that ask again and again, each time over a connection of its own."""

    def __init__(self, server: Server, number: int = 3) -> None:
        self.whole = 0
        self.failed: list[str] = []
        self._server = server
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        while not self._over.wait(0.02):
            try:
                answer = self._server.chat(MODEL)
            except OSError as error:
                self.failed.append(repr(error))
                continue
            if answer.status == 200:
                self.whole += 1
            else:
                self.failed.append(answer.body.decode())


def test_one_port_one_key_one_writer(several: Server) -> None:
    assert set(children(several)) == {"control-1", "worker-1", "worker-2"}
    assert several.chat(MODEL).status == 200
    assert facts(several) == {"running": WORKERS, "wanted": WORKERS}
    database = several.data / "xrouter.db"
    writers = [
        name
        for name, child in children(several).items()
        if any(Path(file.path) == database for file in child.open_files())
    ]
    assert writers == ["control-1"]
    assert "2 workers without Redis" in several.out
    until(lambda: '"event":"limits_are_shared_out"' in several.err, "it is logged")


def test_any_worker_speaks_for_the_control_plane(several: Server) -> None:
    for _ in range(4 * WORKERS):
        listed = several.control("GET", "/providers")["data"]
        assert "openai" in [each["name"] for each in listed]
    paths = several.ask("GET", "/openapi.json").json["paths"]
    assert {"/v1/chat/completions", "/control/v1/providers"} <= paths.keys()
    wrong = several.ask("GET", "/control/v1/providers", key="wrong")
    assert wrong.status == 401
    listed = several.command("providers", "list")
    assert listed.returncode == 0
    assert "openai" in listed.stdout


def test_a_change_is_soon_in_all(several: Server) -> None:
    body = {
        "model_id": "openai/shown",
        "provider": "openai",
        "versions": [{"label": "1", "upstream": "gpt-4o-mini", "channel": "latest"}],
    }
    several.control("POST", "/models", body)

    def everywhere() -> bool:
        return {several.chat("openai/shown").status for _ in range(8 * WORKERS)} == {200}

    until(everywhere, "it is there", SOON_S)


def test_events_of_the_control_plane_are_streamed(several: Server) -> None:
    token = (several.data / "admin.token").read_text().strip()
    with several.open("GET", "/control/v1/health/events", key=token) as reply:
        assert reply.status == 200
        assert reply.getheader("content-type", "").startswith("text/event-stream")
        assert reply.readline()


def test_counts_are_those_of_all_and_outlive_a_worker(several: Server) -> None:
    with Callers(several) as callers:
        until(lambda: callers.whole >= 60, "they are answered")
    assert callers.failed == []

    def total() -> int:
        found = several.events()
        return sum(e["status"] == 200 and e["model_served"] == MODEL for e in found)

    until(lambda: total() >= callers.whole and answered(several) == total(), "all are counted")
    pids = workers(several)
    os.kill(pids["worker-1"], signal.SIGKILL)
    until(lambda: workers(several).get("worker-1", pids["worker-1"]) != pids["worker-1"], "another")
    until(lambda: facts(several)["running"] == WORKERS, "it is there")
    assert answered(several) == total()
    text = several.ask("GET", "/metrics").body.decode()
    assert "\nxrouter_process_restarts_total 1.0\n" in text
    assert f"\nxrouter_workers {WORKERS}.0\n" in text


def test_what_a_killed_worker_answered_is_stored(several: Server) -> None:
    before = len(several.events())
    with Callers(several) as callers:
        until(lambda: callers.whole >= 20, "they are answered")
        victim = workers(several)["worker-2"]
        os.kill(victim, signal.SIGKILL)
        until(lambda: workers(several).get("worker-2", victim) != victim, "another is there")
        reached = callers.whole
        until(lambda: callers.whole >= reached + 20, "they go on")
    assert len(callers.failed) <= 3, "at most what it was answering"
    stored = before + callers.whole
    until(lambda: len(several.events()) >= stored, "the journals are read")
    assert len(several.events()) <= stored + len(callers.failed)
    assert f'"pid":{victim},"code":-9' in several.err


def test_all_are_replaced_one_by_one_and_nobody_notices(several: Server) -> None:
    before = {name: child.pid for name, child in children(several).items()}
    settings = several.folder / "xrouter.toml"
    settings.write_text("nonsense = 1")
    several.signal(signal.SIGHUP)
    until(lambda: '"rolling_restart_given_up"' in several.err, "it is not done with wrong settings")
    settings.unlink()
    with Callers(several) as callers:
        several.signal(signal.SIGHUP)
        until(lambda: '"rolling_restart_done"' in several.err, "it is done")
        reached = callers.whole
        until(lambda: callers.whole >= reached + 10, "they go on")
    assert callers.failed == []
    after = {name: child.pid for name, child in children(several).items()}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())


def test_without_the_control_process_models_answer(several: Server) -> None:
    control = children(several)["control-1"]
    control.suspend()
    try:
        assert [several.chat(MODEL).status for _ in range(4)] == [200] * 4
        control.kill()
    finally:
        control.resume()
    with Callers(several) as callers:
        until(lambda: _is_back(several, control.pid), "it is back")
    assert callers.failed == []
    assert several.control("GET", "/providers")["data"]


def _is_back(server: Server, before: int) -> bool:
    child = children(server).get("control-1")
    token = (server.data / "admin.token").read_text().strip()
    answer = server.ask("GET", "/control/v1/providers", key=token)
    assert answer.status in (200, 503)
    return child is not None and child.pid != before and answer.status == 200


def test_limits_are_shared_out(several: Server) -> None:
    """Without Redis; and they are remembered by the one who comes after a worker that died."""
    made: dict[str, Any] = several.control("POST", "/keys", {"name": "limited"})
    limit = {"subject": f"key:{made['key_id']}", "meter": "requests", "window": "day", "amount": 40}
    several.control("POST", "/limits", limit)
    seen: list[Answer] = []

    def ask() -> Answer:
        seen.append(several.chat(MODEL, key=made["key"]))
        return seen[-1]

    def limited() -> bool:
        return all(LIMIT in ask().headers for _ in range(8))

    def used() -> int:
        """Of the limit; a worker that did not know it yet has counted nothing."""
        return sum(each.status == 200 and LIMIT in each.headers for each in seen)

    until(limited, "it is in use")
    until(lambda: ask().status == ask().status == ask().status == ask().status == 429, "it is over")
    assert 20 < used() <= 40
    victim = workers(several)["worker-1"]
    os.kill(victim, signal.SIGKILL)
    until(lambda: workers(several).get("worker-1", victim) != victim, "another is there")
    until(lambda: facts(several)["running"] == WORKERS, "it answers")
    for _ in range(20):
        ask()
    assert used() <= 40


def test_tries_of_passwords_are_counted_together(several: Server) -> None:
    """Whichever worker is asked: the control process answers."""
    body = {"email": "nobody@example.test", "password": "a wrong one"}
    path = "/control/v1/auth/sign-in"
    tried = [several.ask("POST", path, body).status for _ in range(WORKERS * FREE_OF_ACCOUNT)]
    assert tried[:FREE_OF_ACCOUNT] == [401] * FREE_OF_ACCOUNT
    assert 429 in tried


def test_a_second_server_is_turned_away(several: Server, servers: Servers) -> None:
    same = servers(XROUTER_DATA_DIR=str(several.data))
    assert same.start("--workers", "2", wait=False).wait() == 1
    assert "already uses this data folder" in same.err
    port = servers(XROUTER_PORT=several.env["XROUTER_PORT"])
    assert port.start("--workers", "2", wait=False).wait() == 1
    assert "Does another program listen there?" in port.err
    gateway = servers()
    assert gateway.start("--role", "gateway", "--workers", "2", wait=False).wait() == 1
    assert "A gateway is one process." in gateway.err


def test_a_worker_that_hangs_is_replaced(servers: Servers) -> None:
    """It lives, holds its connections and answers nobody; the other answers meanwhile."""
    server = servers(XROUTER_HANG_TIMEOUT="3").start("--workers", str(WORKERS))
    victim = children(server)["worker-1"]
    victim.suspend()
    assert [server.chat(MODEL).status for _ in range(10)] == [200] * 10
    until(lambda: workers(server).get("worker-1", victim.pid) != victim.pid, "another is there")
    until(lambda: facts(server)["running"] == WORKERS, "it answers")
    assert re.search(rf'"event":"process_hangs".*"pid":{victim.pid}\b', server.err)
    text = server.ask("GET", "/metrics").body.decode()
    found = re.search(r"^xrouter_process_hangs_total (\S+)$", text, re.MULTILINE)
    assert found is not None
    assert float(found[1]) >= 1
    assert server.chat(MODEL).status == 200


def test_a_stop_lets_answers_end_and_stores_all(several: Server, sandbox: SandboxProcess) -> None:
    """The last test of this server."""
    sandbox.fault("slow_drip", delay_s=0.1, times=1)
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    with several.open("POST", "/v1/chat/completions", body, several.key) as reply:
        assert reply.readline()
        several.signal(signal.SIGTERM)
        seen = read_stream(iter(reply))
    assert seen.done
    assert seen.error is None
    pids = [child.pid for child in children(several).values()]
    assert several.wait() == 0
    assert not any(psutil.pid_exists(pid) for pid in pids)
    stored = sqlite3.connect(several.data / "xrouter.db")
    last = "SELECT outcome FROM usage_events ORDER BY event_id DESC LIMIT 1"
    assert stored.execute(last).fetchall() == [("ok",)]
    stored.close()
