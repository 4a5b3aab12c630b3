"""Places of accounts, shared by all processes: leases in Redis, handed out in the order of asking.

A process that ends without a word loses its places after LEASE_S, its turns after PATIENCE_S.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from importlib.resources import files
from itertools import count

from typing_extensions import override

from xrouter.domain.deadline import Deadline
from xrouter.domain.ports import SharedLanes
from xrouter.stores.redis.hearing import Hearing
from xrouter.stores.redis.link import PATIENT_S, Link, RedisAway

LEASE_S = 30.0
PATIENCE_S = 2.0
KEEP_EVERY_S = 5.0
LOOK_EVERY_S = 1.0
"""Between two looks whether Redis is back."""
FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.1
"""Between two looks of one who waits."""
HEARING_PAUSE_S = 0.5
"""The same, as long as free places are heard of."""
MAX_OWED = 10_000
FREED = b"xr:freed"

_SCRIPT = files("xrouter.stores.redis").joinpath("places.lua").read_text(encoding="utf-8")


class RedisLanes(SharedLanes):
    """Of one process. While Redis is away everybody gets a place at once."""

    def __init__(
        self, link: Link, hearing: Hearing, lease_s: float = LEASE_S, patience_s: float = PATIENCE_S
    ) -> None:
        self._link = link
        self._script = link.script(_SCRIPT)
        self._hearing = hearing
        self._lease = round(lease_s * 1e6)
        self._patience = round(patience_s * 1e6)
        self._process = os.urandom(8).hex()
        self._numbers = count(1)
        self._held: dict[str, str] = {}
        self._owed: dict[str, str] = {}
        self._waiting: defaultdict[str, deque[asyncio.Event]] = defaultdict(deque)
        hearing.on(FREED, lambda lane: self._call_next(lane.decode()), self._call_all)

    @override
    async def take(self, key: Hashable, width: int) -> str:
        lane = _name(key)
        holder = f"{self._process}:{next(self._numbers)}"
        try:
            if not await self._look(lane, width, holder):
                await self._wait(lane, width, holder)
        except RedisAway:
            pass  # left to our own limit
        except BaseException:
            self._owe(holder, lane)  # to be said twice: this may overtake what was asked
            self._link.later(self._say("give", lane, [holder]))
            raise
        self._held[holder] = lane
        return holder

    @override
    def give(self, holder: str, then: Callable[[], None]) -> None:
        self._link.later(self._give(holder, self._held.pop(holder), then))

    async def run(self) -> None:
        """Keep what is held, until cancelled."""
        while True:
            kept = await self.turn()
            await asyncio.sleep(KEEP_EVERY_S if kept else LOOK_EVERY_S)

    async def turn(self) -> bool:
        """Renew all places of this process, and give back what could not be given back before.

        Whether Redis took it.
        """
        held, owed = dict(self._held), dict(self._owed)
        try:
            await self._link.call(lambda redis: redis.ping(), within=PATIENT_S)
            for lane, holders in _by_lane(owed):
                await self._say("give", lane, holders)
                for holder in holders:
                    self._owed.pop(holder, None)
            for lane, holders in _by_lane(held):
                await self._say("keep", lane, holders)
        except RedisAway:
            return False
        finally:
            for holder in held.keys() - self._held.keys():  # given back while we renewed it
                self._owe(holder, held[holder])
        return True

    async def _wait(self, lane: str, width: int, holder: str) -> None:
        """Look again when a place was given back, and now and then."""
        mine = asyncio.Event()
        line = self._waiting[lane]
        line.append(mine)
        pause = FIRST_PAUSE_S
        try:
            while True:
                await _heard(mine, pause)
                mine.clear()
                if await self._look(lane, width, holder):
                    return
                longest = HEARING_PAUSE_S if self._hearing.live else LONGEST_PAUSE_S
                pause = min(pause * 2, longest)
        finally:
            line.remove(mine)
            self._call_next(lane)  # more than one may have been given back
            if not line:
                self._waiting.pop(lane, None)

    async def _look(self, lane: str, width: int, holder: str) -> bool:
        """Whether the holder has a place now; if not, it has a turn."""
        return bool(await self._ask(lane, "take", width, self._lease, self._patience, holder))

    async def _give(self, holder: str, lane: str, then: Callable[[], None]) -> None:
        try:
            await self._ask(lane, "give", FREED, holder)
        except RedisAway:
            self._owe(holder, lane)
        finally:
            then()

    async def _say(self, what: str, lane: str, holders: Iterable[str]) -> None:
        """What nobody waits for: `keep` or `give`."""
        how = self._lease if what == "keep" else FREED
        await self._ask(lane, what, how, *holders, within=PATIENT_S)

    async def _ask(
        self, lane: str, what: str, *arguments: str | bytes | int, within: float | None = None
    ) -> int:
        keys = (lane, f"{lane}:turns")
        done: int = await self._link.call(
            lambda redis: self._script(keys=keys, args=(what, *arguments), client=redis), within
        )
        return done

    def _owe(self, holder: str, lane: str) -> None:
        if len(self._owed) >= MAX_OWED:
            del self._owed[next(iter(self._owed))]  # its lease ends by itself
        self._owed[holder] = lane

    def _call_next(self, lane: str) -> None:
        """The first of ours who waits may look: none of the others is nearer."""
        line = self._waiting.get(lane)
        if line:
            line[0].set()

    def _call_all(self) -> None:
        for lane in self._waiting:
            self._call_next(lane)


def _name(key: Hashable) -> str:
    """The same in each process; in one slot of a cluster with what is derived from it."""
    return f"xr:lane:{{{blake2b(repr(key).encode(), digest_size=16).hexdigest()}}}"


def _by_lane(holders: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for holder, lane in holders.items():
        found[lane].append(holder)
    return list(found.items())


async def _heard(event: asyncio.Event, seconds: float) -> None:
    """Wait for it so long and no longer."""
    with suppress(TimeoutError), Deadline(seconds):
        await event.wait()
