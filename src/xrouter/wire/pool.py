"""Connections that wait for their next request."""

from __future__ import annotations

import asyncio
import time

from msgspec import Struct

from xrouter.wire.connection import Connection
from xrouter.wire.types import Route

KEEP_ALIVE_S = 15.0


class Way(Struct, frozen=True, cache_hash=True):
    """Where a connection leads: what may carry one request may carry all that go the same way."""

    secure: bool
    authority: str
    route: Route


class Pool:
    """By where they lead. No limit: limits on concurrent calls are kept elsewhere, and visible."""

    def __init__(self) -> None:
        self._idle: dict[Way, list[Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def take(self, way: Way) -> Connection | None:
        """The one that was used last, None where there is none."""
        idle = self._idle.get(way)
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    def put(self, way: Way, connection: Connection) -> None:
        """Keep it for a while."""
        connection.idle_since = time.monotonic()
        idle = self._idle.get(way)
        if idle is None:
            idle = self._idle[way] = []
        idle.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(KEEP_ALIVE_S, self._swept)

    def close(self) -> None:
        """Let all go."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()

    def _swept(self) -> None:
        """Close those that nobody needed, and forget those that others have closed."""
        self._sweep = None
        oldest = time.monotonic() - KEEP_ALIVE_S
        for way, idle in list(self._idle.items()):
            fresh = [each for each in idle if each.usable and each.idle_since > oldest]
            for connection in idle:
                if connection not in fresh:
                    connection.abort()
            if fresh:
                self._idle[way] = fresh
            else:
                del self._idle[way]
        if self._idle:
            self._sweep = asyncio.get_running_loop().call_later(KEEP_ALIVE_S / 2, self._swept)
