"""The disk refuses: requests are answered, events are kept, and written when it can be done."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.fixtures import Servers
from tests.e2e.harness import Server, until
from tests.faults.test_database_away import _metric

MODEL = "openai/gpt-4o-mini"


def _ask(server: Server, times: int) -> set[str]:
    answers = [server.chat(MODEL) for _ in range(times)]
    assert {answer.status for answer in answers} == {200}
    return {answer.headers["x-request-id"] for answer in answers}


def _all_stored(server: Server, ids: set[str]) -> None:
    until(lambda: _metric(server, "xrouter_journal_events_waiting") == 0, "nothing waits")
    until(lambda: ids <= {e["request_id"] for e in server.events()}, "all are stored")
    stored = [event["request_id"] for event in server.events()]
    assert len(stored) == len(set(stored))
    assert _metric(server, "xrouter_journal_events_lost") == 0


def test_a_journal_that_cannot_be_written(servers: Servers) -> None:
    server = servers().start()
    journal = server.data / "journal"
    journal.rmdir()
    journal.write_text("not a folder")

    ids = _ask(server, 20)
    assert _metric(server, "xrouter_journal_events_waiting") == 20
    until(lambda: '"journal_refused"' in server.err, "it is reported")
    assert server.err.count('"journal_refused"') == 1
    journal.unlink()
    journal.mkdir()
    _all_stored(server, ids | _ask(server, 5))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB where the journal will be."""
    folder = tmp_path / "var" / "journal"
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_disk_that_is_full(servers: Servers, small_disk: Path) -> None:
    server = servers().start()
    ids = _ask(server, 3)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        _fill(filler)
    ids |= _ask(server, 40)
    assert _metric(server, "xrouter_journal_events_waiting") > 0
    until(lambda: '"journal_refused"' in server.err, "it is reported")

    filler.unlink()
    _all_stored(server, ids | _ask(server, 5))


def test_a_snapshot_file_that_cannot_be_written_harms_nobody(servers: Servers) -> None:
    server = servers().start()
    (server.data / "snapshot.new").mkdir()
    made = server.control("POST", "/keys", {"name": "new"})
    until(lambda: server.chat(MODEL, key=made["key"]).status == 200, "the new key is good")
    until(lambda: '"snapshot_not_saved"' in server.err, "it is reported")


@pytest.mark.parametrize("damage", [b"", b"nonsense"])
def test_a_damaged_snapshot_file_is_as_good_as_none(servers: Servers, damage: bytes) -> None:
    server = servers().start()
    key = server.key
    server.stop()
    (server.data / "snapshot.sealed").write_bytes(damage)
    server.start()
    until(lambda: '"snapshot_file_unreadable"' in server.err, "it is reported")
    assert server.chat(MODEL, key=key).status == 200
