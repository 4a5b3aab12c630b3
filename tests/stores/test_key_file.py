from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from xrouter.domain.bounds import Bounds, compact
from xrouter.domain.errors import NotReady, Unauthenticated
from xrouter.domain.identity import KeyRecord, Principal, new_key
from xrouter.domain.secret import Secret
from xrouter.domain.snapshot import EMPTY, Snapshot
from xrouter.stores import key_file
from xrouter.stores.key_file import KeyFile, KeyFileInfo, KeyFileWriter
from xrouter.stores.memory.keys import MemoryKeyBook
from xrouter.stores.snapshot_file import SnapshotFile
from xrouter.stores.vault import Vault, VaultError
from xrouter.telemetry.logs import log

BOUNDS = Bounds(scopes=("chat",), models=frozenset({"acme/*"}), networks=(compact("10.0.0.0/8"),))
VAULT = Vault(bytes(range(32)))


def record(number: int, mac: bytes | None = None, **more: object) -> KeyRecord:
    bounds = BOUNDS if number % 2 else None
    principal = Principal(
        key_id=f"key_{number}", name=f"n{number}", rpm=number, groups=("lab",), bounds=bounds
    )
    made = KeyRecord(mac=mac or os.urandom(32), principal=principal, row=number, expires_at=1e9)
    return replace(made, **more)


def make(folder: Path, *records: KeyRecord, name: str = "keys-1.sealed") -> KeyFile:
    key = Secret(os.urandom(32).hex())
    writer = KeyFileWriter(folder / name, key)
    for each in records:
        writer.add(each)
    bits, table = writer.finish()
    return KeyFile(folder, KeyFileInfo(name=name, key=key, bits=bits, table=table))


@pytest.mark.parametrize("at_once", [7, 50_000])
def test_every_key_is_found_as_it_was_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """However few keys are in memory at a time."""
    monkeypatch.setattr(key_file, "_IN_MEMORY", at_once)
    records = [record(number) for number in range(9000)]
    shelf = make(tmp_path, *records)
    assert shelf.info.bits > 8
    assert [path.name for path in tmp_path.iterdir()] == [shelf.info.name], (
        "nothing is left beside it"
    )
    for each in records:
        assert shelf.find(each.mac) == each
        assert shelf.find(each.mac) == each, "and again, from memory"
    for each in records[:100]:
        assert shelf.find(each.mac[:-1] + bytes((each.mac[-1] ^ 1,))) is None
        assert shelf.find(each.mac[:16]) is None
        assert shelf.find(os.urandom(32)) is None
    assert shelf.named("key_8999") == records[-1]
    assert shelf.named("key_9000") is None
    assert not shelf.is_damaged


def test_an_empty_file_knows_nobody(tmp_path: Path) -> None:
    shelf = make(tmp_path)
    assert shelf.find(os.urandom(32)) is None
    assert shelf.named("key_1") is None


def test_the_secret_before_is_found_and_the_name_means_the_present_one(tmp_path: Path) -> None:
    old = record(1, is_replaced=True)
    new = replace(old, mac=os.urandom(32), is_replaced=False)
    shelf = make(tmp_path, new, old)
    assert (shelf.find(old.mac), shelf.find(new.mac)) == (old, new)
    assert shelf.named("key_1") == new


def test_of_two_keys_with_one_mac_the_last_counts(tmp_path: Path) -> None:
    first = record(1)
    assert make(tmp_path, first, record(2, first.mac)).find(first.mac) == record(2, first.mac)


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_file, "HITS", 10)
    monkeypatch.setattr(key_file, "MISSES", 20)
    records = [record(number) for number in range(100)]
    shelf = make(tmp_path, *records)
    reads = []
    read = shelf._read
    monkeypatch.setattr(shelf, "_read", lambda mac: reads.append(mac) or read(mac))  # type: ignore[func-returns-value]
    for each in records:
        shelf.find(records[0].mac)
        shelf.find(each.mac)
        shelf.find(os.urandom(32))
    assert len(reads) == 200, "each once; what is in use stays"
    for recent, most in ((shelf._hits, 10), (shelf._misses, 20)):
        assert 0 < len(recent._young) + len(recent._old) <= most


