"""A time limit for the work inside a `with` block: `asyncio.timeout` at a tenth of its cost.

    with Deadline(seconds):
        await something()        # TimeoutError when it takes longer

The same rule holds: only a cancellation that the deadline itself made becomes a TimeoutError.

All deadlines of a loop share one timer, set for the earliest of them. Hardly any deadline passes,
and those of a process are alike, so a new one seldom has to set the timer anew.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType


class _Watch:
    """The deadlines that run, of one thread's loop."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.running: set[Deadline] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.rings_at = 0.0

    def move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Another loop runs in this thread now; the deadlines of the last one are no more."""
        self.loop = loop
        self.running = set()
        self.timer = None

    def set_timer(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        """Ring at this time of the loop."""
        if self.timer is not None:
            self.timer.cancel()
        self.rings_at = at
        self.timer = loop.call_at(at, self.ring, loop)

    def ring(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel the work of all whose time is up, and wait for the next."""
        self.timer = None
        now = loop.time()
        for deadline in [each for each in self.running if each.ends_at <= now]:
            deadline.expire()
        if self.running:
            self.set_timer(loop, min(each.ends_at for each in self.running))


class _Thread(threading.local):
    """One for each thread."""

    def __init__(self) -> None:
        self.watch = _Watch()


_thread = _Thread()


class Deadline:
    """For one use, by the task that enters it. seconds: from entering on.

    ends_at: by the loop's clock; once it was entered.
    """

    __slots__ = ("_before", "_passed", "_seconds", "_task", "_watch", "ends_at")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._passed = False

    def __enter__(self) -> None:
        self._watch = watch = _thread.watch
        loop = watch.loop
        task = None if loop is None else asyncio.current_task(loop)
        if loop is None or task is None:  # asks the system for the process, so only now
            loop = asyncio.get_running_loop()
            task = asyncio.current_task(loop)
            if task is None:
                raise RuntimeError("a deadline is for the work of a task")
            if watch.loop is not loop:
                watch.move(loop)
        self._task = task
        self._before = task.cancelling()
        self.ends_at = ends_at = loop.time() + self._seconds
        watch.running.add(self)
        if watch.timer is None or ends_at < watch.rings_at:
            watch.set_timer(loop, ends_at)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if not self._passed:
            self._watch.running.discard(self)
            return
        ours = self._task.uncancel() <= self._before
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def expire(self) -> None:
        """Its time is up: cancel the work."""
        self._passed = True
        self._watch.running.discard(self)
        self._task.cancel()
