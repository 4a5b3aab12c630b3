"""`xrouter db move`: to another database, with everything."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.harness import Shell

from xrouter.app.presence import ServerLock
from xrouter.domain.usage import UsageEvent
from xrouter.stores.journal.writer import JournalWriter


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A router with a key, and an event that is in the journal yet."""
    shell = Shell(tmp_path / "var")
    shell.run("keys", "create", "first")
    journal = JournalWriter(shell.data / "journal")
    journal.append(
        UsageEvent(
            event_id="01M7Y4PX1H221BZ3XYG2DH8N07",
            request_id="req_1",
            at=1795234165.5,
            operation="chat",
            project="default",
            status=200,
            outcome="ok",
            tokens_in=7,
            tokens_out=12,
        )
    )
    journal.close()
    return shell


def test_there_and_back(shell: Shell, postgres_url: str, tmp_path: Path) -> None:
    keys = shell.json("keys", "list")
    out = shell.out("db", "move", "--to", postgres_url)
    assert "tokens_in 7, tokens_out 12" in out
    assert "Now set XROUTER_DATABASE_URL to it" in out
    there = Shell(shell.data, {"XROUTER_DATABASE_URL": postgres_url})
    assert there.json("keys", "list") == keys
    assert there.json("usage") == shell.json("usage")
    figures = there.json("db", "move", "--to", f"sqlite:///{tmp_path / 'back.db'}")
    back = Shell(shell.data, {"XROUTER_DATABASE_URL": f"sqlite:///{tmp_path / 'back.db'}"})
    assert back.json("keys", "list") == keys
    assert {"api_keys", "usage_events"} <= {each["table"] for each in figures if each["rows"]}


def test_what_is_refused(shell: Shell, postgres_url: str) -> None:
    own = f"sqlite:///{(shell.data / 'xrouter.db').resolve()}"
    assert "configured already" in shell.refused("db", "move", "--to", own)
    assert "cannot be read" in shell.refused("db", "move", "--to", "nonsense")
    secret = postgres_url.replace("xrouter@", "xrouter:pass-word@").replace("/xrouter_", "/none_")
    said = shell.run("db", "move", "--to", secret, code=1)
    assert "pass-word" not in "".join(said)
    lock = ServerLock(shell.data)
    try:
        assert "The server is running." in shell.refused("db", "move", "--to", postgres_url)
    finally:
        lock.release()
    shell.out("db", "move", "--to", postgres_url)
    _, err = shell.run("db", "move", "--to", postgres_url, code=1)
    assert "The target is not empty" in err
