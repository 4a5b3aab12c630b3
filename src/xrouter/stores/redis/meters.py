"""Limits that all processes share: one call to Redis for all limits of a request.

While Redis is away, slower than its deadline, or has lost its memory, each process grants by itself
its share of what was left when it last heard of it. What was granted so is told to Redis as soon as
it listens.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

from typing_extensions import override

from xrouter.domain.choices import Choices
from xrouter.domain.deadline import Deadline
from xrouter.domain.ports import Hold, Level, Meters, Spent, Verdict, Want
from xrouter.stores.redis import meter_script as script
from xrouter.stores.redis.debts import Debts
from xrouter.stores.redis.holds import SharedHold, chosen
from xrouter.stores.redis.link import PATIENT_S, Link, RedisAway
from xrouter.stores.redis.mates import Mates
from xrouter.stores.redis.meter_script import Told
from xrouter.stores.redis.shares import Shares

KEPT_S = 120.0
"""How long it is known that a hold has ended: longer than anybody tries to end it."""
RETRIES_S = (0.2, 1.0, 3.0, 10.0)
BEAT_S = 2.0
EARLY_BEATS = 10
EARLY_S = 0.3
"""Processes that start together hear of each other soon."""
MET_BEATS = 30
"""For so many beats Redis is asked how the limits stand that requests have met."""
MAX_MET = 300
MAX_TELLING = 2000
"""Ends of holds on their way at a time; further ones are added up."""
PATIENT_CONNECTIONS = 16
PART = 100


class RedisMeters(Meters):
    """Of one process. clock: monotonic seconds, for leases. wall: unix seconds, only to know which
    day it may be in Redis. grants: whether it admits requests, and so has a share of the limits.
    """

    def __init__(
        self,
        link: Link,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        *,
        mates: Mates | None = None,
        grants: bool = True,
    ) -> None:
        self._link = link
        self._patient = link.client(PATIENT_S, PATIENT_CONNECTIONS)
        self._seats = asyncio.Semaphore(PATIENT_CONNECTIONS)
        self._telling = 0
        self._script = link.script(script.SCRIPT)
        self._wall = wall
        self._clock = clock
        self._process = os.urandom(8).hex()
        self._numbers = count(1)
        self._who = self._process if grants else ""
        self._mates = mates or Mates()
        self._shares = Shares(self._mates)
        self._lost = self._unsaid = self._listens = False
        self._era = ""
        self._joining = False
        self._open: WeakValueDictionary[str, SharedHold] = WeakValueDictionary()
        self._met: tuple[dict[str, Want], dict[str, Want]] = ({}, {})
        self._beats = 0
        self._renewed_at = clock()
        self._owed = Debts()
        self._unheard: dict[str, tuple[SharedHold, Sequence[int]]] = {}

    @property
    def lost(self) -> bool:
        """Redis answers, but does not know what was spent: it wants to be told (`seed`)."""
        return self._lost or (self._unsaid and self._listens)

    @property
    def knows(self) -> bool:
        """Whether Redis answers, and knows what was spent."""
        return self._listens and not self._lost

    async def run(self) -> None:
        """Be counted among the processes, until cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(BEAT_S if self._beats > EARLY_BEATS else EARLY_S)

    async def close(self) -> None:
        """After the link is closed: what is told in the background has ended."""
        await self._patient.aclose()

    async def turn(self) -> None:
        """Say that this process lives, and hear of the others and of how limits stand."""
        self._beats += 1
        try:
            told = await self._ask("take", f"{self._process}:beat", (), patient=True)
            self._mates.beat(told.mates)
            if self._mates.is_news:
                await asyncio.to_thread(self._mates.keep)
            await self._renew()
            await self._pay()
            await self._adopt_all(everything=False)
            await self._recall()
        except RedisAway:
            self._listens = False
            self._mates.miss()
        else:
            self._listens = True
            self._renewed_at = self._clock()

    @override
    async def take(
        self, wants: Sequence[Want], lease_s: float, choices: Choices | None = None
    ) -> Verdict:
        hold_id = self._new_id()
        if self._open and self._clock() - self._renewed_at > lease_s:  # Redis may free what is held
            return self._take_alone(wants, lease_s, hold_id, choices)
        for want in wants:
            if len(self._met[0]) < MAX_MET or want.counter in self._met[0]:
                self._met[0][want.counter] = want
        try:
            told = await self._ask("take", hold_id, wants, lease_s, choices=choices)
        except RedisAway:
            return self._take_alone(wants, lease_s, hold_id, choices)
        except BaseException:
            self._end(SharedHold(wants, hold_id, self._marks(wants)), [0] * len(wants))
            raise
        if not self._is_sure(told):
            return self._take_alone(wants, lease_s, hold_id, choices)
        if told.refused >= 0:
            return Verdict(None, told.levels, told.refused, script.wait(told, wants))
        mine, marks = chosen(wants, told.marks, choices, told.opened)
        hold = SharedHold(mine, hold_id, marks, lease_s)
        if self._shares.is_overtaken(mine, marks, told.at):
            self._shares.free(hold, [0] * len(mine))
            self._end(hold, [0] * len(mine))
            return self._take_alone(wants, lease_s, self._new_id(), choices)
        return Verdict(self._opened(hold), told.levels, opened=told.opened)

    @override
    def settle(self, hold: Hold, actual: Sequence[int]) -> None:
        if not isinstance(hold, SharedHold) or not hold.is_open:
            return
        hold.is_open = False
        self._open.pop(hold.hold_id, None)
        if hold.rates is not None:
            pairs = zip(hold.wants, actual, strict=True)
            used = [amount for want, amount in pairs if want.window == "minute"]
            self._shares.settle_rates(hold.rates, used)
        if hold.untold:
            self._shares.differ(hold, actual)
        else:
            self._shares.free(hold, actual)
            self._shares.exceed(hold, actual)
        self._end(hold, actual)

    @override
    def release(self, hold: Hold) -> None:
        self.settle(hold, [0] * len(hold.wants))

    @override
    async def look(self, wants: Sequence[Want]) -> Sequence[Level]:
        try:
            told = await self._ask("look", "", wants, patient=True)
        except RedisAway:
            told = None
        if told is not None and self._is_sure(told):
            return told.levels
        pairs = zip(wants, self._marks(wants), strict=True)
        return [self._shares.level(want, mark, self._wall()) for want, mark in pairs]

    @override
    def seed(self, spent: Iterable[Spent]) -> None:
        """At least so much was used. From now on Redis knows what was spent."""
        self._link.later(self._seed(list(spent)))

    def remember(self, spent: Iterable[Spent]) -> list[tuple[Want, int]]:
        """What was used, as long as Redis does not say it; that of windows of now."""
        found = script.of_now(spent, self._wall())
        for want, amount in found:
            self._shares.remember(want.counter, amount, *self._marks([want]))
        return found

    # --- without Redis

    def _take_alone(
        self, wants: Sequence[Want], lease_s: float, hold_id: str, choices: Choices | None
    ) -> Verdict:
        """Redis may have granted it, and only its answer was late: it is told in any case."""
        marks = self._marks(wants)
        verdict = self._shares.take(wants, marks, self._wall(), choices)
        if verdict.hold is None or choices is not None:  # Redis may have chosen otherwise
            self._end(SharedHold(wants, hold_id, marks), [0] * len(wants))
            hold_id = self._new_id()
        if verdict.hold is None:
            return verdict
        wants, marks = chosen(wants, marks, choices, verdict.opened)
        hold = self._opened(SharedHold(wants, hold_id, marks, lease_s, verdict.hold))
        hold.untold = [0 if want.window == "minute" else want.amount for want in wants]
        if self._telling < MAX_TELLING:
            self._link.later(self._adopt(hold))
        return Verdict(hold, verdict.levels, opened=verdict.opened)

    async def _adopt(self, hold: SharedHold) -> None:
        """Let Redis know of what was granted without it; rates are shares anyhow."""
        wants, marks = hold.counts()
        if not wants:
            return
        told = await self._ask("take", hold.hold_id, wants, hold.lease_s, force=True, patient=True)
        if hold.is_open and told.marks == marks:
            hold.is_known = True
            self._shares.told(hold, told.at, sure=self._is_sure(told))

    async def _adopt_all(self, *, everything: bool) -> None:
        """everything: also what Redis has granted itself. Raises RedisAway."""
        for hold in list(self._open.values()):
            if everything or not hold.is_known:
                await self._adopt(hold)

    # --- the ends of holds

    def _end(self, hold: SharedHold, actual: Sequence[int]) -> None:
        if self._telling < MAX_TELLING:
            self._telling += 1
            self._link.later(self._say_end_at_last(hold, actual))
        else:
            self._owed.add(hold, actual)

    async def _say_end_at_last(self, hold: SharedHold, actual: Sequence[int]) -> None:
        """Try a few times, then leave it to `turn`."""
        try:
            for pause in RETRIES_S:
                try:
                    return await self._say_end(hold, actual)
                except RedisAway:
                    await asyncio.sleep(pause)
            if len(self._unheard) < MAX_TELLING:
                self._unheard[hold.hold_id] = (hold, actual)
            else:
                self._owed.add(hold, actual)
        finally:
            self._telling -= 1

    async def _say_end(self, hold: SharedHold, actual: Sequence[int]) -> None:
        keys = script.keys(hold.wants, hold.hold_id)
        told = script.ended(await self._run(keys, hold.end(actual, KEPT_S), patient=True))
        is_sure = told.era != "" and told.era == self._era
        self._shares.told(hold, told.at, sure=is_sure)
        if is_sure:
            for want, (left, mark) in zip(hold.wants, told.left, strict=True):
                if mark:
                    self._shares.hear(want.counter, want.limit - left, mark, told.at)

    async def _pay(self) -> None:
        """Tell what could not be told before, under the name that it had then: Redis may have
        heard it. Raises RedisAway.
        """
        while self._unheard or self._owed:
            if not self._unheard:
                debt = self._owed.part(PART, self._new_id())
                self._unheard[debt[0].hold_id] = debt
            hold_id, (hold, actual) = next(iter(self._unheard.items()))
            await self._say_end(hold, actual)
            self._unheard.pop(hold_id, None)

    # --- Redis

    def _opened(self, hold: SharedHold) -> SharedHold:
        hold.renew_at = self._clock() + hold.lease_s / 4
        self._open[hold.hold_id] = hold
        return hold

    async def _renew(self) -> None:
        """Who holds for long goes on holding. Raises RedisAway."""
        now = self._clock()
        due = [hold for hold in self._open.values() if hold.renew_at <= now]
        for start in range(0, len(due), PART):
            members: list[str] = []
            holders: list[SharedHold] = []
            arguments: list[str | int] = ["renew"]
            for hold in due[start : start + PART]:
                hold.renew_at = now + hold.lease_s / 4
                for key, member in hold.members():
                    members.append(key)
                    holders.append(hold)
                    arguments += [script.micros(hold.lease_s), member]
            told = await self._run(members + script.shared_keys(), arguments, patient=True)
            for hold, is_there in zip(holders, told, strict=True):
                hold.is_known = hold.is_known and bool(is_there)

    async def _recall(self) -> None:
        """Hear how the limits stand that requests have met of late. Raises RedisAway."""
        wants = list((self._met[1] | self._met[0]).values())
        if self._beats % MET_BEATS == 0:
            self._met = ({}, self._met[0])
        for start in range(0, len(wants), PART):
            await self._ask("look", "", wants[start : start + PART], patient=True)

    def _marks(self, wants: Sequence[Want]) -> list[str]:
        return script.marks(wants, self._wall())

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
        choices: Choices | None = None,
        force: bool = False,
        patient: bool = False,
    ) -> Told:
        """Raises RedisAway."""
        now = self._wall()
        arguments: list[str | int] = [what, hold_id, script.micros(lease_s), self._who, int(force)]
        arguments.append(script.ways(choices))
        missing: list[int] = []
        for want in wants:
            bounds = script.bounds(want, now)
            untold = self._shares.untold(want.counter, str(bounds[1]))
            limit = max(0, want.limit - untold)
            missing.append(want.limit - limit)
            arguments += [script.kind(want), limit, want.amount, *bounds]
        raw: list[Any] = await self._run(script.keys(wants, hold_id), arguments, patient=patient)
        told = script.told(raw, wants)
        if told.mates:
            self._notice(told.era)
            if self._is_sure(told):
                self._hear(told, wants, missing)
        return told

    def _is_sure(self, told: Told) -> bool:
        """Whether Redis knows what was spent, and what is held here."""
        return not told.mates or (told.era != "" and told.era == self._era and not self._joining)

    def _notice(self, era: str) -> None:
        """A Redis that has lost its memory is told what is held here before it is believed."""
        self._lost = era == ""
        if era == self._era or self._joining:
            return
        if self._open:
            self._joining = True
            self._link.later(self._join(era))
        else:
            self._era = era

    async def _join(self, era: str) -> None:
        try:
            await self._adopt_all(everything=True)
            self._era = era
        finally:
            self._joining = False

    def _hear(self, told: Told, wants: Sequence[Want], missing: Sequence[int]) -> None:
        """missing: of each limit, what was kept free as Redis did not know of it."""
        self._mates.hear(told.mates)
        for want, left, kept, mark in zip(wants, told.left, missing, told.marks, strict=True):
            self._shares.hear(want.counter, want.limit - kept - left, mark, told.at)

    async def _seed(self, spent: Sequence[Spent]) -> None:
        self._unsaid = True
        now, who = self._wall(), self._new_id()
        found = self.remember(spent)
        for start in range(0, max(1, len(found)), PART):
            arguments: list[str | int] = ["seed", who]
            part = found[start : start + PART]
            for want, amount in part:
                arguments += [amount, *script.bounds(want, now)]
            await self._run(script.keys([want for want, _ in part]), arguments, patient=True)
        if await self._run(script.shared_keys(), ["known", who], patient=True):
            self._lost = self._unsaid = False
