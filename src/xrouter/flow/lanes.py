"""How many calls an account takes at a time: the others wait in turn, for a bounded while."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from functools import partial

from typing_extensions import override

from xrouter.domain.errors import UpstreamOverloaded
from xrouter.domain.ports import SharedLanes
from xrouter.providers.base import Lane

_WAITING_PER_PLACE = 100
_MAX_IDLE = 1024


class _Queue:
    """One account: calls that run, and calls that wait, first come first served."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()


class Place:
    """A place in a lane. Whoever has it must leave; doing so twice is harmless."""

    __slots__ = ("_lane", "_lanes")

    def __init__(self, lanes: Lanes, lane: Lane) -> None:
        self._lanes: Lanes | None = lanes
        self._lane = lane

    def leave(self) -> None:
        """Give it back; the next in turn has it."""
        lanes, self._lanes = self._lanes, None
        if lanes is not None:
            lanes.leave(self._lane)


class Lanes:
    """The accounts in use."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, _Queue] = {}

    async def enter(self, lane: Lane) -> Place:
        """Wait for a place. Raises UpstreamOverloaded when too many wait already."""
        queue = self._queue(lane.key)
        if queue.running < lane.width and not queue.waiting:
            queue.running += 1
            return Place(self, lane)
        limit = _WAITING_PER_PLACE * lane.width if lane.waiting is None else lane.waiting
        if len(queue.waiting) >= limit:
            raise UpstreamOverloaded(
                "Too many requests wait for this provider already.",
                hint="Raise the endpoint's `max_running` or `concurrency` if it takes more.",
                retry_after=1.0,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place came, too late
                self.leave(lane)
            elif turn in queue.waiting:
                queue.waiting.remove(turn)
            raise
        return Place(self, lane)

    def leave(self, lane: Lane) -> None:
        """A place is free: the next in turn has it."""
        queue = self._queue(lane.key)
        queue.running -= 1
        while queue.waiting and queue.running < lane.width:
            turn = queue.waiting.popleft()
            if not turn.done():
                queue.running += 1
                turn.set_result(None)

    def _queue(self, key: Hashable) -> _Queue:
        queue = self._queues.get(key)
        if queue is None:
            self._forget_idle()
            queue = self._queues[key] = _Queue()
        return queue

    def _forget_idle(self) -> None:
        """Accounts that are not in use any more."""
        if len(self._queues) >= _MAX_IDLE:
            idle = [key for key, queue in self._queues.items() if not queue.running]
            for key in idle[: _MAX_IDLE // 2]:
                del self._queues[key]


class _SharedPlace(Place):
    """A place here and one among all processes. The next in turn here waits for both."""

    __slots__ = ("_holder", "_shared")

    def __init__(self, lanes: Lanes, lane: Lane, shared: SharedLanes, holder: str) -> None:
        super().__init__(lanes, lane)
        self._shared = shared
        self._holder = holder

    @override
    def leave(self) -> None:
        lanes, self._lanes = self._lanes, None
        if lanes is not None:
            self._shared.give(self._holder, then=partial(lanes.leave, self._lane))


class JointLanes(Lanes):
    """Lanes of several processes: after a place here, wait for one among them all."""

    def __init__(self, shared: SharedLanes) -> None:
        super().__init__()
        self._shared = shared

    @override
    async def enter(self, lane: Lane) -> Place:
        place = await super().enter(lane)
        try:
            holder = await self._shared.take(lane.key, lane.width)
        except BaseException:
            place.leave()
            raise
        return _SharedPlace(self, lane, self._shared, holder)
