"""Noticing that the caller left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from xrouter.edge.asgi import Receive

GONE = "http.disconnect"
CLIENT_GONE = "client_disconnected"


class Cancellation:
    """Cancels a request's task: once, with a reason, and only while it is armed.

    task: None for the one that runs; to find it is dearer than all the rest.
    """

    __slots__ = ("_armed", "_task", "reason")

    def __init__(self, task: asyncio.Task[None] | None = None) -> None:
        task = task or asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is handled in a task")
        self._task = task
        self._armed = True
        self.reason: str | None = None

    def cancel(self, reason: str) -> None:
        """Cancel the task, unless that was done before or the task has left its work."""
        if self._armed:
            self._armed = False
            self.reason = reason
            self._task.cancel(reason)

    def disarm(self) -> None:
        """From now on the task is not cancelled."""
        self._armed = False

    def is_ours(self) -> bool:
        """For a CancelledError just caught: whether it is this one's alone, and so is dealt with.

        False: somebody else wants the task to end, and the error must go on.
        """
        return self.reason is not None and self._task.uncancel() == 0


async def watch(receive: Receive, gone: Callable[[], None]) -> None:
    """Wait until the caller has left, then say so once. To be run after the body was read."""
    while (await receive())["type"] != GONE:
        pass
    gone()
