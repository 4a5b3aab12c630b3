"""What changes while the server runs: effective within about a second, without a restart."""

from __future__ import annotations

import sqlite3

from tests.e2e.fixtures import Servers
from tests.e2e.harness import Answer, Server, until

SOON_S = 3.0
"""Seconds. A second is the promise; the machine that tests it has much to do."""


def _becomes(server: Server, model: str, key: str, status: int) -> Answer:
    """Wait until a request is answered with this status; it must be so soon."""
    last: list[Answer] = []

    def look() -> bool:
        last.append(server.chat(model, key=key))
        return last[-1].status == status

    until(look, f"{model} answers {status}", SOON_S)
    return last[-1]


def _database(server: Server) -> sqlite3.Connection:
    connection = sqlite3.connect(server.data / "xrouter.db", timeout=10, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _copy_model(db: sqlite3.Connection, model_id: str, adapter: str) -> None:
    """Insert a row as a person would who has looked at another one."""
    db.execute(
        "INSERT INTO llm_models (model_id, provider, adapter_class, display_name)"
        f" SELECT '{model_id}', provider, {adapter}, 'By hand' FROM llm_models"
        " WHERE model_id = 'openai/gpt-4o-mini'"
    )


def test_models_through_the_command_line(servers: Servers) -> None:
    server = servers().start()
    missing = server.chat("openai/gpt-4.1-new")
    assert (missing.status, missing.error["code"]) == (404, "model_not_found")

    done = server.command("models", "add", "openai/gpt-4.1-new", "--upstream", "gpt-4.1")
    assert done.returncode == 0, done.stderr
    answer = _becomes(server, "openai/gpt-4.1-new", server.key, 200)
    assert answer.json["model"] == "openai/gpt-4.1-new"

    assert server.command("models", "disable", "openai/gpt-4.1-new").returncode == 0
    off = _becomes(server, "openai/gpt-4.1-new", server.key, 503)
    assert off.error["code"] == "model_unavailable"
    listed = server.ask("GET", "/v1/models", key=server.key).json["data"]
    assert "openai/gpt-4.1-new" not in {model["id"] for model in listed}

    assert server.command("models", "enable", "openai/gpt-4.1-new").returncode == 0
    _becomes(server, "openai/gpt-4.1-new", server.key, 200)
    assert server.command("models", "remove", "openai/gpt-4.1-new").returncode == 0
    _becomes(server, "openai/gpt-4.1-new", server.key, 404)


def test_a_row_written_by_hand(servers: Servers) -> None:
    """Adding a model is a row: another program may write it."""
    server = servers().start()
    with _database(server) as db:
        _copy_model(db, "openai/by-hand", "adapter_class")
        db.execute(
            "INSERT INTO llm_model_versions (llm_model_id, label, upstream)"
            " SELECT id, 'only', 'gpt-4o-mini' FROM llm_models WHERE model_id = 'openai/by-hand'"
        )
    db.close()
    _becomes(server, "openai/by-hand", server.key, 200)

    with _database(server) as db:
        db.execute("UPDATE llm_models SET is_available = 0 WHERE model_id = 'openai/by-hand'")
    db.close()
    _becomes(server, "openai/by-hand", server.key, 503)

    with _database(server) as db:
        db.execute("DELETE FROM llm_models WHERE model_id = 'openai/by-hand'")
    db.close()
    _becomes(server, "openai/by-hand", server.key, 404)


def test_rows_that_make_no_sense_do_not_harm_the_others(servers: Servers) -> None:
    server = servers().start()
    with _database(server) as db:
        _copy_model(db, "openai/broken", "'no.such.Adapter'")
    db.close()
    until(lambda: "no.such.Adapter" in server.err, "the row is reported")
    assert server.chat("openai/broken").status == 404
    assert server.chat("openai/gpt-4o-mini").status == 200


def test_keys(servers: Servers) -> None:
    server = servers().start()
    made = server.command("keys", "create", "for a test")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key.startswith("sk-xr-")
    _becomes(server, "openai/gpt-4o-mini", key, 200)

    listed = {each["name"]: each for each in server.control("GET", "/keys")["data"]}
    revoked = server.command("keys", "revoke", listed["for a test"]["key_id"])
    assert revoked.returncode == 0, revoked.stderr
    refused = _becomes(server, "openai/gpt-4o-mini", key, 401)
    assert refused.error["code"] == "invalid_api_key"
    assert server.chat("openai/gpt-4o-mini").status == 200, "other keys are good as before"


def test_a_revoked_key_does_not_end_its_stream(servers: Servers) -> None:
    """It was admitted; the next request is not."""
    server = servers().start()
    made = server.control("POST", "/keys", {"name": "streams"})
    body = {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "[[words:60]] [[pause:0.03]]"}],
        "stream": True,
    }

    def accepted() -> bool:
        return server.chat("openai/gpt-4o-mini", key=made["key"]).status == 200

    until(accepted, "the key is known")
    with server.open("POST", "/v1/chat/completions", body, made["key"]) as reply:
        assert reply.readline()
        server.control("POST", f"/keys/{made['key_id']}/revoke")
        _becomes(server, "openai/gpt-4o-mini", made["key"], 401)
        assert b"[DONE]" in reply.read()


def test_a_standby_takes_over_without_a_restart(servers: Servers) -> None:
    server = servers(OPENAI_BASE_URL="http://127.0.0.1:9/v1").start()
    assert server.chat("openai/gpt-4o-mini").error["code"] == "upstream_unreachable"

    good = servers.sandbox.environment["OPENAI_BASE_URL"]
    done = server.command(
        *("providers", "standby", "openai", "--base-url", good),
        *("--credential", "api_key=sk-sandbox"),
    )
    assert done.returncode == 0, done.stderr
    answer = _becomes(server, "openai/gpt-4o-mini", server.key, 200)
    assert answer.headers["x-xrouter-attempts"] == "2"


def test_a_provider_is_switched_off_and_on(servers: Servers) -> None:
    server = servers().start()
    assert server.command("providers", "disable", "openai").returncode == 0
    off = _becomes(server, "openai/gpt-4o-mini", server.key, 503)
    assert off.error["code"] == "model_unavailable"
    assert server.chat("gigachat/GigaChat-2").status == 200
    assert server.command("providers", "enable", "openai").returncode == 0
    _becomes(server, "openai/gpt-4o-mini", server.key, 200)


def test_a_provider_of_another_name(servers: Servers) -> None:
    """The same language at another address: registered, synced and asked while it runs."""
    server = servers().start()
    url = servers.sandbox.environment["OPENAI_BASE_URL"]
    adapters = server.control("GET", "/adapters")["data"]
    adapter = next(a["adapter_class"] for a in adapters if a["provider"] == "openai-compatible")
    done = server.command(
        *("providers", "add", "acme", "--base-url", url, "--adapter", adapter),
        *("--credential", "api_key=sk-sandbox"),
    )
    assert done.returncode == 0, done.stderr
    answer = _becomes(server, "acme/gpt-4o-mini", server.key, 200)
    assert answer.json["model"] == "acme/gpt-4o-mini"
