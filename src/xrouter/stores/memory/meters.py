"""Limits of one process, in memory: exact, and bounded by forgetting what is idle.

A rate (`minute`) is GCRA: one number, the moment at which its allowance is full again. Everything
else is a number that goes up and down; that of a day or a month begins anew with the next one.

What is held stays so as long as somebody knows the hold: there is no lease that could end while an
answer still streams, and a request that dies without settling gives back what it held.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace
from typing_extensions import override

from xrouter.domain.choices import Choices
from xrouter.domain.ports import Hold, Level, Meters, Spent, Verdict, Want
from xrouter.domain.windows import FOREVER, MINUTE_S, span
from xrouter.telemetry.logs import log

MAX_COUNTERS = 200_000
LEAP_S = 86_400.0
"""A clock that is set back by less does not open an older window."""
SOON_S = 1.0
"""When to ask again for one of the places that others hold."""
_SLACK = 1e-6
_BRIEF = ("minute", "now")

Clock = Callable[[], float]


class _Counter(ABC):
    """One limit's state. `now` is monotonic, `wall` are unix seconds.

    mark: what `settle` wants to know of the moment at which something was taken.
    """

    __slots__ = ("mark",)
    mark: float

    @abstractmethod
    def wait(self, want: Want, now: float, wall: float) -> float:
        """Seconds until so much would be granted; 0 for now, infinite for never."""

    @abstractmethod
    def take(self, want: Want, now: float, wall: float) -> Level | None:
        """How much is left after it; None where there is to wait for it, and nothing is taken."""

    @abstractmethod
    def settle(self, want: Want, mark: float, actual: int, now: float) -> None:
        """Replace what was held by what was used."""

    @abstractmethod
    def level(self, want: Want, now: float, wall: float) -> Level:
        """How much is left."""

    @abstractmethod
    def is_idle(self, now: float, wall: float) -> bool:
        """Whether a new one would do as well."""


class _Rate(_Counter):
    """mark: when all of it is free again."""

    __slots__ = ()

    def __init__(self) -> None:
        self.mark = 0.0

    @override
    def wait(self, want: Want, now: float, wall: float) -> float:
        needed = want.amount or 1
        if needed > want.limit:
            return FOREVER
        if self._left(want, now) >= needed:
            return 0.0
        return max(_SLACK, self.mark + needed * MINUTE_S / want.limit - now - MINUTE_S)

    @override
    def take(self, want: Want, now: float, wall: float) -> Level | None:
        limit, amount = want.limit, want.amount
        used_s = self.mark - now if self.mark > now else 0.0
        left = (MINUTE_S - used_s) * limit / MINUTE_S + _SLACK
        if left < (amount or 1):
            return None
        used_s += amount * MINUTE_S / limit
        self.mark = now + used_s
        return Level(int(left) - amount, used_s)

    @override
    def settle(self, want: Want, mark: float, actual: int, now: float) -> None:
        more = actual - want.amount
        if more > 0:
            self.mark = max(self.mark, now) + more * MINUTE_S / want.limit
        elif more and mark > now:  # what has become free by itself is not given back once more
            self.mark -= min(-more * MINUTE_S / want.limit, mark - now)

    @override
    def level(self, want: Want, now: float, wall: float) -> Level:
        return Level(max(0, int(self._left(want, now))), max(0.0, self.mark - now))

    @override
    def is_idle(self, now: float, wall: float) -> bool:
        return self.mark <= now

    def _left(self, want: Want, now: float) -> float:
        return (MINUTE_S - max(0.0, self.mark - now)) * want.limit / MINUTE_S + _SLACK


class _Count(_Counter):
    """used: held and settled, of the window from `mark` to `ends`. held: what is not settled."""

    __slots__ = ("ends", "held", "used")

    def __init__(self) -> None:
        self.used = self.held = 0
        self.mark = self.ends = -FOREVER

    @override
    def wait(self, want: Want, now: float, wall: float) -> float:
        if not self.mark <= wall < self.ends:
            self._roll(want, wall)
        if self.used + (want.amount or 1) <= want.limit:
            return 0.0
        if want.window == "now":
            return SOON_S
        return self.ends - wall if want.amount <= want.limit else FOREVER

    @override
    def take(self, want: Want, now: float, wall: float) -> Level | None:
        if not self.mark <= wall < self.ends:
            self._roll(want, wall)
        amount = want.amount
        used = self.used + amount
        left = want.limit - used
        if left < 0 or (not amount and not left):
            return None
        self.used = used
        self.held += amount
        return Level(left, 0.0 if want.window == "now" else self.ends - wall)

    @override
    def settle(self, want: Want, mark: float, actual: int, now: float) -> None:
        if mark != self.mark:
            return
        self.used += actual - want.amount
        self.held -= want.amount
        if self.held < 0 or self.used < 0:  # it was forgotten meanwhile
            self.used, self.held = max(0, self.used), max(0, self.held)

    @override
    def level(self, want: Want, now: float, wall: float) -> Level:
        reset = 0.0 if want.window == "now" else max(0.0, self.ends - wall)
        return Level(max(0, want.limit - self.used), reset)

    @override
    def is_idle(self, now: float, wall: float) -> bool:
        return wall >= self.ends or self.used == 0

    def seed(self, spent: Spent) -> None:
        """At least so much was used, if it was in the window of now."""
        if self.mark <= spent.at < self.ends:
            self.used = max(self.used - self.held, spent.amount) + self.held

    def _roll(self, want: Want, wall: float) -> None:
        """Begin the window of now, unless the clock was only set back a little."""
        if wall >= self.ends:
            self.used = self.held = 0
        elif self.mark - wall < LEAP_S:
            return
        self.mark, self.ends = span(want.window, want.time_zone, wall)


class _MemoryHold(Hold):
    """marks: of each counter of which something is held. meters: where, None when it is settled
    or released.
    """

    __slots__ = ("marks", "meters")

    def __init__(self, wants: Sequence[Want], marks: list[float], meters: MemoryMeters) -> None:
        self.wants = wants
        self.marks = marks
        self.meters: MemoryMeters | None = meters

    def __del__(self) -> None:
        if self.meters is not None:
            self.meters.release(self)


class MemoryMeters(Meters):
    """clock: monotonic seconds, for rates. wall: unix seconds, for days and months."""

    def __init__(
        self,
        clock: Clock = time.monotonic,
        wall: Clock = time.time,
        max_counters: int = MAX_COUNTERS,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._max = max_counters
        self._counters: dict[str, _Counter] = {}

    @override
    async def take(
        self, wants: Sequence[Want], lease_s: float, choices: Choices | None = None
    ) -> Verdict:
        return self.take_now(wants) if choices is None else self.choose_now(wants, choices)

    def take_now(self, wants: Sequence[Want]) -> Verdict:
        """As `take`; nobody needs a lease here."""
        now, wall, counters = self._clock(), self._wall(), self._counters
        hold = _MemoryHold(wants, [], self)
        marks, levels = hold.marks, []
        for want in wants:
            counter = counters.get(want.counter) or self._new(want)
            level = counter.take(want, now, wall)
            if level is None:
                self.release(hold)
                wait = counter.wait(want, now, wall)
                return Verdict(None, self._levels(wants, now, wall), len(marks), wait)
            marks.append(counter.mark)
            levels.append(level)
        return Verdict(hold, levels)

    def choose_now(self, wants: Sequence[Want], choices: Choices) -> Verdict:
        """As `take_now`, where it is not known yet who will answer."""
        now, wall = self._clock(), self._wall()
        found = [self._counters.get(want.counter) or self._new(want) for want in wants]
        pairs = tuple(zip(found, wants, strict=True))
        waits = [c.wait(want, now, wall) for c, want in pairs]
        refused = choices.refused(waits)
        if refused >= 0:
            levels = [c.level(want, now, wall) for c, want in pairs]
            return Verdict(None, levels, refused, waits[refused])
        opened = choices.open(waits)
        taken = held(wants, choices, opened)
        for at, want in taken:
            found[at].take(want, now, wall)
        marks = [found[at].mark for at, _ in taken]
        hold = _MemoryHold([want for _, want in taken], marks, self)
        return Verdict(hold, [c.level(want, now, wall) for c, want in pairs], opened=opened)

    def waits(self, wants: Sequence[Want]) -> list[float]:
        """Seconds until each of them would be granted: 0 for now, infinite for never."""
        now, wall = self._clock(), self._wall()
        found = (self._counters.get(want.counter) or _made(want) for want in wants)
        return [c.wait(want, now, wall) for c, want in zip(found, wants, strict=True)]

    @override
    def settle(self, hold: Hold, actual: Sequence[int]) -> None:
        if not isinstance(hold, _MemoryHold) or hold.meters is None:
            return
        hold.meters = None
        now, counters = self._clock(), self._counters
        if actual and min(actual) < 0:
            actual = [max(0, used) for used in actual]
        wants = hold.wants
        for place, mark in enumerate(hold.marks):
            want = wants[place]
            counter = counters.get(want.counter) or self._new(want)
            counter.settle(want, mark, actual[place], now)

    @override
    def release(self, hold: Hold) -> None:
        self.settle(hold, [0] * len(hold.wants))

    @override
    async def look(self, wants: Sequence[Want]) -> Sequence[Level]:
        return self.look_now(wants)

    def look_now(self, wants: Sequence[Want]) -> list[Level]:
        """As `look`."""
        return self._levels(wants, self._clock(), self._wall())

    @override
    def seed(self, spent: Iterable[Spent]) -> None:
        now, wall = self._clock(), self._wall()
        for each in spent:
            want = Want(each.counter, "requests", each.window, 1, 0, each.time_zone)
            counter = self._counters.get(each.counter) or self._new(want)
            if isinstance(counter, _Count):
                counter.wait(want, now, wall)
                counter.seed(each)

    def _levels(self, wants: Sequence[Want], now: float, wall: float) -> list[Level]:
        found: list[Level] = []
        for want in wants:
            counter = self._counters.get(want.counter) or _made(want)
            counter.wait(want, now, wall)
            found.append(counter.level(want, now, wall))
        return found

    def _new(self, want: Want) -> _Counter:
        if len(self._counters) >= self._max:
            self._forget(self._clock(), self._wall())
        counter = self._counters[want.counter] = _made(want)
        return counter

    def _forget(self, now: float, wall: float) -> None:
        """Make room: the idle ones go, and if that is not enough, the oldest tenth."""
        counters = self._counters
        for idle in [key for key, c in counters.items() if c.is_idle(now, wall)]:
            del counters[idle]
        surplus = len(counters) - self._max * 9 // 10
        if surplus > 0:
            log.error("limit_counters_forgotten", count=surplus)
            for oldest in list(counters)[:surplus]:
                del counters[oldest]


def held(wants: Sequence[Want], choices: Choices, opened: Sequence[int]) -> list[tuple[int, Want]]:
    """What is held for these ways, by its place: of rates and places what the first needs, lest one
    that is asked by nobody is used up by those who might.
    """
    firm = choices.firm(len(wants), opened)
    return [
        (at, wants[at])
        if at in firm or wants[at].window not in _BRIEF
        else (at, replace(wants[at], amount=0))
        for at in choices.held(len(wants), opened)
    ]


def _made(want: Want) -> _Counter:
    return _Rate() if want.window == "minute" else _Count()
