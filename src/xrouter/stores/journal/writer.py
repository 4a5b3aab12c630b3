"""The writing end of the journal: one `write` to the kernel for each event, before the answer ends.

Each process writes segments of its own and holds a lock on the current one; whoever gets the
lock of a segment knows that its writer is done with it. What is written survives `kill -9`;
`sync` bounds what a power failure can take.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
from typing_extensions import override

from xrouter.domain.ports import Journal
from xrouter.domain.usage import UsageEvent
from xrouter.stores.journal.frames import MAX_EVENT, SUFFIX, frame
from xrouter.telemetry.logs import log

SEGMENT_BYTES = 8 << 20
MAX_BYTES = 2 << 30
MAX_WAITING = 10_000
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC


_TEXT = 200


def _essence(event: UsageEvent) -> UsageEvent:
    """The event with its texts cut short."""
    values = msgspec.structs.asdict(event)
    short: dict[str, Any] = {k: v[:_TEXT] if isinstance(v, str) else v for k, v in values.items()}
    return UsageEvent(**short)


class JournalWriter(Journal):
    """Appends events. When the disk refuses, keeps a bounded number in memory and tries again.

    events_lost: how many could be kept neither on disk nor in memory.
    """

    def __init__(
        self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, max_bytes: int = MAX_BYTES
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._encode = msgspec.json.Encoder().encode
        self._waiting: deque[bytes] = deque()
        self._fd = -1
        self._size = 0
        self._dirty = False
        self.events_lost = 0

    @override
    def append(self, event: UsageEvent) -> bytes:
        payload = self._encode(event)
        if len(payload) > MAX_EVENT:
            log.error("usage_event_too_large", event_id=event.event_id, bytes=len(payload))
            payload = self._encode(_essence(event))
        record = frame(payload)
        if self._waiting:
            self._keep(record)
            self.retry()
        elif not self._write(record):
            self._keep(record)
        return payload

    def retry(self) -> None:
        """Write what the disk refused earlier, in order, as far as it goes."""
        while self._waiting and self._write(self._waiting[0]):
            self._waiting.popleft()

    @property
    def unsynced(self) -> bool:
        """Whether something was written since the last `sync`."""
        return self._dirty

    def sync(self) -> None:
        """Force what was written to the disk; takes milliseconds, call it in a thread."""
        if self._dirty and self._fd >= 0:
            self._dirty = False
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Write what waits, give the segment up."""
        self.retry()
        self._close_segment()

    @property
    def waiting(self) -> int:
        """Events in memory because the disk refused them."""
        return len(self._waiting)

    def _write(self, record: bytes) -> bool:
        size = len(record)
        try:
            if self._fd < 0 or self._size + size > self._segment_bytes:
                self._open_segment()
            if os.write(self._fd, record) != size:
                os.ftruncate(self._fd, self._size)
                raise OSError(28, "short write")
        except OSError as error:
            if not self._waiting:
                log.error("journal_refused", error=str(error), folder=str(self._folder))
            return False
        self._size += size
        self._dirty = True
        return True

    def _keep(self, record: bytes) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self.events_lost += 1
        else:
            self._waiting.append(record)

    def _open_segment(self) -> None:
        self._close_segment()
        held = sum(path.stat().st_size for path in self._folder.glob("*" + SUFFIX))
        if held >= self._max_bytes:
            raise OSError(28, f"the journal holds {held} bytes, its limit is {self._max_bytes}")
        self._fd, self._size = self._made(), 0

    def _made(self) -> int:
        """A segment that is locked by us and still there: a reader may have found it in between,
        empty and nobody's, and taken it away.
        """
        while True:
            path = self._folder / f"{time.time_ns():020d}-{os.getpid()}{SUFFIX}"
            fd = os.open(path, _NEW, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)

    def _close_segment(self) -> None:
        if self._fd >= 0:
            os.fdatasync(self._fd)
            os.close(self._fd)
            self._fd = -1
