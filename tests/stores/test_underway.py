"""Slots that outlive the process that wrote them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xrouter.domain.track import Sent
from xrouter.stores import underway
from xrouter.stores.underway import SLOT, SUFFIX, Underway, graves

_DIES = """
import os, signal, sys
from pathlib import Path
from tests.stores.test_underway import sent
from xrouter.stores.underway import Underway
track = Underway(Path(sys.argv[1]))
track.open()
slots = [track.put(sent(number)) for number in range(4)]
track.clear(slots[1])
track.put(sent(9))
track.clear(slots[2])
print("written", flush=True)
sys.stdin.read()
"""


def sent(number: int, **changes: str) -> Sent:
    words = {"key_id": "k", "project": "p", "asked": "m", "model": "a/m"} | changes
    return Sent(
        event_id=f"event-{number}",
        request_id=f"req-{number}",
        at=1.5,
        end_user=None,
        version="1",
        provider="a",
        endpoint="e",
        attempts=1,
        calls=1,
        streamed=True,
        characters=number,
        **words,
    )


def test_what_a_killed_process_had_under_way_is_found_once(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _DIES, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        assert list(graves(tmp_path)) == [], "it is alive"
        process.send_signal(signal.SIGKILL)
    (grave,) = graves(tmp_path)
    assert sorted(each.event_id for each in grave.sent) == ["event-0", "event-3", "event-9"]
    assert sent(3) in grave.sent
    assert list(graves(tmp_path)) == [], "another one has it"
    grave.release()
    (grave,) = graves(tmp_path)
    grave.forget()
    assert not list(tmp_path.iterdir())


def test_a_process_that_ends_properly_leaves_nothing(tmp_path: Path) -> None:
    track = Underway(tmp_path / "new")
    track.open()
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [SUFFIX]
    track.close()
    assert not list((tmp_path / "new").iterdir())
    assert track.put(sent(1)) is None
    track.clear(0)


def test_slots_are_bounded_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(underway, "SLOTS", 3)
    track = Underway(tmp_path)
    track.open()
    slots = [track.put(sent(number)) for number in range(4)]
    assert slots[3] is None
    assert len({*slots}) == 4
    track.clear(slots[0] or 0)
    assert track.put(sent(5)) == slots[0]
    track.clear(slots[1] or 0)
    assert track.put(sent(6, asked="m" * SLOT)) is None, "it is too long"
    assert track.put(sent(7)) == slots[1]
    track.close()


def test_without_a_disk_nothing_is_kept_and_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    track = Underway(tmp_path / "file")
    track.open()
    assert track.put(sent(1)) is None
    track.close()


def test_what_is_damaged_is_left_out(tmp_path: Path) -> None:
    good = msgpack(sent(1))
    slots = [b"", b"\xc1nonsense", good]
    data = b"".join((len(s).to_bytes(2, "big") + s).ljust(SLOT, b"\0") for s in slots)
    (tmp_path / f"1{SUFFIX}").write_bytes(data)
    (grave,) = graves(tmp_path)
    assert grave.sent == [sent(1)]
    grave.forget()


def msgpack(one: Sent) -> bytes:
    return underway._encode(one)
