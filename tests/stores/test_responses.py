from __future__ import annotations

import asyncio
import platform
import sqlite3
import subprocess
from pathlib import Path

import msgspec
import pytest

from xrouter.domain.history import StoredJob, StoredResponse
from xrouter.stores import responses
from xrouter.stores.responses import ResponseFile
from xrouter.stores.vault import Vault, single

VAULT = Vault(bytes(32))


def kept(
    response_id: str, *, project: str = "p", at: float = 100.0, body: str = "b"
) -> StoredResponse:
    return StoredResponse(response_id, project, at, body.encode(), b"[]", b'["secret words"]')


def opened(folder: Path, at: float = 100.0, max_bytes: int = 1 << 30) -> ResponseFile:
    path = folder / "responses.sqlite"
    return ResponseFile(path, VAULT, kept_s=50.0, max_bytes=max_bytes, now=lambda: at)


async def test_what_was_kept_is_found_at_once_and_after_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path)
    one = kept("resp_1")
    store.keep(one)
    assert await store.find("resp_1", "p") == one
    store.close()
    again = opened(tmp_path)
    assert await again.find("resp_1", "p") == one
    assert await again.find("resp_2", "p") is None
    again.close()


async def test_the_file_may_be_written_by_several(tmp_path: Path) -> None:
    """In WAL mode SQLite before 3.51.3 can damage it; a file of old is changed."""
    old = sqlite3.connect(tmp_path / "responses.sqlite")
    old.execute("PRAGMA journal_mode=WAL")
    old.close()
    stores = [opened(tmp_path), opened(tmp_path)]
    for number, store in enumerate(stores):
        store.keep(kept(f"resp_{number}"))
        store.flush()
    assert await stores[0].find("resp_1", "p") == kept("resp_1")
    file = sqlite3.connect(tmp_path / "responses.sqlite")
    assert file.execute("PRAGMA journal_mode").fetchone() != ("wal",)
    file.close()
    for store in stores:
        store.close()


