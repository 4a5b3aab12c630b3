"""Comments in silent streams, so that proxies and clients do not give up waiting."""

from __future__ import annotations

import asyncio

from xrouter.edge.reply import HttpReply

_LOOKS = 5


class Heartbeat:
    """One task for all open streams of the process; it looks five times in an interval.

    every: seconds of silence after which a stream gets a comment.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._replies: set[HttpReply] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, reply: HttpReply) -> None:
        """Watch over a stream."""
        self._replies.add(reply)

    def discard(self, reply: HttpReply) -> None:
        """The stream is over."""
        self._replies.discard(reply)
        reply.stop_pinging()

    def start(self) -> None:
        """Begin, on the running event loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._sweep())

    async def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._every / _LOOKS)
            for reply in self._replies:
                reply.ping_if_silent(self._every)