def test_nothing_of_it_can_be_read_without_the_snapshot(tmp_path: Path) -> None:
    shelf = make(tmp_path, *(record(number) for number in range(50)))
    data = (tmp_path / shelf.info.name).read_bytes()
    assert b"key_" not in data
    other = replace(shelf.info, key=Secret(os.urandom(32).hex()))
    with pytest.raises(NotReady):
        KeyFile(tmp_path, other).find(os.urandom(32))
    assert "Secret(***)" in repr(shelf.info)


def test_a_key_that_somebody_puts_there_lets_nobody_in(tmp_path: Path) -> None:
    """A bucket of another file, a changed bit, a bucket that is gone: all are noticed."""
    mine, wanted = record(1), os.urandom(32)
    shelf = make(tmp_path, mine)
    forged = make(tmp_path, record(2, wanted), name="keys-2.sealed")
    path = tmp_path / shelf.info.name
    data, other = path.read_bytes(), (tmp_path / forged.info.name).read_bytes()
    begins, ends = _span(shelf, wanted)
    theirs = other[slice(*_span(forged, wanted))]
    for changed in (theirs, data[begins : ends - 1] + bytes((data[ends - 1] ^ 1,)), b""):
        path.write_bytes(data[:begins] + changed + data[ends:])
        with pytest.raises((NotReady, VaultError)):
            KeyFile(tmp_path, shelf.info).find(wanted)
    path.write_bytes(data)
    assert KeyFile(tmp_path, shelf.info).find(wanted) is None


def test_a_bucket_that_lies_in_the_place_of_another_is_noticed(tmp_path: Path) -> None:
    """A revoked key is not hidden and none is put back by moving what is sealed."""
    records = [record(number) for number in range(500)]
    shelf = make(tmp_path, *records)
    path = tmp_path / shelf.info.name
    data = bytearray(path.read_bytes())
    spans = [_span(shelf, each.mac) for each in records]
    one, two = next(
        (a, b)
        for a, (begin, end) in enumerate(spans)
        for b, (start, stop) in enumerate(spans)
        if begin != start and end - begin == stop - start
    )
    data[slice(*spans[two])] = data[slice(*spans[one])]
    path.write_bytes(data)
    assert shelf.find(records[one].mac) == records[one]
    with pytest.raises(NotReady):
        shelf.find(records[two].mac)


def _span(shelf: KeyFile, mac: bytes) -> tuple[int, int]:
    number = int.from_bytes(mac[:4]) >> 32 - shelf.info.bits
    return shelf._begins[number], shelf._begins[number + 1]


def test_damage_is_told_once_and_the_other_keys_are_good(tmp_path: Path) -> None:
    records = [record(number) for number in range(100)]
    shelf = make(tmp_path, *records)
    with (tmp_path / shelf.info.name).open("r+b") as file:
        file.seek(_span(shelf, records[0].mac)[0])
        file.write(bytes(5))
    with log.captured() as logs:
        for _ in range(2):
            with pytest.raises(NotReady):
                shelf.find(records[0].mac)
    assert [entry["event"] for entry in logs] == ["key_file_damaged"]
    assert shelf.is_damaged
    good = [each for each in records if _span(shelf, each.mac) != _span(shelf, records[0].mac)]
    assert all(shelf.find(each.mac) == each for each in good)


def test_a_file_that_is_cut_short_is_no_end_of_the_process(tmp_path: Path) -> None:
    shelf = make(tmp_path, record(1))
    os.truncate(tmp_path / shelf.info.name, 10)
    with pytest.raises(NotReady):
        shelf.find(record(1).mac)
    with pytest.raises(VaultError):
        KeyFile(tmp_path, shelf.info)


