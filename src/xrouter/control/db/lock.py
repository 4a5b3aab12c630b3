"""One writer for a SQLite file, whichever process it is in.

SQLite before 3.51.3 can damage a database in WAL mode when two connections write or checkpoint at
the same moment. Who writes holds a lock on a file beside the database until it is closed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

from xrouter.control.db.errors import DatabaseError, DatabaseTaken

WAIT_S = 5.0
_EVERY_S = 0.02


class WriterLock:
    """Held by the process that writes; the operating system frees it when the process ends."""

    def __init__(self, database: Path, wait_s: float = WAIT_S) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._wait_s = wait_s
        self._fd = -1

    async def acquire(self) -> None:
        """Take the lock, once. Raises DatabaseTaken when another holds it for `wait_s` seconds."""
        if self._fd >= 0:
            return
        try:
            async with asyncio.timeout(self._wait_s):
                while not self._try():  # noqa: ASYNC110 - another process holds it
                    await asyncio.sleep(_EVERY_S)
        except TimeoutError:
            raise DatabaseTaken(
                f"Another process ({self._holder()}) is writing to this database, and SQLite takes "
                "one.",
                hint="Use the control API of the running server, or stop it first. Several servers "
                "need PostgreSQL: `xrouter db move`.",
            ) from None

    def release(self) -> None:
        """Give it up. The file stays: deleting it would let two processes in."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _try(self) -> bool:
        if self._fd >= 0:
            return True
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DatabaseError(
                f"The lock {self._path} cannot be made: {error.strerror}.",
                hint="The folder of the database must exist and be writable.",
            ) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        self._fd = fd
        return True

    def _holder(self) -> str:
        try:
            return f"pid {int(self._path.read_text())}"
        except (OSError, ValueError):
            return "unknown"
