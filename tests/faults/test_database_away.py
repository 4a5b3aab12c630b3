"""The database is away: who is known is answered all the same, and nothing is lost."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
from tests.e2e.fixtures import Servers
from tests.e2e.harness import Server, until
from tests.services.postgres import Postgres

from xrouter.domain.identity import new_key

MODEL = "openai/gpt-4o-mini"


def _metric(server: Server, name: str) -> float:
    for line in server.ask("GET", "/metrics").body.decode().splitlines():
        if line.startswith(name + " "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no metric {name}")


def _hide(server: Server) -> list[tuple[Path, Path]]:
    """Put the SQLite files away, and a folder in their place."""
    moved = []
    for path in server.data.glob("xrouter.db*"):
        hidden = server.folder / path.name
        path.rename(hidden)
        moved.append((path, hidden))
    (server.data / "xrouter.db").mkdir()
    return moved


def _answers_from_what_it_knows(server: Server, key: str) -> None:
    """Known keys are good, unknown ones cannot be judged, nonsense is refused."""
    answer = server.chat(MODEL, key=key)
    assert answer.status == 200, answer.body
    unknown = server.chat(MODEL, key=new_key())
    assert (unknown.status, unknown.error["code"]) == (503, "not_ready")
    assert "retry-after" in unknown.headers
    assert server.chat(MODEL, key="sk-nonsense").status == 401
    assert server.ask("GET", "/v1/models", key=key).status == 200
    ready = server.ask("GET", "/health/ready")
    assert (ready.status, ready.json["stale"]) == (200, True)
    assert _metric(server, "xrouter_catalog_stale") == 1


def test_a_start_without_the_database(servers: Servers) -> None:
    server = servers().start()
    key = server.key
    server.stop()
    moved = _hide(server)
    server.start()

    _answers_from_what_it_knows(server, key)
    answer = server.chat(MODEL, key=key)
    until(lambda: '"database_away"' in server.err, "it is reported")
    assert server.err.count('"catalog_not_read"') <= 1, "one line, not one each second"

    (server.data / "xrouter.db").rmdir()
    for path, hidden in moved:
        hidden.rename(path)
    until(lambda: server.chat(MODEL, key=new_key()).status == 401, "keys can be judged again")
    assert "stale" not in server.ask("GET", "/health/ready").json
    until(
        lambda: answer.headers["x-request-id"] in {e["request_id"] for e in server.events()},
        "what happened meanwhile is stored",
    )
    made = server.control("POST", "/keys", {"name": "after"})
    until(lambda: server.chat(MODEL, key=made["key"]).status == 200, "new keys are good")


def test_without_database_and_snapshot_it_does_not_start(servers: Servers) -> None:
    """It would know neither a key nor a model."""
    server = servers()
    server.data.mkdir()
    (server.data / "xrouter.db").mkdir()
    server.start(wait=False)

    assert server.wait() == 1
    assert "database" in server.err.lower()
    assert "Traceback" not in server.err
    assert server.out == ""


def test_postgres_goes_and_comes_back_under_load(
    servers: Servers, postgres: Postgres, postgres_url: str
) -> None:
    server = servers(XROUTER_DATABASE_URL=postgres_url).start()
    answered: list[str] = []
    refused: list[str] = []
    enough = threading.Event()

    def ask_on() -> None:
        while not enough.is_set():
            answer = server.chat(MODEL)
            kept = answered if answer.status == 200 else refused
            kept.append(answer.headers["x-request-id"])

    askers = [threading.Thread(target=ask_on) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        until(lambda: len(answered) > 20, "requests are answered")
        postgres.stop()
        until(lambda: _metric(server, "xrouter_catalog_stale") == 1, "it is noticed")
        gone_at = len(answered)
        until(lambda: len(answered) > gone_at + 50, "requests are answered all the same")
        _answers_from_what_it_knows(server, server.key)
        control = server.ask("GET", "/control/v1/keys", key=_token(server))
        assert control.status == 503
        assert control.error["code"]
        until(lambda: '"usage_not_drained"' in server.err, "the drain has noticed too")
    finally:
        postgres.start()
        enough.set()
        for asker in askers:
            asker.join()
    back_at = time.monotonic()
    until(lambda: _metric(server, "xrouter_catalog_stale") == 0, "it can be asked again")
    assert time.monotonic() - back_at < 30
    until(
        lambda: set(answered) <= {event["request_id"] for event in server.events()},
        "all are stored",
    )
    counted = Counter(event["request_id"] for event in server.events())
    assert refused == []
    assert max(counted.values()) == 1
    assert server.err.count('"catalog_not_read"') == 1
    assert server.err.count('"usage_not_drained"') == 1


def test_a_start_while_postgres_is_away(
    servers: Servers, postgres: Postgres, postgres_url: str
) -> None:
    server = servers(XROUTER_DATABASE_URL=postgres_url).start()
    key = server.key
    server.stop()
    postgres.stop()
    try:
        server.start()
        _answers_from_what_it_knows(server, key)
    finally:
        postgres.start()
    until(lambda: server.chat(MODEL, key=new_key()).status == 401, "keys can be judged again")


def test_postgres_stands_still(servers: Servers, postgres: Postgres, postgres_url: str) -> None:
    """Connections stay open and nothing is answered: no request waits for it."""
    server = servers(XROUTER_DATABASE_URL=postgres_url).start()
    server.chat(MODEL)
    processes = postgres_processes(postgres)
    for process in processes:
        process.suspend()
    try:
        answers = [server.chat(MODEL) for _ in range(20)]
        streamed = server.chat(MODEL, stream=True)
    finally:
        for process in processes:
            process.resume()
    assert {answer.status for answer in (*answers, streamed)} == {200}
    ids = {answer.headers["x-request-id"] for answer in (*answers, streamed)}
    until(lambda: ids <= set(_stored(server)), "all are stored")
    until(lambda: len(_stored(server)) >= 22, "the first one, too")
    stored = _stored(server)
    assert len(stored) == len(set(stored)) == 22


def _stored(server: Server) -> list[str]:
    """The requests in the database; none of them while it cannot be asked."""
    answer = server.ask("GET", "/control/v1/usage?limit=1000", key=_token(server))
    assert answer.status in (200, 503), answer.body
    return [event["request_id"] for event in answer.json["data"]] if answer.status == 200 else []


def postgres_processes(postgres: Postgres) -> list[psutil.Process]:
    """The server and its children, the server last."""
    port = str(postgres.service.port)
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "-p" in command and command[command.index("-p") + 1] == port:
            return [*process.children(recursive=True), process]
    raise AssertionError("no PostgreSQL runs")


def test_another_program_holds_the_sqlite_file(servers: Servers) -> None:
    """A writer that does not end: requests are answered, the rest waits for it."""
    server = servers().start()
    server.chat(MODEL)
    until(lambda: len(server.events()) == 1, "the database is in use")
    other = sqlite3.connect(server.data / "xrouter.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        ids = {server.chat(MODEL).headers["x-request-id"] for _ in range(10)}
        assert server.chat(MODEL, stream=True).status == 200
        until(lambda: '"usage_not_drained"' in server.err, "it is reported")
        assert len(server.events()) == 1
    finally:
        other.execute("ROLLBACK")
        other.close()
    until(lambda: len(server.events()) == 12, "all are stored")
    assert ids <= {event["request_id"] for event in server.events()}


def _token(server: Server) -> str:
    return (server.data / "admin.token").read_text().strip()


# --- a gateway: the data plane alone


def test_a_gateway_answers_from_the_snapshot_and_its_journal_is_drained(servers: Servers) -> None:
    server = servers().start()
    gateway = servers(bare=True).start("--role", "gateway")
    until(lambda: gateway.ask("GET", "/health/ready").status == 200, "the gateway is ready")

    answer = gateway.chat(MODEL, key=server.key)
    assert answer.status == 200
    stream = gateway.chat(MODEL, key=server.key, stream=True)
    assert b"[DONE]" in stream.body
    until(
        lambda: (
            {answer.headers["x-request-id"], stream.headers["x-request-id"]}
            <= {event["request_id"] for event in server.events()}
        ),
        "its events are in the database",
    )
    assert gateway.ask("GET", "/control/v1/keys", key=_token(server)).status == 404

    made = server.control("POST", "/keys", {"name": "new"})
    until(lambda: gateway.chat(MODEL, key=made["key"]).status == 200, "a new key is good", 5)
    server.control("POST", f"/keys/{made['key_id']}/revoke")
    until(lambda: gateway.chat(MODEL, key=made["key"]).status == 401, "and revoked", 5)

    assert gateway.chat(MODEL, key=new_key()).status == 401
    server.kill()
    last = gateway.chat(MODEL, key=server.key)
    assert last.status == 200
    until(
        lambda: gateway.chat(MODEL, key=new_key()).status == 503,
        "without its control plane it cannot judge unknown keys",
    )
    assert gateway.stop() == 0
    server.start()
    until(
        lambda: last.headers["x-request-id"] in {e["request_id"] for e in server.events()},
        "what it wrote while alone is stored later",
    )


def test_a_gateway_without_a_snapshot_waits_for_one(servers: Servers) -> None:
    gateway = servers(bare=True).start("--role", "gateway")
    assert gateway.ask("GET", "/health/ready").status == 503
    early = gateway.chat(MODEL, key=new_key())
    assert (early.status, early.error["code"]) == (503, "not_ready")

    server = servers().start()
    until(lambda: gateway.chat(MODEL, key=server.key).status == 200, "it has a snapshot", 10)
    assert gateway.ask("GET", "/health/ready").status == 200
