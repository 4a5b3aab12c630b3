"""The reading end of the journal: batches for the database, then the end of drained segments.

Nothing is remembered between runs: after a restart what is still there is read again, and the
database ignores the events that it has.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from msgspec import Struct

from xrouter.domain.usage import UsageEvent
from xrouter.stores.journal.frames import HEAD, MAX_EVENT, SUFFIX, next_frame, read_frame
from xrouter.telemetry.logs import log

_NUL = b"\\u0000"
READ_BYTES = 96 << 10
"""Read at once from a segment: more than the largest event, so that each reading moves on."""

_NOTHING = -1

BATCH_BYTES = 1 << 21
"""Of a segment in one batch, about: events may be large."""


class Batch(Struct, frozen=True):
    """Events and, for `commit`, where each segment has been read to.

    odd: some text may have a NUL in it, which not every database takes. whole: no more was there.
    """

    events: list[UsageEvent]
    position: dict[Path, int]
    odd: bool = False
    whole: bool = False


class JournalReader:
    """Reads all segments in a folder, whoever wrote them, oldest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_to: dict[Path, int] = {}
        self._unreadable: dict[Path, bytes] = {}
        self._odd = self._whole = False

    def batch(self, limit: int) -> Batch:
        """Up to `limit` events that were not committed yet; none when all are drained."""
        events: list[UsageEvent] = []
        position: dict[Path, int] = {}
        self._odd, self._whole = False, True
        for path in sorted(self._folder.glob("*" + SUFFIX)):
            if len(events) >= limit:
                break
            position[path] = self._read(path, limit, events)
        return Batch(events, position, self._odd, self._whole and len(events) < limit)

    def commit(self, position: dict[Path, int]) -> None:
        """The events of a batch are safe; segments that are over and drained are deleted."""
        for path, offset in position.items():
            ahead = _ahead(path, offset)
            self._read_to[path] = offset + max(0, ahead)
            if ahead > 0:
                log.error("journal_damaged", segment=path.name, offset=offset, error="no record")
            elif ahead == _NOTHING:
                path.unlink(missing_ok=True)
                self._read_to.pop(path, None)
                self._unreadable.pop(path, None)

    def _read(self, path: Path, limit: int, events: list[UsageEvent]) -> int:
        begin = at = self._read_to.get(path, 0)
        more = True
        try:
            with path.open("rb") as file:
                while more and len(events) < limit and at - begin < BATCH_BYTES:
                    file.seek(at)
                    data = file.read(READ_BYTES)
                    more = len(data) == READ_BYTES
                    if self._unreadable.get(path) == data:
                        break
                    at += self._take(path, at, data, limit, events)
        except FileNotFoundError:
            return at
        self._whole = self._whole and not more
        return at

    def _take(self, path: Path, at: int, data: bytes, limit: int, events: list[UsageEvent]) -> int:
        """How much of the data, which is that behind `at`, is done with."""
        self._odd = self._odd or _NUL in data
        offset = 0
        while len(events) < limit:
            try:
                found = read_frame(data, offset)
            except ValueError as error:
                skipped = next_frame(data, offset + 1)
                log.error(
                    "journal_damaged", segment=path.name, offset=at + offset, error=str(error)
                )
                if skipped is None:
                    kept = max(offset, len(data) - MAX_EVENT - HEAD.size + 1)
                    self._unreadable[path] = data[kept:]  # until more is written behind it
                    return kept
                offset = skipped
                continue
            if found is None:
                break
            event, offset = found
            events.append(event)
        return offset


def _ahead(path: Path, offset: int) -> int:
    """How far ahead the next whole record is in a segment whose writer has let go; _NOTHING when
    there is none (a torn end aside). 0 while it is written to.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _next_whole(fd, offset)
    except BlockingIOError:
        return 0
    finally:
        os.close(fd)


def _next_whole(fd: int, offset: int) -> int:
    size = os.fstat(fd).st_size - offset
    try:
        if read_frame(os.pread(fd, min(size, READ_BYTES), offset), 0) is not None:
            return 0
    except ValueError:
        pass
    found = next_frame(os.pread(fd, size, offset), 1)
    return _NOTHING if found is None else found
