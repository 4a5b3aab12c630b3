"""What has been sent to providers and is not settled yet, where `kill -9` does not reach it.

Each process has a file of its own, mapped into its memory: a slot is written before a call goes
out and given up when its usage event is in the journal. The process holds a lock on the file;
whoever gets the lock of one knows that its process is dead, and that what is in the slots was
never settled. A power failure loses what is under way.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from typing_extensions import override

from xrouter.domain.track import Sent, Track
from xrouter.telemetry.logs import log

SLOTS = 4096
SLOT = 512
"""Bytes, of which two tell the length; 0 is an empty slot. What is longer is not kept."""

SUFFIX = ".underway"
_LENGTH = struct.Struct(">H")
_HEAD = _LENGTH.size
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sent).decode


class Underway(Track):
    """The slots of this process. Without a disk nothing is kept, and nothing fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._fd = -1
        self._map: mmap.mmap | None = None
        self._free: list[int] = []

    def open(self) -> None:
        """Make the file."""
        path = self._folder / f"{time.time_ns():020d}-{os.getpid()}{SUFFIX}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.pwrite(self._fd, bytes(SLOTS * SLOT), 0) < SLOTS * SLOT:
                raise OSError(28, "short write")
            self._map = mmap.mmap(self._fd, SLOTS * SLOT)
        except OSError as error:
            log.error("underway_refused", error=str(error), folder=str(self._folder))
            return
        self._path = path
        self._free = [place * SLOT for place in range(SLOTS)]

    @override
    def put(self, sent: Sent) -> int | None:
        record, free, slots = _encode(sent), self._free, self._map
        size = len(record)
        if slots is None or not free or size > SLOT - _HEAD:
            return None
        at = free.pop()
        start = at + _HEAD
        slots[start : start + size] = record
        _LENGTH.pack_into(slots, at, size)
        return at

    @override
    def clear(self, slot: int) -> None:
        if self._map is not None:
            _LENGTH.pack_into(self._map, slot, 0)
            self._free.append(slot)

    def close(self) -> None:
        """Nothing is under way any more."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Grave(Struct, frozen=True):
    """What a process that is dead had under way. lock: held until it is `forgotten`."""

    path: Path
    lock: int
    sent: list[Sent]

    def forget(self) -> None:
        """It is in the journal."""
        self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Leave it to others."""
        os.close(self.lock)


def graves(folder: Path) -> Iterator[Grave]:
    """Of all dead processes; whoever takes one must forget or release it."""
    for path in sorted(folder.glob("*" + SUFFIX)):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = list(_read(path.read_bytes()))
        except OSError:
            os.close(lock)
            continue
        yield Grave(path, lock, found)


def _read(data: bytes) -> Iterator[Sent]:
    for at in range(0, len(data), SLOT):
        size = _LENGTH.unpack_from(data, at)[0]
        if not size:
            continue
        try:
            yield _decode(data[at + _HEAD : at + _HEAD + size])
        except msgspec.MsgspecError as error:
            log.error("underway_damaged", at=at, error=str(error))
