"""Limits that all processes share: one call to Redis for all limits of a request.

While Redis is away, or slower than its deadline, each process grants by itself its share of what
was left when it last heard of it. What was granted so is told to Redis as soon as it listens.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.resources import files
from itertools import count
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from typing_extensions import override

from xrouter.domain.deadline import Deadline
from xrouter.domain.ports import Hold, Level, Meters, Spent, Verdict, Want
from xrouter.domain.windows import FOREVER, span
from xrouter.stores.memory.meters import MemoryMeters
from xrouter.stores.redis.link import PATIENT_S, Link, RedisAway
from xrouter.telemetry.logs import log

PREFIX = "xr:{limits}:"
"""All in one slot of a cluster: a request's limits are taken together."""
KEPT_S = 120.0
"""How long it is known that a hold has ended: longer than anybody tries to end it."""
RETRIES_S = (0.2, 1.0, 3.0, 10.0)
BEAT_S = 5.0
MAX_KNOWN = 100_000
MAX_OWED = 10_000
MAX_TELLING = 2000
"""Ends of holds on their way at a time; further ones are added up."""
PATIENT_CONNECTIONS = 16
PART = 100
_SECOND = 1_000_000
_HEAD = 4
_FIELDS = 3

_SCRIPT = files("xrouter.stores.redis").joinpath("meters.lua").read_text(encoding="utf-8")


class _SharedHold(Hold):
    """marks: of each limit in Redis. alone: settles what this process granted without it."""

    __slots__ = ("alone", "hold_id", "is_open", "marks")

    def __init__(
        self,
        wants: Sequence[Want],
        hold_id: str,
        marks: Sequence[str],
        alone: Callable[[Sequence[int]], None] | None = None,
    ) -> None:
        super().__init__(wants)
        self.hold_id = hold_id
        self.marks = marks
        self.alone = alone
        self.is_open = True


class _Told(Struct, frozen=True):
    """What Redis said. refused: the place of a want, -1 for none."""

    refused: int
    wait_s: float
    levels: list[Level]
    marks: list[str]