async def test_a_project_sees_only_its_own(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.keep(kept("resp_1"))
    assert await store.find("resp_1", "other") is None
    assert await store.remove("resp_1", "other") is False
    store.flush()
    assert await store.find("resp_1", "other") is None
    assert await store.remove("resp_1", "p") is True
    assert await store.find("resp_1", "p") is None
    assert await store.remove("resp_1", "p") is False
    store.close()


async def test_an_answer_is_on_disk_before_its_job_is_forgotten(tmp_path: Path) -> None:
    store = opened(tmp_path)
    await store.begin(StoredJob("resp_1", b"x"))
    store.keep(kept("resp_1"))
    await store.finish("resp_1")
    again = opened(tmp_path)  # as after a kill: the first one never flushed by itself
    assert await again.find("resp_1", "p") is not None
    for each in (store, again):
        each.close()


async def test_a_newer_one_replaces_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.keep(kept("resp_1", body="old"))
    store.flush()
    store.keep(kept("resp_1", body="new"))
    for _ in range(2):
        found = await store.find("resp_1", "p")
        assert found is not None
        assert found.body == b"new"
        store.flush()
    store.close()


async def test_the_file_tells_nothing_and_is_its_owners(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.keep(kept("resp_1"))
    store.close()
    path = tmp_path / "responses.sqlite"
    assert path.stat().st_mode & 0o077 == 0
    assert b"secret words" not in path.read_bytes()


async def test_what_is_old_is_gone(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.keep(kept("resp_1"))
    store.close()
    later = opened(tmp_path, at=151.0)
    assert await later.find("resp_1", "p") is None
    later.keep(kept("resp_2", at=151.0))
    later.close()
    with sqlite3.connect(tmp_path / "responses.sqlite") as file:
        assert file.execute("SELECT id FROM responses").fetchall() == [("resp_2",)]


async def test_the_oldest_make_room(tmp_path: Path) -> None:
    store = opened(tmp_path, max_bytes=3000)
    for number in range(4):
        store.keep(kept(f"resp_{number}", at=100.0 + number, body="x" * 1000))
    store.close()
    with sqlite3.connect(tmp_path / "responses.sqlite") as file:
        left = file.execute("SELECT id FROM responses ORDER BY id").fetchall()
    assert left == [("resp_2",), ("resp_3",)]


async def test_what_the_disk_refuses_waits_and_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_WAITING_BYTES", 2500)
    store = ResponseFile(tmp_path / "no folder" / "file", VAULT, now=lambda: 100.0)
    for number in range(3):
        store.keep(kept(f"resp_{number}", body="x" * 1000))
        store.flush()
    assert store.has_work()
    assert [n for n in range(3) if f"resp_{n}" in store._waiting] == [1, 2]
    (tmp_path / "no folder").mkdir()
    store.flush()
    assert await store.find("resp_2", "p") is not None
    store.close()


async def test_work_is_gone_on_with_by_another_process(tmp_path: Path) -> None:
    first = opened(tmp_path)
    await first.begin(StoredJob("a", b"half"))
    await first.begin(StoredJob("b", b"more"))
    await first.begin(StoredJob("a", b"all of it"))
    await first.finish("b")
    assert await first.abandoned() == []

    soon = opened(tmp_path, at=110.0)
    assert await soon.abandoned() == []
    later = opened(tmp_path, at=200.0)
    assert await later.abandoned() == [StoredJob("a", b"all of it")]
    assert await later.abandoned() == []
    later.close()
    after = opened(tmp_path, at=201.0)
    assert await after.abandoned() == [StoredJob("a", b"all of it")]
    await after.finish("a")
    for store in (first, soon, after):
        store.close()
    assert await opened(tmp_path, at=999.0).abandoned() == []


async def test_a_process_that_was_killed_leaves_its_work_at_once(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    first = opened(tmp_path)
    first._me = f"{platform.node()}/{gone.pid}/x"
    await first.begin(StoredJob("a", b"x"))
    other = opened(tmp_path, at=101.0)
    assert await other.abandoned() == [StoredJob("a", b"x")]
    first._me = "elsewhere/1/x"
    await first.begin(StoredJob("b", b"x"))
    assert await other.abandoned() == []
    for store in (first, other):
        store.close()


async def test_who_is_there_keeps_its_work(tmp_path: Path) -> None:
    clock = [100.0]
    first = ResponseFile(tmp_path / "responses.sqlite", VAULT, now=lambda: clock[0])
    await first.begin(StoredJob("a", b"x"))
    for at in (130.0, 160.0, 190.0):
        clock[0] = at
        assert await first.abandoned() == []
    other = opened(tmp_path, at=200.0)
    assert await other.abandoned() == []
    first.close()
    other.close()


async def test_what_was_given_up_is_kept_and_old_records_have_none(tmp_path: Path) -> None:
    store = opened(tmp_path)
    told = msgspec.structs.replace(kept("resp_1"), dropped=("seed",))
    store.keep(told)
    store.flush()
    assert await store.find("resp_1", "p") == told
    old = {
        name: getattr(told, name)
        for name in ("id", "project", "created_at", "body", "input", "items")
    }
    sealed = VAULT.seal(msgspec.msgpack.encode(old), "responses/resp_1")
    with sqlite3.connect(tmp_path / "responses.sqlite") as file:
        file.execute("UPDATE responses SET sealed = ?", (sealed,))
    assert await store.find("resp_1", "p") == kept("resp_1")
    store.close()


async def test_what_is_kept_while_the_file_is_read_is_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    store.keep(kept("resp_1", body="old"))
    store.flush()
    read = store._read

    def slow(response_id: str, project: str) -> bytes | None:
        found = read(response_id, project)
        store.keep(kept("resp_1", body="new"))
        return found

    monkeypatch.setattr(store, "_read", slow)
    found = await store.find("resp_1", "p")
    assert found is not None
    assert found.body == b"new"
    store._waiting.clear()
    assert await store.find("resp_1", "other") is None
    store.close()


async def test_what_is_removed_while_others_are_written_stays_away(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.keep(kept("resp_1"))
    with store._lock:  # a writer is under way, and comes to its turn only later
        writing = asyncio.create_task(asyncio.to_thread(store.flush))
        await asyncio.sleep(0)
        with store._notes:
            store._drop("resp_1")
    await writing
    assert await store.find("resp_1", "p") is None
    store.close()


async def test_all_is_sealed_with_the_newest_key(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    assert opened(tmp_path).reseal() == 0
    assert not path.exists()
    store = opened(tmp_path)
    one = kept("resp_1")
    store.keep(one)
    await store.begin(StoredJob("resp_2", b"half"))
    store.close()
    ring = single(bytes(32)).turned()
    several = ResponseFile(path, Vault(ring), kept_s=50.0, now=lambda: 100.0)
    assert several.reseal() == 2
    assert several.reseal() == 0
    several.close()
    newest = ResponseFile(path, Vault(ring.newest()), kept_s=50.0, now=lambda: 100.0)
    assert await newest.find("resp_1", "p") == one
    assert await newest.abandoned() == [StoredJob("resp_2", b"half")]
    newest.close()
    stranger = ResponseFile(path, Vault(bytes(range(32))), kept_s=50.0, now=lambda: 100.0)
    assert stranger.reseal() == 0
    stranger.close()
