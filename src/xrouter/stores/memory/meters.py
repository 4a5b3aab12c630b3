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
    """One limit's state. `now` is monotonic, `wall` are unix seconds."""

    __slots__ = ()

    @abstractmethod
    def wait(self, want: Want, now: float, wall: float) -> float:
        """Seconds until so much would be granted; 0 for now, infinite for never."""

    @abstractmethod
    def add(self, want: Want, now: float) -> float:
        """Take it. Returns a mark for `settle`."""

    @abstractmethod
    def settle(self, want: Want, mark: float, held: int, actual: int, now: float) -> None:
        """Replace what was held by what was used."""

    @abstractmethod
    def level(self, want: Want, now: float, wall: float) -> Level:
        """How much is left."""

    @abstractmethod
    def is_idle(self, now: float, wall: float) -> bool:
        """Whether a new one would do as well."""


class _Rate(_Counter):
    """full_at: when all of it is free again."""

    __slots__ = ("full_at",)

    def __init__(self) -> None:
        self.full_at = 0.0

    @override
    def wait(self, want: Want, now: float, wall: float) -> float:
        amount = want.amount or 1
        if amount > want.limit:
            return FOREVER
        step = MINUTE_S / want.limit
        over = max(self.full_at, now) + amount * step - now - MINUTE_S
        return over if over > step * _SLACK else 0.0

    @override
    def add(self, want: Want, now: float) -> float:
        self.full_at = max(self.full_at, now) + want.amount * MINUTE_S / want.limit
        return self.full_at

    @override
    def settle(self, want: Want, mark: float, held: int, actual: int, now: float) -> None:
        more = (actual - held) * MINUTE_S / want.limit
        if more >= 0:
            self.full_at = max(self.full_at, now) + more
        else:  # what has become free by itself is not given back once more
            self.full_at -= min(-more, max(0.0, mark - now))

    @override
    def level(self, want: Want, now: float, wall: float) -> Level:
        used_s = max(0.0, self.full_at - now)
        left = (MINUTE_S - used_s) * want.limit / MINUTE_S
        return Level(max(0, int(left + _SLACK)), used_s)

    @override
    def is_idle(self, now: float, wall: float) -> bool:
        return self.full_at <= now


class _Count(_Counter):
    """used: held and settled, of the window from `starts` to `ends`. held: what is not settled."""

    __slots__ = ("ends", "held", "starts", "used")

    def __init__(self) -> None:
        self.used = self.held = 0
        self.starts = self.ends = -FOREVER

    @override
    def wait(self, want: Want, now: float, wall: float) -> float:
        if not self.starts <= wall < self.ends:
            self._roll(want, wall)
        if self.used + (want.amount or 1) <= want.limit:
            return 0.0
        if want.window == "now":
            return SOON_S
        return self.ends - wall if want.amount <= want.limit else FOREVER

    @override
    def add(self, want: Want, now: float) -> float:
        self.used += want.amount
        self.held += want.amount
        return self.starts

    @override
    def settle(self, want: Want, mark: float, held: int, actual: int, now: float) -> None:
        if mark == self.starts:
            self.used = max(0, self.used + actual - held)
            self.held = max(0, self.held - held)

    @override
    def level(self, want: Want, now: float, wall: float) -> Level:
        reset = 0.0 if want.window == "now" else max(0.0, self.ends - wall)
        return Level(max(0, want.limit - self.used), reset)

    @override
    def is_idle(self, now: float, wall: float) -> bool:
        return wall >= self.ends or self.used == 0

    def seed(self, spent: Spent) -> None:
        """At least so much was used, if it was in the window of now."""
        if self.starts <= spent.at < self.ends:
            self.used = max(self.used - self.held, spent.amount) + self.held

    def _roll(self, want: Want, wall: float) -> None:
        """Begin the window of now, unless the clock was only set back a little."""
        if wall >= self.ends:
            self.used = self.held = 0
        elif self.starts - wall < LEAP_S:
            return
        self.starts, self.ends = span(want.window, want.time_zone, wall)


class _MemoryHold(Hold):
    """marks: of each counter. meters: where it is held, None when it is settled or released."""

    __slots__ = ("marks", "meters")

    def __init__(self, wants: Sequence[Want], marks: Sequence[float], meters: MemoryMeters) -> None:
        super().__init__(wants)
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
        now, wall = self._clock(), self._wall()
        found: list[_Counter] = []
        for place, want in enumerate(wants):
            counter = self._counters.get(want.counter) or self._new(want, now, wall)
            wait = counter.wait(want, now, wall)
            if wait > 0:
                return Verdict(None, self._levels(wants, now, wall), place, wait)
            found.append(counter)
        marks: list[float] = []
        levels: list[Level] = []
        for counter, want in zip(found, wants, strict=True):
            marks.append(counter.add(want, now))
            levels.append(counter.level(want, now, wall))
        return Verdict(_MemoryHold(wants, marks, self), levels)

    def choose_now(self, wants: Sequence[Want], choices: Choices) -> Verdict:
        """As `take_now`, where it is not known yet who will answer."""
        now, wall = self._clock(), self._wall()
        found = [self._counters.get(w.counter) or self._new(w, now, wall) for w in wants]
        pairs = tuple(zip(found, wants, strict=True))
        waits = [c.wait(want, now, wall) for c, want in pairs]
        refused = choices.refused(waits)
        if refused >= 0:
            levels = [c.level(want, now, wall) for c, want in pairs]
            return Verdict(None, levels, refused, waits[refused])
        opened = choices.open(waits)
        taken = held(wants, choices, opened)
        marks = [found[at].add(want, now) for at, want in taken]
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
        now, wall = self._clock(), self._wall()
        for want, mark, used in zip(hold.wants, hold.marks, actual, strict=True):
            counter = self._counters.get(want.counter) or self._new(want, now, wall)
            counter.settle(want, mark, want.amount, max(0, used), now)

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
            counter = self._counters.get(each.counter) or self._new(want, now, wall)
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

    def _new(self, want: Want, now: float, wall: float) -> _Counter:
        if len(self._counters) >= self._max:
            self._forget(now, wall)
        counter = self._counters[want.counter] = _made(want)
        return counter

    def _forget(self, now: float, wall: float) -> None:
        """Make room: the idle ones go, and if that is not enough, the oldest tenth."""
        kept = {key: c for key, c in self._counters.items() if not c.is_idle(now, wall)}
        surplus = len(kept) - self._max * 9 // 10
        if surplus > 0:
            log.error("limit_counters_forgotten", count=surplus)
            for key in list(kept)[:surplus]:
                del kept[key]
        self._counters = kept


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