class RedisMeters(Meters):
    """Of one process. wall: unix seconds, only to know which day it may be in Redis."""

    def __init__(self, link: Link, wall: Callable[[], float] = time.time) -> None:
        self._link = link
        self._patient = link.client(PATIENT_S, PATIENT_CONNECTIONS)
        self._seats = asyncio.Semaphore(PATIENT_CONNECTIONS)
        self._telling = 0
        self._script = link.script(_SCRIPT)
        self._wall = wall
        self._process = os.urandom(8).hex()
        self._numbers = count(1)
        self._mates = 1
        self._left: dict[str, tuple[int, int]] = {}
        self._owed: dict[str, tuple[Want, int, str]] = {}
        self._alone: MemoryMeters | None = None
        self._shares: dict[str, int] = {}

    async def run(self) -> None:
        """Be counted among the processes, until cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(BEAT_S)

    async def close(self) -> None:
        """After the link is closed: what is told in the background has ended."""
        await self._patient.aclose()

    async def turn(self) -> None:
        """Say that this process lives, and hear of the others."""
        try:
            await self._ask("take", f"{self._process}:beat", (), patient=True)
            await self._pay()
        except RedisAway:
            return

    @override
    async def take(self, wants: Sequence[Want], lease_s: float) -> Verdict:
        hold_id = self._new_id()
        try:
            told = await self._ask("take", hold_id, wants, lease_s)
        except RedisAway:
            return await self._take_alone(wants, lease_s, hold_id)
        except BaseException:
            self._end(_SharedHold(wants, hold_id, self._marks(wants)), [0] * len(wants))
            raise
        self._alone = None
        if told.refused >= 0:
            return Verdict(None, told.levels, told.refused, told.wait_s)
        return Verdict(_SharedHold(wants, hold_id, told.marks), told.levels)

    @override
    def settle(self, hold: Hold, actual: Sequence[int]) -> None:
        if not isinstance(hold, _SharedHold) or not hold.is_open:
            return
        hold.is_open = False
        if hold.alone is not None:
            hold.alone(actual)
        self._end(hold, actual)

    @override
    def release(self, hold: Hold) -> None:
        self.settle(hold, [0] * len(hold.wants))

    @override
    async def look(self, wants: Sequence[Want]) -> Sequence[Level]:
        try:
            return (await self._ask("look", "", wants, patient=True)).levels
        except RedisAway:
            return [Level(self._known(want), FOREVER) for want in wants]

    @override
    def seed(self, spent: Iterable[Spent]) -> None:
        """What Redis knows already is left as it is."""
        self._link.later(self._seed(list(spent)))

    async def _take_alone(self, wants: Sequence[Want], lease_s: float, hold_id: str) -> Verdict:
        """Redis may have granted it, and only its answer was late: it is told in any case."""
        if self._alone is None:
            self._alone = MemoryMeters()
            self._shares = {}
        shared = [replace(want, limit=self._share(want)) for want in wants]
        verdict = self._alone.take_now(shared, lease_s)
        marks = self._marks(wants)
        if verdict.hold is None:
            self._end(_SharedHold(wants, hold_id, marks), [0] * len(wants))
            return verdict
        hold = _SharedHold(wants, hold_id, marks, partial(self._alone.settle, verdict.hold))
        if self._telling < MAX_TELLING:
            self._link.later(self._adopt(hold, lease_s))
        return Verdict(hold, verdict.levels)

    def _share(self, want: Want) -> int:
        """Of a rate all the time, of anything else what was left when Redis was last heard."""
        if want.window == "minute":
            return want.limit // self._mates
        share = self._shares.get(want.counter)
        if share is None:
            share = self._shares[want.counter] = self._known(want) // self._mates
        return share

    def _marks(self, wants: Sequence[Want]) -> list[str]:
        """As Redis would say them: of windows their starts, of rates nothing."""
        now = self._wall()
        return ["0" if w.window == "minute" else str(_bounds(w, now)[1]) for w in wants]

    def _end(self, hold: _SharedHold, actual: Sequence[int]) -> None:
        if self._telling < MAX_TELLING:
            self._telling += 1
            self._link.later(self._say_end_at_last(hold, actual))
        else:
            self._owe(hold, actual)

    async def _adopt(self, hold: _SharedHold, lease_s: float) -> None:
        """Let Redis know of what was granted without it; rates are shares anyhow."""
        wants = [want for want in hold.wants if want.window != "minute"]
        if wants:
            await self._ask("take", hold.hold_id, wants, lease_s, force=True, patient=True)

    async def _say_end_at_last(self, hold: _SharedHold, actual: Sequence[int]) -> None:
        """Try a few times, then leave it to `turn`."""
        try:
            for pause in RETRIES_S:
                try:
                    return await self._say_end(hold, actual)
                except RedisAway:
                    await asyncio.sleep(pause)
            return self._owe(hold, actual)
        finally:
            self._telling -= 1

    async def _say_end(self, hold: _SharedHold, actual: Sequence[int]) -> None:
        arguments: list[str | int] = ["end", hold.hold_id, round(KEPT_S * 1000)]
        for want, used, mark in zip(hold.wants, actual, hold.marks, strict=True):
            arguments += [_kind(want), want.limit, want.amount, max(0, used), mark]
        await self._run(_keys(hold.wants, hold.hold_id), arguments, patient=True)

    def _owe(self, hold: _SharedHold, actual: Sequence[int]) -> None:
        """What was held for it in Redis, if anything, ends with its lease."""
        for want, used, mark in zip(hold.wants, actual, hold.marks, strict=True):
            if used <= 0 or want.window == "minute":
                continue
            before = self._owed.get(want.counter)
            if before is None and len(self._owed) >= MAX_OWED:
                log.error("limits_not_told", limit=want.counter, amount=used)
                continue
            more = used + (before[1] if before is not None and before[2] == mark else 0)
            self._owed[want.counter] = (replace(want, amount=0), more, mark)

    async def _pay(self) -> None:
        """Tell what could not be told before. Raises RedisAway."""
        while self._owed:
            part = [self._owed.pop(counter) for counter in list(self._owed)[:PART]]
            hold = _SharedHold([each[0] for each in part], self._new_id(), [m for *_, m in part])
            amounts = [amount for _, amount, _ in part]
            try:
                await self._say_end(hold, amounts)
            except BaseException:
                self._owe(hold, amounts)
                raise

    def _new_id(self) -> str:
        return f"{self._process}:{next(self._numbers)}"

    async def _run(self, keys: list[str], told: Sequence[str | int], *, patient: bool) -> Any:
        """patient: nobody waits for it; it says nothing of whether requests should ask."""
        if not patient:
            return await self._link.call(
                lambda redis: self._script(keys=keys, args=told, client=redis)
            )
        try:
            async with self._seats:
                with Deadline(PATIENT_S):
                    return await self._script(keys=keys, args=told, client=self._patient)
        except self._link.expected:
            raise RedisAway from None

    async def _ask(
        self,
        what: str,
        hold_id: str,
        wants: Sequence[Want],
        lease_s: float = 0.0,
        *,
        force: bool = False,
        patient: bool = False,
    ) -> _Told:
        """Raises RedisAway."""
        now = self._wall()
        lease = round(lease_s * _SECOND)
        arguments: list[str | int] = [what, hold_id, lease, self._process, int(force)]
        for want in wants:
            arguments += [_kind(want), want.limit, want.amount, *_bounds(want, now)]
        keys = _keys(wants, hold_id)
        raw: list[Any] = await self._run(keys, arguments, patient=patient)
        if raw[0] < 0:  # ended before it was taken
            return _Told(0, 0.0, [Level(0, 0.0)] * len(wants), [])
        return self._understood(raw, wants)

    def _understood(self, raw: list[Any], wants: Sequence[Want]) -> _Told:
        self._mates = max(1, raw[2])
        levels: list[Level] = []
        marks: list[str] = []
        for place, want in enumerate(wants):
            left, reset, mark = raw[_HEAD + place * _FIELDS : _HEAD + (place + 1) * _FIELDS]
            levels.append(Level(int(left), _seconds(reset)))
            marks.append(mark.decode())
            self._hear(want.counter, int(left), raw[3])
        return _Told(raw[0] - 1, _seconds(raw[1]), levels, marks)

    def _hear(self, counter: str, left: int, at: int) -> None:
        """Answers may overtake each other. at: microseconds of Redis."""
        known = self._left.get(counter)
        if known is None or known[1] <= at:
            if len(self._left) >= MAX_KNOWN:
                self._left.clear()
            self._left[counter] = (left, at)

    def _known(self, want: Want) -> int:
        """What was left when Redis was last heard."""
        known = self._left.get(want.counter)
        return want.limit if known is None else min(want.limit, known[0])

    async def _seed(self, spent: Sequence[Spent]) -> None:
        now = self._wall()
        for each in spent:
            want = Want(each.counter, "requests", each.window, 0, 0, each.time_zone)
            bounds = _bounds(want, now)
            if not span(each.window, each.time_zone, now)[0] <= each.at:
                continue
            await self._run(_keys([want], ""), ["seed", each.amount, *bounds], patient=True)


def _kind(want: Want) -> str:
    return {"minute": "rate", "now": "now"}.get(want.window, "count")


def _bounds(want: Want, now: float) -> tuple[int, int, int, int]:
    """Where the windows before, of and after this moment begin, and the next; 0 for none."""
    starts, ends = span(want.window, want.time_zone, now)
    if ends == FOREVER:
        return 0, 0, 0, 0
    before, _ = span(want.window, want.time_zone, starts - 1)
    _, after = span(want.window, want.time_zone, ends)
    return int(before), int(starts), int(ends), int(after)


def _keys(wants: Sequence[Want], hold_id: str) -> list[str]:
    keys: list[str] = []
    for want in wants:
        keys += [f"{PREFIX}c:{want.counter}", f"{PREFIX}h:{want.counter}"]
    return [*keys, f"{PREFIX}d:{hold_id}", f"{PREFIX}processes"]


def _seconds(microseconds: bytes | int) -> float:
    found = int(microseconds)
    return FOREVER if found < 0 else found / _SECOND
