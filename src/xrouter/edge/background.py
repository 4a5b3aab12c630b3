"""Tasks that go on after the answer: named, bounded, and ended with the door."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from msgspec import Struct

from xrouter.domain.errors import RateLimited, UpstreamOverloaded
from xrouter.domain.ports import SERVER_SHUTDOWN

MAX_TASKS = 1000
MAX_OF_ONE = 250
"""Places that one holder may have at a time."""

CANCELLED = "cancelled"
"""The message with which a task is cancelled because somebody asked for it."""

PATIENCE_S = 10.0
"""Seconds that those which should end by themselves have when the door closes."""

_AGAIN_S = 5.0
_END_S = 5.0

_log = logging.getLogger(__name__)


class _Place(Struct):
    """holder: whose it is. task: None as long as it is only reserved. ends: see `start`."""

    holder: str
    task: asyncio.Task[None] | None = None
    ends: bool = False


class Background:
    """The running ones, by name."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    def reserve(self, name: str, holder: str) -> None:
        """Hold a place until `start` or `release`.

        Raises UpstreamOverloaded when too many run already, RateLimited when too many are this
        holder's.
        """
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
        """Run it. What it raises is logged. ends: it is given time when the door closes."""
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

    async def close(self) -> None:
        """End all of them; those that should end by themselves have some time for it."""
        running = [(place, place.task) for place in self._places.values() if place.task is not None]
        for place, task in running:
            if not place.ends:
                task.cancel(SERVER_SHUTDOWN)
        awaited = [task for place, task in running if place.ends]
        if awaited:
            _, late = await asyncio.wait(awaited, timeout=PATIENCE_S)
            for task in late:
                task.cancel(SERVER_SHUTDOWN)
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        place = self._places.get(name)
        if place is not None and place.task is task:
            del self._places[name]
        if not task.cancelled() and task.exception() is not None:
            _log.error("defect in the background, name=%s", name, exc_info=task.exception())
