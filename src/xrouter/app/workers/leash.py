"""What the supervisor and its children tell each other.

Orders come as lines on the child's standard input, and its end means that the supervisor is gone.
The child's word goes to its standard output, a line of JSON; an empty line is a beat of its heart.
"""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, cast

import msgspec
from msgspec import Struct
from typing_extensions import override

Role = Literal["worker", "control"]

GO, STOP, HURRY = "go", "stop", "hurry"
BEAT_S = 1.0
WHERE = signal.SIGUSR2
"""A child that gets it writes to standard error what all its threads are doing."""
CONTROL_SOCKET = "control.sock"
LOG_LOCK = "log.lock"


class Task(Struct, frozen=True):
    """What a child is to be.

    number: of the post, from 1. name: of this process, once in all. folder: where the processes
    meet. control: the control process' socket. sockets: descriptors that are listened on. url:
    where the door is. first: it is the first start of this role, not a replacement.
    """

    role: Role
    number: int
    name: str
    folder: str
    control: str
    workers: int
    sockets: list[int]
    url: str
    first: bool


class Word(Struct, omit_defaults=True):
    """What a child says, once: it is ready, or it has failed.

    text: what is to be printed when all are ready.
    """

    ready: bool
    text: str = ""
    message: str = ""
    hint: str | None = None


class Leash:
    """The child's end. on_stop, on_hurry: called once each, at most."""

    def __init__(self) -> None:
        self.going = asyncio.Event()
        self.stopping = asyncio.Event()
        self.on_stop: Callable[[], None] = self.stopping.set
        self.on_hurry: Callable[[], None] = self.stopping.set

    async def run(self) -> None:
        """Follow orders, to the end of the supervisor."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            order = line.decode().strip()
            if order == GO:
                self.going.set()
            elif order == HURRY:
                self.on_hurry()
            else:
                self._stop()
        self._stop()

    async def wait(self) -> bool:
        """Until the order to go on; False when it is the one to stop."""
        tasks = [asyncio.create_task(each.wait()) for each in (self.going, self.stopping)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        return not self.stopping.is_set()

    def _stop(self) -> None:
        if not self.stopping.is_set():
            self.stopping.set()
            self.on_stop()


def tell(word: Word) -> None:
    """Say it to the supervisor, if that is still there."""
    _say(msgspec.json.encode(word))


async def beat() -> None:
    """Until cancelled, say that the event loop of this process turns."""
    os.set_blocking(sys.stdout.fileno(), False)  # a supervisor that does not listen holds up nobody
    while True:
        _say(b"")
        await asyncio.sleep(BEAT_S)


def _say(line: bytes) -> None:
    with suppress(OSError):
        os.write(sys.stdout.fileno(), line + b"\n")


class _Locked(io.RawIOBase):
    """Standard error, of which only one process at a time writes whole batches."""

    def __init__(self, lock: Path) -> None:
        self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            at, fd = 0, sys.stderr.fileno()
            while at < len(data):
                at += os.write(fd, data[at:])
            return at
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def shared_stderr(folder: Path) -> io.TextIOWrapper:
    """For the log: lines of several processes stay whole."""
    raw = _Locked(folder / LOG_LOCK)
    buffer = cast("io.BufferedWriter", raw)  # only `write` is asked of it, and it has no buffer
    return io.TextIOWrapper(buffer, encoding="utf-8", write_through=True)
