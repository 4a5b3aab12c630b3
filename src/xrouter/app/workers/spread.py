"""Connections, evenly spread over the workers that accept from one socket.

Whoever wakes first would take all of a crowd, and keep it as long as clients keep connections. So
each worker writes down how many it has, where all can see it, and who is ahead of another leaves
the next one to them, for a moment.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from xrouter.telemetry.logs import log

FILE = "connections"
AHEAD = 1
PAUSE_S = 0.002
REFUSED_S = 0.5
ABSENT = 2**31 - 1
_BYTES = 4


class Spread:
    """How many connections each of so many workers has, in memory that they share."""

    def __init__(self, folder: Path, workers: int) -> None:
        """Raises OSError."""
        fd = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, workers * _BYTES)
            self._memory = mmap.mmap(fd, workers * _BYTES)
        finally:
            os.close(fd)
        self._counts = memoryview(self._memory).cast("i")

    def note(self, number: int, count: int) -> None:
        """So many has this worker; ABSENT when it is not there. number: from 1."""
        self._counts[number - 1] = count

    def least(self) -> int:
        """What the worker with the fewest has."""
        return min(self._counts)


class Acceptor:
    """Accepts for one worker. count: the connections that it has. protocol: makes one for each."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        spread: Spread,
        number: int,
        count: Callable[[], int],
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self._sockets = sockets
        self._spread = spread
        self._number = number
        self._count = count
        self._protocol = protocol
        self._coming: set[asyncio.Task[None]] = set()
        self._has_waited = False
        self._is_closed = False
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """From now on."""
        self.note()
        for each in self._sockets:
            self._listen(each)

    def note(self) -> int:
        """Let the others know how many there are."""
        count = self._count() + len(self._coming)
        self._spread.note(self._number, count)
        return count

    def close(self) -> None:
        """Accept no more; what waits is left to the others."""
        if self._is_closed:
            return
        self._is_closed = True
        for each in self._sockets:
            self._loop.remove_reader(each)
            each.close()

    def _listen(self, listener: socket.socket) -> None:
        if not self._is_closed:
            self._loop.add_reader(listener, self._ready, listener)

    def _ready(self, listener: socket.socket) -> None:
        if not self._has_waited and self.note() > self._spread.least() + AHEAD:
            self._has_waited = True
            self._pause(listener, PAUSE_S)
            return
        self._has_waited = False
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptors left, most likely
            log.error("connection_not_accepted", error=str(error))
            self._pause(listener, REFUSED_S)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._take(connection))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    def _pause(self, listener: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(listener)
        self._loop.call_later(seconds, self._listen, listener)

    async def _take(self, connection: socket.socket) -> None:
        with suppress(OSError):
            await self._loop.connect_accepted_socket(self._protocol, connection)