def test_a_file_stays_open_when_it_is_removed_and_is_closed_at_the_end(tmp_path: Path) -> None:
    one = record(1)
    shelf = make(tmp_path, one)
    (tmp_path / shelf.info.name).unlink()
    assert shelf.find(one.mac) == one
    number = shelf._fd
    del shelf
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


# --- with the snapshot


def snapshot(shelf: KeyFile | None, **more: object) -> Snapshot:
    return replace(EMPTY, revision=1, shelf=shelf, **more)


def test_the_snapshot_goes_before_the_shelf(tmp_path: Path) -> None:
    keys = [new_key() for _ in range(4)]
    macs = [VAULT.mac(key) for key in keys]
    shelved = [record(number, mac, expires_at=None) for number, mac in enumerate(macs[:3])]
    changed = replace(shelved[1], principal=Principal(key_id="key_1", name="changed"))
    fresh = record(3, macs[3], expires_at=None)
    found = snapshot(
        make(tmp_path, *shelved),
        keys={changed.mac: changed, fresh.mac: fresh},
        unshelved=frozenset({1, 2}),
    )
    book = MemoryKeyBook(VAULT.mac)
    names = [book.find(keys[number], found).name for number in (0, 1, 3)]
    assert names == ["n0", "changed", "n3"]
    with pytest.raises(Unauthenticated):
        book.find(keys[2], found)
    with pytest.raises(NotReady):
        book.find(new_key(), replace(found, stale=True))
    with pytest.raises(Unauthenticated):
        book.find(keys[2], replace(found, stale=False))
    told = {key_id: found.key_named(key_id) for key_id in ("key_0", "key_1", "key_2", "key_3")}
    assert told == {"key_0": shelved[0], "key_1": changed, "key_2": None, "key_3": fresh}


def test_a_snapshot_file_names_and_opens_its_key_file(tmp_path: Path) -> None:
    one, two = record(1), record(2)
    saved = SnapshotFile(tmp_path / "snapshot.sealed", VAULT)
    saved.save(snapshot(make(tmp_path, one), unshelved=frozenset({7})))
    reader = SnapshotFile(tmp_path / "snapshot.sealed", VAULT)
    first = reader.load()
    assert first is not None
    assert first.shelf is not None
    assert first.shelf.find(one.mac) == one
    assert first.unshelved == {7}
    again = reader.load()
    assert again is not None
    assert again.shelf is first.shelf, "what it remembers stays"
    saved.save(snapshot(make(tmp_path, two, name="keys-2.sealed")))
    second = reader.load()
    assert second is not None
    assert second.shelf is not None
    assert second.shelf.find(two.mac) == two
    assert second.shelf.find(one.mac) is None
    assert first.shelf.find(one.mac) == one, "for who has the old snapshot still"


def test_key_files_go_when_nobody_can_be_about_to_open_them(tmp_path: Path) -> None:
    saved = SnapshotFile(tmp_path / "snapshot.sealed", VAULT)
    left: list[set[str]] = []
    (tmp_path / "keys-9.sealed.new").touch()  # somebody is making it
    for number in range(3):
        shelf = make(tmp_path, name=f"keys-{number}.sealed")
        for _ in range(2):
            saved.save(snapshot(shelf))
        left.append({path.name for path in tmp_path.glob("keys-?.sealed")})
    saved.save(snapshot(None))
    left.append({path.name for path in tmp_path.glob("keys-?.sealed")})
    first, second, third = (f"keys-{number}.sealed" for number in range(3))
    assert left == [{first}, {first, second}, {second, third}, {third}]
    assert (tmp_path / "keys-9.sealed.new").exists()


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_snapshot_without_its_key_file_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    saved = SnapshotFile(tmp_path / "snapshot.sealed", VAULT)
    shelf = make(tmp_path, record(1))
    saved.save(snapshot(shelf))
    path = tmp_path / shelf.info.name
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 1)
    with log.captured() as logs:
        assert SnapshotFile(tmp_path / "snapshot.sealed", VAULT).load() is None
    assert [entry["event"] for entry in logs] == ["snapshot_file_unreadable"]
