"""Kept answers in a local SQLite file, sealed: they hold what people asked and were told.

Written behind: `keep` only notes, `flush` (in a thread, about ten times a second) writes. Several
processes on one data folder share the file, so it is not in WAL mode: SQLite before 3.51.3 may
damage such a file when two of them write.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from typing_extensions import override

from xrouter.domain.history import ResponseStore, StoredJob, StoredResponse
from xrouter.stores.vault import Vault, VaultError
from xrouter.telemetry.logs import log

ABANDONED_S = 60.0
KEPT_S = 30 * 24 * 3600.0
PRUNE_EVERY_S = 600.0
MAX_WAITING_BYTES = 64 << 20
_BUSY_MS = 5000
_TABLE = """
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY, project TEXT NOT NULL, created_at REAL NOT NULL, sealed BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS responses_by_age ON responses (created_at);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, seen_at REAL NOT NULL, sealed BLOB NOT NULL
) WITHOUT ROWID;
"""
_WRITE = "INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?)"
_READ = "SELECT sealed FROM responses WHERE id = ? AND project = ? AND created_at > ?"
_REMOVE = "DELETE FROM responses WHERE id = ? AND project = ?"
_PRUNE = "DELETE FROM responses WHERE created_at < ?"
_SIZE = "SELECT sum(length(sealed)) FROM responses"
_BY_AGE = "SELECT id, length(sealed) FROM responses ORDER BY created_at"
_BEGIN = "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?)"
_FINISH = "DELETE FROM jobs WHERE id = ?"
_ALIVE = "UPDATE jobs SET seen_at = ? WHERE owner = ?"
_JOBS = "SELECT id, owner, seen_at, sealed FROM jobs WHERE owner <> ?"
_CLAIM = "UPDATE jobs SET owner = ?, seen_at = ? WHERE id = ? AND owner = ?"
_RELEASE = "UPDATE jobs SET seen_at = 0 WHERE owner = ?"

_SEALED = ("responses", "jobs")
"""Tables with `id` and `sealed`."""

_decode = msgspec.msgpack.Decoder(StoredResponse).decode
_encode = msgspec.msgpack.Encoder().encode


class ResponseFile(ResponseStore):
    """kept_s: how long an answer is kept. max_bytes: of all of them; the oldest go first.

    The file is opened with the first use. Answers that the disk refuses stay in memory, up to
    MAX_WAITING_BYTES; then the oldest of them are lost, and that is logged.
    """

    def __init__(
        self,
        path: Path,
        vault: Vault,
        *,
        kept_s: float = KEPT_S,
        max_bytes: int = 4 << 30,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._vault = vault
        self._kept_s = kept_s
        self._max_bytes = max_bytes
        self._now = now
        self._me = f"{platform.node()}/{os.getpid()}/{uuid.uuid4().hex}"
        self._lock = threading.Lock()
        self._notes = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._waiting: dict[str, StoredResponse] = {}
        self._waiting_bytes = 0
        self._pruned_at = float("-inf")

    @override
    def keep(self, response: StoredResponse) -> None:
        with self._notes:
            self._drop(response.id)
            self._waiting[response.id] = response
            self._waiting_bytes += _size(response)
            while self._waiting_bytes > MAX_WAITING_BYTES:
                lost = next(iter(self._waiting))
                self._drop(lost)
                log.error("response_not_kept", response_id=lost, reason="the disk is too slow")

    @override
    async def find(self, response_id: str, project: str) -> StoredResponse | None:
        waiting = self._waiting.get(response_id)
        if waiting is not None:
            return waiting if waiting.project == project else None
        sealed = await asyncio.to_thread(self._read, response_id, project)
        newer = self._waiting.get(response_id)
        if newer is not None:  # it was kept while the file was read
            return newer if newer.project == project else None
        if sealed is None:
            return None
        try:
            return _decode(self._vault.open(sealed, _context(response_id)))
        except (VaultError, msgspec.MsgspecError) as error:
            log.error("response_not_readable", response_id=response_id, error=str(error))
            return None

    @override
    async def remove(self, response_id: str, project: str) -> bool:
        await asyncio.to_thread(self.flush)
        with self._notes:
            waiting = self._waiting.get(response_id)
            if waiting is not None and waiting.project == project:
                self._drop(response_id)
        return await asyncio.to_thread(self._delete, response_id, project)

    @override
    async def begin(self, job: StoredJob) -> None:
        sealed = self._vault.seal(job.data, _context(job.id))
        await asyncio.to_thread(self._change, _BEGIN, (job.id, self._me, self._now(), sealed))

    @override
    async def finish(self, job_id: str) -> None:
        await asyncio.to_thread(self.flush)  # the answer is on disk before its job is forgotten
        await asyncio.to_thread(self._change, _FINISH, (job_id,))

    @override
    async def abandoned(self) -> list[StoredJob]:
        if self._file is None and not self._path.exists():
            return []
        jobs: list[StoredJob] = []
        for name, blob in await asyncio.to_thread(self._claim):
            try:
                jobs.append(StoredJob(name, self._vault.open(blob, _context(name))))
            except VaultError as error:
                log.error("job_not_readable", response_id=name, error=str(error))
                await asyncio.to_thread(self._change, _FINISH, (name,))
        return jobs

    def has_work(self) -> bool:
        """Whether `flush` would do something."""
        return bool(self._waiting) or (
            self._file is not None and self._now() - self._pruned_at >= PRUNE_EVERY_S
        )

    def flush(self) -> None:
        """Write what is waiting; what cannot be written waits on. Never raises."""
        now = self._now()
        todo: list[StoredResponse] = []
        if not self.has_work():
            return
        try:
            with self._lock:
                with self._notes:  # what is removed after this is removed from the file, too
                    todo = list(self._waiting.values())
                file = self._opened()
                with file:
                    file.executemany(_WRITE, [self._row(each) for each in todo])
                    if now - self._pruned_at >= PRUNE_EVERY_S:
                        self._prune(file, now)
        except (sqlite3.Error, OSError) as error:
            log.error("responses_not_written", error=str(error), waiting=len(todo))
            return
        with self._notes:
            for each in todo:
                if self._waiting.get(each.id) is each:
                    self._drop(each.id)

    def close(self) -> None:
        """Write what is waiting and close the file."""
        self.flush()
        with self._lock:
            if self._file is not None:
                with self._file:
                    self._file.execute(_RELEASE, (self._me,))
                self._file.close()
                self._file = None

    def reseal(self) -> int:
        """Seal what is kept with the newest master key; how many values were with another.

        Those that no key opens stay. Raises sqlite3.Error, OSError.
        """
        done = 0
        if not self._path.exists():
            return done
        with self._lock:
            file = self._opened()
            with file:
                for table in _SEALED:
                    ids = file.execute(f"SELECT id FROM {table}").fetchall()  # noqa: S608
                    done += sum(self._renew(file, table, name) for (name,) in ids)
        return done

    def _renew(self, file: sqlite3.Connection, table: str, name: str) -> bool:
        read = f"SELECT sealed FROM {table} WHERE id = ?"  # noqa: S608
        old = bytes(file.execute(read, (name,)).fetchone()[0])
        try:
            new = self._vault.renewed(old, _context(name))
        except VaultError:
            return False
        if new != old:
            file.execute(f"UPDATE {table} SET sealed = ? WHERE id = ?", (new, name))  # noqa: S608
        return new != old

    def _drop(self, response_id: str) -> None:
        gone = self._waiting.pop(response_id, None)
        if gone is not None:
            self._waiting_bytes -= _size(gone)

    def _row(self, each: StoredResponse) -> tuple[str, str, float, bytes]:
        sealed = self._vault.seal(_encode(each), _context(each.id))
        return (each.id, each.project, each.created_at, sealed)

    def _read(self, response_id: str, project: str) -> bytes | None:
        with self._lock:
            oldest = self._now() - self._kept_s
            found = self._opened().execute(_READ, (response_id, project, oldest)).fetchone()
        return None if found is None else bytes(found[0])

    def _change(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock:
            file = self._opened()
            with file:
                file.execute(statement, values)

    def _claim(self) -> list[tuple[str, bytes]]:
        now = self._now()
        with self._lock:
            file = self._opened()
            with file:
                file.execute(_ALIVE, (now, self._me))
                return [
                    (name, sealed)
                    for name, owner, seen_at, sealed in file.execute(_JOBS, (self._me,)).fetchall()
                    if (seen_at < now - ABANDONED_S or _is_dead(owner))
                    and file.execute(_CLAIM, (self._me, now, name, owner)).rowcount
                ]

    def _delete(self, response_id: str, project: str) -> bool:
        with self._lock:
            file = self._opened()
            with file:
                return file.execute(_REMOVE, (response_id, project)).rowcount > 0

    def _prune(self, file: sqlite3.Connection, now: float) -> None:
        self._pruned_at = now
        file.execute(_PRUNE, (now - self._kept_s,))
        over = (file.execute(_SIZE).fetchone()[0] or 0) - self._max_bytes
        gone: list[tuple[str]] = []
        for name, size in file.execute(_BY_AGE) if over > 0 else ():
            gone.append((name,))
            over -= size
            if over <= 0:
                break
        file.executemany("DELETE FROM responses WHERE id = ?", gone)

    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            self._path.touch(0o600)
            file = sqlite3.connect(self._path, check_same_thread=False)
            file.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            with suppress(sqlite3.OperationalError):  # another has it open in the mode of old
                file.execute("PRAGMA journal_mode=TRUNCATE")
            file.executescript(_TABLE)
            self._file = file
        return self._file


def _is_dead(owner: str) -> bool:
    """Whether it was a process of this machine that is gone; of others nothing is known."""
    host, pid, _ = owner.split("/")
    if host != platform.node() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _size(response: StoredResponse) -> int:
    return len(response.body) + len(response.input) + len(response.items)


def _context(response_id: str) -> str:
    return f"responses/{response_id}"
