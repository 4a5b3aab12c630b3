"""Connections, evenly spread over the workers that accept from one socket.

Whoever wakes first would take all of a crowd, and keep it as long as clients keep connections. So
each worker writes down how many it has, where all can see it, and who is ahead of another leaves
the next one to them, for a moment.
"""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from typing_extensions import override

from xrouter.app.accept import Acceptor
from xrouter.edge.entrance import Protocols

FILE = "connections"
AHEAD = 1
PAUSE_S = 0.002
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


class SpreadAcceptor(Acceptor):
    """Accepts for one worker. count: the connections that it has."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        protocol: Protocols,
        spread: Spread,
        number: int,
        count: Callable[[], int],
    ) -> None:
        """number: of the worker, from 1."""
        super().__init__(sockets, protocol)
        self._spread = spread
        self._number = number
        self._count = count
        self._has_waited = False

    @override
    def start(self, backlog: int) -> None:
        self.note()
        super().start(backlog)

    def note(self) -> int:
        """Let the others know how many there are."""
        count = self._count() + len(self.coming)
        self._spread.note(self._number, count)
        return count

    @override
    def is_welcome(self, listener: socket.socket, /) -> bool:
        """Who is ahead of another leaves the next one to them, for a moment."""
        if not self._has_waited and self.note() > self._spread.least() + AHEAD:
            self._has_waited = True
            self.pause(listener, PAUSE_S)
            return False
        self._has_waited = False
        return True
