"""Letting connections in: as many at a time as are there.

The event loop's own servers accept one connection in each of its turns. Under load a turn takes
milliseconds, so the last of a hundred clients that come at once would wait for a second.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress

from typing_extensions import override

from xrouter.app.sockets import bound
from xrouter.edge.entrance import Entrance, Protocols
from xrouter.edge.run import RunOptions
from xrouter.telemetry.logs import log

CROWD = 64
"""Let in at a time, before those inside get their turn."""

REFUSED_S = 0.5


class Acceptor(Entrance):
    """protocol: makes one for each connection. coming: those that do not have theirs yet."""

    def __init__(self, sockets: Sequence[socket.socket], protocol: Protocols) -> None:
        self._sockets = sockets
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        self.coming: set[asyncio.Task[None]] = set()

    @property
    @override
    def is_open(self) -> bool:
        return not self._is_closed

    @property
    @override
    def address(self) -> tuple[str, int]:
        name = self._sockets[0].getsockname()
        return name[0], name[1]

    @override
    def start(self, backlog: int) -> None:
        for each in self._sockets:
            each.listen(backlog)
            self._watch(each)

    @override
    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        for each in self._sockets:
            self._loop.remove_reader(each)
            each.close()

    def pause(self, listener: socket.socket, seconds: float) -> None:
        """Nobody comes from there for a while."""
        self._loop.remove_reader(listener)
        self._loop.call_later(seconds, self._watch, listener)

    def is_welcome(self, _listener: socket.socket, /) -> bool:
        """Whether one more may come now; who says no has paused the listener."""
        return True

    def _watch(self, listener: socket.socket) -> None:
        if not self._is_closed:
            self._loop.add_reader(listener, self._ready, listener)

    def _ready(self, listener: socket.socket) -> None:
        for _ in range(CROWD):
            if not self.is_welcome(listener):
                return
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors left, most likely
                log.error("connection_not_accepted", error=str(error))
                self.pause(listener, REFUSED_S)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._take(connection))
            self.coming.add(task)
            task.add_done_callback(self.coming.discard)

    async def _take(self, connection: socket.socket) -> None:
        with suppress(OSError):
            await self._loop.connect_accepted_socket(self._protocol, connection)


def entrance(options: RunOptions, protocol: Protocols) -> Acceptor:
    """The one of a server that is alone at its address. Raises OperatorError."""
    return Acceptor(bound(options.host, options.port), protocol)
