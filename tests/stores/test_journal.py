from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xrouter.domain.usage import UsageEvent, new_id
from xrouter.stores.journal import reader as journal_reader
from xrouter.stores.journal.frames import SUFFIX, frame, read_frame
from xrouter.stores.journal.reader import JournalReader
from xrouter.stores.journal.writer import MAX_WAITING, JournalWriter
from xrouter.telemetry.logs import log

SRC = Path(__file__).parents[2] / "src"


def event(number: int = 0) -> UsageEvent:
    return UsageEvent(
        event_id=new_id(), request_id=f"req-{number}", at=1.0, operation="chat", tokens_in=number
    )


def drain(reader: JournalReader, limit: int = 100) -> list[UsageEvent]:
    found: list[UsageEvent] = []
    while (batch := reader.batch(limit)).events:
        found += batch.events
        reader.commit(batch.position)
    reader.commit(batch.position)
    return found


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*" + SUFFIX))


def test_what_is_appended_can_be_read_at_once(tmp_path: Path) -> None:
    writer, reader = JournalWriter(tmp_path), JournalReader(tmp_path)
    events = [event(i) for i in range(10)]
    for each in events:
        writer.append(each)
    assert drain(reader) == events
    assert drain(reader) == []


def test_a_batch_tells_whether_more_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_reader, "READ_BYTES", 1000)
    monkeypatch.setattr(journal_reader, "BATCH_BYTES", 1000)
    writer, reader = JournalWriter(tmp_path), JournalReader(tmp_path)
    assert reader.batch(10).whole
    for _ in range(3):
        writer.append(event())
    assert reader.batch(10).whole
    assert not reader.batch(3).whole
    for _ in range(20):
        writer.append(event())
    assert not reader.batch(100).whole
    drain(reader)
    assert reader.batch(100).whole


def test_a_batch_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_reader, "READ_BYTES", 1000)
    writer, reader = JournalWriter(tmp_path), JournalReader(tmp_path)
    events = [event() for _ in range(40)]
    for each in events:
        writer.append(each)
    batch = reader.batch(100)
    assert batch.events == events
    assert batch.whole


@pytest.mark.parametrize("name, odd", [("a\x00b", True), ("a b", False), ("a\\b\n", False)])
def test_a_batch_tells_of_odd_texts(tmp_path: Path, name: str, odd: bool) -> None:
    writer, reader = JournalWriter(tmp_path), JournalReader(tmp_path)
    writer.append(msgspec.structs.replace(event(), model_requested=name))
    batch = reader.batch(10)
    assert batch.odd is odd
    reader.commit(batch.position)
    writer.append(event())
    assert not reader.batch(10).odd


def test_a_batch_that_was_not_committed_comes_again(tmp_path: Path) -> None:
    writer, reader = JournalWriter(tmp_path), JournalReader(tmp_path)
    writer.append(event(1))
    first = reader.batch(10)
    assert reader.batch(10).events == first.events
    reader.commit(first.position)
    assert reader.batch(10).events == []


def test_a_limit_cuts_batches_across_segments(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, segment_bytes=700)
    events = [event(i) for i in range(20)]
    for each in events:
        writer.append(each)
    assert len(segments(tmp_path)) > 2
    reader = JournalReader(tmp_path)
    assert len(reader.batch(7).events) == 7
    assert drain(reader, limit=7) == events


def test_drained_segments_are_deleted_but_not_the_one_in_use(tmp_path: Path) -> None:
    writer, reader = JournalWriter(tmp_path, segment_bytes=700), JournalReader(tmp_path)
    for i in range(20):
        writer.append(event(i))
    drain(reader)
    assert len(segments(tmp_path)) == 1
    writer.close()
    drain(reader)
    assert segments(tmp_path) == []


def test_a_torn_end_is_left_out_and_the_segment_ends(tmp_path: Path) -> None:
    whole = event(1)
    record = frame(b'{"event_id":"x"}')
    path = tmp_path / f"{new_id()}{SUFFIX}"
    writer = JournalWriter(tmp_path)
    writer.append(whole)
    writer.close()
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes() + record[:-3])
    reader = JournalReader(tmp_path)
    assert drain(reader) == [whole]
    assert segments(tmp_path) == []


