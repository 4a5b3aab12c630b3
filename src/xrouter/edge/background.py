"""Tasks that go on after the answer: named, bounded, and ended with the door.

When the server leaves, it begins with `leave`: nothing new is taken. What ends by itself (`ends`)
is given the grace of open requests, then it is cut.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from msgspec import Struct

from xrouter.domain.errors import NotReady, RateLimited, UpstreamOverloaded
from xrouter.domain.ports import SERVER_SHUTDOWN

MAX_TASKS = 1000
MAX_OF_ONE = 250
"""Places that one holder may have at a time."""

CANCELLED = "cancelled"
"""The message with which a task is cancelled because somebody asked for it."""

_AGAIN_S = 5.0
_LEAVING_RETRY_S = 1.0
_END_S = 5.0

_log = logging.getLogger(__name__)


class _Place(Struct):
    """holder: whose it is. task: None as long as it is only reserved. ends: see `start`.

    cut: it was told that the server leaves.
    """

    holder: str
    task: asyncio.Task[None] | None = None
    ends: bool = False
    cut: bool = False


class Background:
    """The running ones, by name."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._leaving = False

    @property
    def ending(self) -> int:
        """How many are worth waiting for when the server leaves, places reserved included."""
        return sum(place.ends or place.task is None for place in self._places.values())

    def reserve(self, name: str, holder: str) -> None:
        """Hold a place until `start` or `release`.

        Raises UpstreamOverloaded when too many run already, RateLimited when too many are this
        holder's, NotReady when the server leaves.
        """
        if self._leaving:
            raise NotReady(
                "The server is shutting down and begins nothing new in the background.",
                code=SERVER_SHUTDOWN,
                retry_after=_LEAVING_RETRY_S,
            )
        if len(self._places) >= MAX_TASKS:
            raise UpstreamOverloaded(
                "Too many requests run in the background already.", retry_after=_AGAIN_S
            )
        if sum(place.holder == holder for place in self._places.values()) >= MAX_OF_ONE:
            raise RateLimited(
                "Too many requests of this project run in the background already.",
                retry_after=_AGAIN_S,
            )
        self._places[name] = _Place(holder)

    def release(self, name: str) -> None:
        """Give up a place that was reserved."""
        self._places.pop(name, None)

    def start(
        self, name: str, work: Coroutine[Any, Any, None], *, holder: str = "", ends: bool = False
    ) -> None:
        """Run it. What it raises is logged. ends: it is given time when the server leaves."""
        task = asyncio.get_running_loop().create_task(work)
        self._places[name] = _Place(holder, task, ends)
        task.add_done_callback(lambda done: self._over(name, done))

    def running(self) -> list[tuple[str, str]]:
        """Name and holder of each that runs for somebody."""
        return [
            (name, place.holder)
            for name, place in self._places.items()
            if place.holder and place.task is not None
        ]

    async def cancel(self, name: str) -> None:
        """End it, if it runs here, and wait for its end for a bounded while."""
        place = self._places.get(name)
        if place is not None and place.task is not None:
            place.task.cancel(CANCELLED)
            await asyncio.wait([place.task], timeout=_END_S)

    def leave(self) -> None:
        """Reserve nothing any more; what runs goes on."""
        self._leaving = True

    def cut(self) -> None:
        """Tell all of them, once, that the server leaves; it does not wait for their end."""
        for place in self._places.values():
            if place.task is not None and not place.cut:
                place.cut = place.task.cancel(SERVER_SHUTDOWN)

    async def close(self) -> None:
        """End all of them, and wait for that for a bounded while."""
        self.leave()
        self.cut()
        running = [place.task for place in self._places.values() if place.task is not None]
        if running:
            await asyncio.wait(running, timeout=_END_S)

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        place = self._places.get(name)
        if place is not None and place.task is task:
            del self._places[name]
        if not task.cancelled() and task.exception() is not None:
            _log.error("defect in the background, name=%s", name, exc_info=task.exception())
