"""Tasks that go on after the answer: named, bounded, and ended with the door."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from xrouter.domain.errors import UpstreamOverloaded

MAX_TASKS = 1000

_log = logging.getLogger(__name__)


class Background:
    """The running ones, by name."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def has_room(self) -> None:
        """Raise UpstreamOverloaded when too many run already."""
        if len(self._tasks) >= MAX_TASKS:
            raise UpstreamOverloaded(
                "Too many requests run in the background already.", retry_after=5.0
            )

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run it. What it raises is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._over(name, done))

    def cancel(self, name: str) -> bool:
        """End it; whether it was running here."""
        task = self._tasks.get(name)
        return task is not None and task.cancel()

    async def close(self) -> None:
        """End all of them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and task.exception() is not None:
            _log.error("defect in the background, name=%s", name, exc_info=task.exception())
