"""A time limit for the work inside a `with` block: `asyncio.timeout` at a third of its cost.

    with Deadline(seconds):
        await something()        # TimeoutError when it takes longer

The same rule holds: only a cancellation that the deadline itself made becomes a TimeoutError.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """For one use, by the task that enters it. seconds: from entering on."""

    __slots__ = ("_before", "_handle", "_passed", "_seconds", "_task")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._passed = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is for the work of a task")
        self._task = task
        self._before = task.cancelling()
        self._handle = asyncio.get_running_loop().call_later(self._seconds, self._pass)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._handle.cancel()
        if not self._passed:
            return
        ours = self._task.uncancel() <= self._before
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def _pass(self) -> None:
        self._passed = True
        self._task.cancel()