@pytest.mark.parametrize("where", ["payload", "length", "zeros"])
def test_a_damaged_record_costs_itself_only(tmp_path: Path, where: str) -> None:
    writer = JournalWriter(tmp_path)
    events = [event(i) for i in range(1, 6)]
    for each in events:
        writer.append(each)
    path = segments(tmp_path)[0]
    raw = bytearray(path.read_bytes())
    size = len(raw) // 5
    start = 2 * size
    if where == "payload":
        raw[start + size // 2] ^= 0xFF
    elif where == "length":
        raw[start : start + 4] = b"\xff\xff\xff\xff"
    else:
        raw[start : start + size] = bytes(size)
    path.write_bytes(bytes(raw))
    assert drain(JournalReader(tmp_path)) == events[:2] + events[3:]
    writer.append(event(9))
    assert path.exists()


def test_a_length_that_leads_past_the_end_costs_its_record_only(tmp_path: Path) -> None:
    """It is a torn record as long as somebody writes, and damage afterwards."""
    writer = JournalWriter(tmp_path)
    events = [event(i) for i in range(1, 6)]
    for each in events:
        writer.append(each)
    writer.close()
    path = segments(tmp_path)[0]
    raw = bytearray(path.read_bytes())
    start = 2 * (len(raw) // 5)
    raw[start : start + 4] = (60_000).to_bytes(4, "big")
    path.write_bytes(bytes(raw))
    reader = JournalReader(tmp_path)
    with log.captured() as told:
        assert drain(reader) + drain(reader) == events[:2] + events[3:]
    assert [one["event"] for one in told] == ["journal_damaged"]
    assert segments(tmp_path) == []


def test_damage_at_the_end_does_not_stop_the_drain(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    events = [event(i) for i in range(3)]
    for each in events:
        writer.append(each)
    writer.close()
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes() + bytes(1000))
    later = JournalWriter(tmp_path)
    later.append(event(7))
    reader = JournalReader(tmp_path)
    found = drain(reader)
    assert found[:3] == events
    assert [one.tokens_in for one in found[3:]] == [7]
    assert not path.exists(), "what nobody can read is not kept for ever"


def test_damage_in_the_segment_in_use_is_told_once(tmp_path: Path) -> None:
    writer, reader = JournalWriter(tmp_path), JournalReader(tmp_path)
    writer.append(event(1))
    path = segments(tmp_path)[0]
    with path.open("ab") as file:
        file.write(bytes(100))
    with log.captured() as told:
        for _ in range(5):
            drain(reader)
        assert [one["event"] for one in told] == ["journal_damaged"]
        writer.append(event(2))
        assert [one.tokens_in for one in drain(reader)] == [2]
    assert path.exists()


def test_an_event_with_endless_texts_is_cut_short_not_lost(tmp_path: Path) -> None:
    writer, reader = JournalWriter(tmp_path), JournalReader(tmp_path)
    big = event(1)
    big.upstream_model = "x" * 200_000
    writer.append(big)
    writer.append(event(2))
    first, second = drain(reader)
    assert (first.event_id, first.tokens_in, len(first.upstream_model or "")) == (
        big.event_id,
        1,
        200,
    )
    assert second.tokens_in == 2


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_garbage_is_never_taken_for_an_event(data: bytes) -> None:
    try:
        found = read_frame(data, 0)
    except ValueError:
        found = None
    assert found is None


def test_a_refusing_disk_keeps_events_in_memory_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    writer = JournalWriter(folder, max_bytes=0)
    events = [event(i) for i in range(3)]
    for each in events:
        writer.append(each)
    assert writer.waiting == 3
    writer._max_bytes = 1 << 20
    writer.retry()
    assert writer.waiting == 0
    assert drain(JournalReader(folder)) == events


def test_memory_for_refused_events_is_bounded_and_losses_are_counted(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal", max_bytes=0)
    one = event()
    for _ in range(MAX_WAITING + 5):
        writer.append(one)
    assert writer.waiting == MAX_WAITING
    assert writer.events_lost == 5


def test_killed_writer_loses_nothing_it_has_appended(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from xrouter.domain.usage import UsageEvent
from xrouter.stores.journal.writer import JournalWriter
writer = JournalWriter(Path({str(tmp_path)!r}))
for i in range(10**9):
    writer.append(UsageEvent(event_id=str(i), request_id="r", at=0.0, operation="chat"))
    print(i, flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SRC)},
        text=True,
    )
    assert child.stdout is not None
    last = -1
    for line in child.stdout:
        last = int(line)
        if last >= 500:
            break
    child.send_signal(signal.SIGKILL)
    last = max([last, *[int(line) for line in child.stdout.read().split("\n")[:-1]]])
    child.wait()
    child.stdout.close()
    found = [e.event_id for e in drain(JournalReader(tmp_path), limit=1000)]
    assert found[: last + 1] == [str(i) for i in range(last + 1)]
    assert len(found) == len(set(found))
    assert segments(tmp_path) == []


def test_two_writers_share_a_folder(tmp_path: Path) -> None:
    one, two, reader = JournalWriter(tmp_path), JournalWriter(tmp_path), JournalReader(tmp_path)
    events = [event(i) for i in range(6)]
    for index, each in enumerate(events):
        (one if index % 2 else two).append(each)
    assert sorted(e.event_id for e in drain(reader)) == sorted(e.event_id for e in events)
    one.close()
    drain(reader)
    assert len(segments(tmp_path)) == 1


def test_a_segment_that_a_reader_took_away_while_it_was_made_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its lock it is empty and nobody's."""
    reader, lock = JournalReader(tmp_path), fcntl.flock
    meddling = [True]

    def flock(fd: int, how: int) -> None:
        if meddling:
            meddling.clear()
            reader.commit(reader.batch(100).position)
            assert not list(tmp_path.iterdir())
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    writer = JournalWriter(tmp_path)
    made = [event(number) for number in range(3)]
    for each in made:
        writer.append(each)
    assert not meddling
    assert drain(reader) == made
    writer.close()
