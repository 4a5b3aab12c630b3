"""What keeps the server from starting is said in one readable line."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.fixtures import Servers
from tests.e2e.harness import Server, until


def _does_not_start(server: Server, *, cold: bool = False) -> str:
    """What it says instead."""
    server.start(wait=False, cold=cold)
    code = server.wait()
    said = server.err
    assert code not in (0, -11), said
    assert server.out == ""
    assert "Traceback" not in said, said
    return said


def test_a_second_server_on_the_same_folder(servers: Servers) -> None:
    first = servers().start()
    second = servers()
    said = _does_not_start(second)
    assert "already uses this data folder" in said
    assert first.url in said
    assert "XROUTER_DATA_DIR" in said
    assert first.chat("openai/gpt-4o-mini").status == 200
    first.kill()
    second.start()
    assert second.chat("openai/gpt-4o-mini", key=first.key).status == 200


@pytest.mark.parametrize(
    "name,value",
    [
        ("XROUTER_PORT", "abc"),
        ("XROUTER_PORT", "70000"),
        ("XROUTER_PORT", ""),
        ("XROUTER_GRACE", "-1"),
        ("XROUTER_MAX_BODY", "1"),
        ("XROUTER_SANDBOX", "maybe"),
        ("XROUTER_LOG_LEVEL", "loud"),
        ("XROUTER_FOO", "1"),
        ("XROUTER_POTR", "8080"),
    ],
)
def test_wrong_settings_are_named(servers: Servers, name: str, value: str) -> None:
    said = _does_not_start(servers(bare=True, **{name: value}))
    assert name in said, said
    assert len(said.splitlines()) <= 3, said


@pytest.mark.parametrize("url", ["mysql://localhost/x", "nonsense", "sqlite://"])
def test_a_wrong_database_url(servers: Servers, url: str) -> None:
    said = _does_not_start(servers(bare=True, XROUTER_DATABASE_URL=url))
    assert "postgresql://user:password@host/database" in said
    assert len(said.splitlines()) <= 2, said


def test_several_wrong_settings_have_a_line_each(servers: Servers) -> None:
    said = _does_not_start(servers(bare=True, XROUTER_PORT="abc", XROUTER_GRACE="x"), cold=True)
    named = {line.partition(":")[0] for line in said.splitlines()}
    assert {"XROUTER_PORT", "XROUTER_GRACE"} <= named


def test_a_secret_in_a_wrong_setting_is_not_shown(servers: Servers) -> None:
    said = _does_not_start(
        servers(bare=True, XROUTER_DATABASE_URL="mysql://me:canary-password@localhost/x")
    )
    assert "canary-password" not in said


def test_a_settings_file(servers: Servers) -> None:
    server = servers(bare=True, XROUTER_SANDBOX="off")
    file = server.folder / "xrouter.toml"
    file.write_text("max_body = 2048\n")
    server.start()
    assert server.chat("openai/gpt-4o-mini", "x" * 4000).status == 413
    assert server.stop() == 0

    file.write_text("prot = 1\n")
    assert "prot" in _does_not_start(server).lower()
    file.write_text("port = = 1\n")
    assert "xrouter.toml" in _does_not_start(server)


def test_a_port_that_is_taken(servers: Servers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = servers(bare=True, XROUTER_PORT=str(port))
        server.start(wait=False)
        assert server.wait() == 1
        assert "XROUTER_PORT" in server.err
        assert str(port) in server.err
        assert server.out == "", "no key was given out"
    server.start()
    assert server.key, "the first start that succeeds is the first start"


def test_a_data_folder_that_cannot_be_one(servers: Servers) -> None:
    server = servers(bare=True)
    server.data.write_text("a file")
    said = _does_not_start(server)
    assert str(server.data) in said
    assert "XROUTER_DATA_DIR" in said


def test_a_data_folder_that_cannot_be_made(servers: Servers) -> None:
    """Not even by root."""
    said = _does_not_start(servers(bare=True, XROUTER_DATA_DIR="/proc/nowhere/var"))
    assert "/proc/nowhere/var" in said
    assert "XROUTER_DATA_DIR" in said


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 100])
def test_a_damaged_master_key(servers: Servers, content: bytes) -> None:
    server = servers(bare=True)
    server.data.mkdir()
    (server.data / "master.key").write_bytes(content)
    assert "master.key" in _does_not_start(server)


def test_a_lost_master_key_is_not_replaced_in_silence(servers: Servers) -> None:
    server = servers().start()
    server.stop()
    (server.data / "master.key").unlink()
    assert "master.key is missing" in _does_not_start(server)
    assert not (server.data / "master.key").exists()


def test_another_master_key_than_the_databases(servers: Servers) -> None:
    """The file was lost and a new one made: nothing is sealed anew that the old one could open."""
    server = servers().start()
    server.stop()
    (server.data / "master.key").write_bytes(os.urandom(32))
    (server.data / "snapshot.sealed").unlink()
    before = _credentials(server)
    assert "filled with another master key" in _does_not_start(server)
    assert _credentials(server) == before
    done = server.command("providers", "list")
    assert done.returncode == 1
    assert "filled with another master key" in done.stderr


def _credentials(server: Server) -> list[Any]:
    with closing(sqlite3.connect(server.data / "xrouter.db")) as db:
        return db.execute("SELECT id, credential FROM provider_endpoints ORDER BY id").fetchall()


def test_a_database_of_a_newer_version(servers: Servers) -> None:
    """Nothing is done to it; from the last snapshot requests are answered all the same."""
    server = servers().start()
    server.stop()
    _set_revision(server.data / "xrouter.db", "9999")
    key = server.key
    server.start()
    until(lambda: "9999" in server.err, "it is reported")
    assert server.chat("openai/gpt-4o-mini", key=key).status == 200
    server.stop()

    (server.data / "snapshot.sealed").unlink()
    assert "9999" in _does_not_start(server)


def _set_revision(database: Path, revision: str) -> None:
    db = sqlite3.connect(database)
    db.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    db.commit()
    db.close()
