"""What one process may grant by itself while Redis cannot be asked.

Of a rate: as much as one of so many processes. Of anything else: its share of what was left when
Redis was last heard, less what it has granted since and Redis has not been told.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.choices import Choices
from xrouter.domain.ports import Hold, Level, Verdict, Want
from xrouter.domain.windows import FOREVER, span
from xrouter.stores.memory.meters import SOON_S, MemoryMeters, held
from xrouter.stores.redis.holds import SharedHold
from xrouter.stores.redis.mates import Mates

MAX_KNOWN = 100_000
LATEST = 5_000_000
"""Microseconds: more than any answer is late."""


class _Heard(Struct):
    """used: or held, in the window of the mark. at: microseconds of Redis."""

    used: int
    mark: str
    at: int


class _Vague(Struct):
    """amount: that Redis was told of when its word did not count. at: then, as of Heard."""

    amount: int
    at: int


class Shares:
    """mates: who else grants."""

    def __init__(self, mates: Mates) -> None:
        self._mates = mates
        self._heard: dict[str, _Heard] = {}
        self._spent: dict[str, tuple[int, str]] = {}
        self._untold: dict[tuple[str, str], int] = {}
        self._vague: dict[tuple[str, str], _Vague] = {}
        self._rates = MemoryMeters()
        self._told_at = 0

    def hear(self, counter: str, used: int, mark: str, at: int) -> None:
        """Redis says what is used. Answers may overtake each other."""
        known = self._heard.get(counter)
        if known is not None and _is_before(at, known.at):
            return
        vague = self._vague.get((counter, mark)) if self._vague else None
        if vague is not None and not _is_before(at, vague.at):
            del self._vague[counter, mark]
        if known is None and len(self._heard) >= MAX_KNOWN:
            for oldest in list(self._heard)[: MAX_KNOWN // 10]:
                del self._heard[oldest]
        self._heard[counter] = _Heard(used, mark, at)

    def remember(self, counter: str, amount: int, mark: str) -> None:
        """So much was used in the window of the mark, as the database says."""
        if len(self._spent) < MAX_KNOWN:
            self._spent[counter] = (amount, mark)

    def differ(self, hold: SharedHold, actual: Sequence[int]) -> None:
        """It is used, not held any more, and Redis has heard of neither."""
        for place, (want, used) in enumerate(zip(hold.wants, actual, strict=True)):
            if want.window != "minute":
                more = max(0, used) - want.amount
                hold.untold[place] += more
                self._owe(want.counter, hold.marks[place], more)

    def exceed(self, hold: SharedHold, actual: Sequence[int]) -> None:
        """More was used than Redis has granted, and it does not know."""
        hold.untold = [
            0 if want.window == "minute" else max(0, used - want.amount)
            for want, used in zip(hold.wants, actual, strict=True)
        ]
        for want, mark, more in zip(hold.wants, hold.marks, hold.untold, strict=True):
            self._owe(want.counter, mark, more)

    def free(self, hold: SharedHold, actual: Sequence[int]) -> None:
        """What is not used of what Redis has granted is left; when next heard, it says so."""
        for want, used, mark in zip(hold.wants, actual, hold.marks, strict=True):
            less = max(0, want.amount - max(0, used))
            vague, known = self._vague.get((want.counter, mark)), self._heard.get(want.counter)
            if vague is not None:
                vague.amount = max(0, vague.amount - less)
            elif known is not None and known.mark == mark:
                known.used -= less

    def told(self, hold: SharedHold, at: int, *, sure: bool) -> None:
        """Redis knows of it since then. sure: its word counts; else it is ours until it does."""
        if any(hold.untold) and not _is_before(at, self._told_at):
            self._told_at = at
        for want, mark, amount in zip(hold.wants, hold.marks, hold.untold, strict=False):
            name = (want.counter, mark)
            _add(self._untold, name, -amount)
            if amount and not sure and (len(self._vague) < MAX_KNOWN or name in self._vague):
                before = self._vague.get(name, _Vague(0, at))
                self._vague[name] = _Vague(before.amount + amount, max(before.at, at))
        hold.untold = []

    @property
    def mates(self) -> int:
        """Among how many it is shared out, this process among them."""
        return self._mates.count

    def untold(self, counter: str, mark: str) -> int:
        """What was used that Redis does not know of."""
        return max(0, self._untold.get((counter, mark), 0)) if self._untold else 0

    def is_overtaken(self, wants: Sequence[Want], marks: Sequence[str], at: int) -> bool:
        """Whether more is gone than there was, now that Redis has granted this: while it was asked,
        others were granted theirs without it. at: when it granted; it may know of them by now.
        """
        return (bool(self._untold) or _is_before(at, self._told_at)) and any(
            (known := self._heard.get(want.counter)) is not None
            and known.mark == mark
            and want.limit - known.used < self._ours(want, mark)
            for want, mark in zip(wants, marks, strict=True)
        )

    def _choose(
        self, wants: Sequence[Want], marks: Sequence[str], wall: float, choices: Choices
    ) -> Verdict:
        """As `take`, where it is not known yet who will answer."""
        waits: list[float] = []
        levels: list[Level] = []
        for want, mark in zip(wants, marks, strict=True):
            if want.window == "minute":
                part = [self._shared(want)]
                waits += self._rates.waits(part)
                levels += self._rates.look_now(part)
            else:
                free = self._free(want, mark)
                levels.append(_level(want, free, wall))
                waits.append(_wait(want, levels[-1]) if free < max(1, want.amount) else 0.0)
        refused = choices.refused(waits)
        if refused >= 0:
            return Verdict(None, levels, refused, waits[refused])
        opened = choices.open(waits)
        taken = held(wants, choices, opened)
        verdict = self.take([want for _, want in taken], [marks[at] for at, _ in taken], wall)
        for (at, _), level in zip(taken, verdict.levels, strict=True):
            levels[at] = level
        refused = -1 if verdict.hold is not None else taken[verdict.refused][0]
        return Verdict(verdict.hold, levels, refused, verdict.wait_s, opened)

    def take(
        self,
        wants: Sequence[Want],
        marks: Sequence[str],
        wall: float,
        choices: Choices | None = None,
    ) -> Verdict:
        """Grant all of it or nothing. The hold is that of the rates; the rest is owed."""
        if choices is not None:
            return self._choose(wants, marks, wall, choices)
        free = [
            None if want.window == "minute" else self._free(want, mark)
            for want, mark in zip(wants, marks, strict=True)
        ]
        for place, (want, left) in enumerate(zip(wants, free, strict=True)):
            if left is not None and left < max(1, want.amount):
                levels = [_level(w, f, wall) for w, f in zip(wants, free, strict=True)]
                return Verdict(None, levels, place, _wait(want, levels[place]))
        rates = [place for place, left in enumerate(free) if left is None]
        verdict = self._rates.take_now([self._shared(wants[place]) for place in rates])
        levels = [_level(w, f, wall) for w, f in zip(wants, free, strict=True)]
        for place, level in zip(rates, verdict.levels, strict=True):
            levels[place] = level
        if verdict.hold is None:
            return Verdict(None, levels, rates[verdict.refused], verdict.wait_s)
        for place, (want, mark, left) in enumerate(zip(wants, marks, free, strict=True)):
            if left is not None:
                self._owe(want.counter, mark, want.amount)
                levels[place] = self.level(want, mark, wall)
            else:  # of the whole, as far as is known here
                share = -(-want.limit // self.mates)
                level = levels[place]
                levels[place] = Level(want.limit - share + level.remaining, level.reset_s)
        return Verdict(verdict.hold, levels)

    def settle_rates(self, hold: Hold, actual: Sequence[int]) -> None:
        """actual: of the rates among the wants."""
        self._rates.settle(hold, actual)

    def level(self, want: Want, mark: str, wall: float) -> Level:
        """How a limit stands, as far as is known here."""
        return _level(want, self._left(want, mark) - self._ours(want, mark), wall)

    def _owe(self, counter: str, mark: str, amount: int) -> None:
        """So much more was used that Redis does not know of."""
        _add(self._untold, (counter, mark), amount)

    def _shared(self, want: Want) -> Want:
        """A part of a rate."""
        return replace(want, limit=-(-want.limit // self.mates))

    def _free(self, want: Want, mark: str) -> int:
        """The share of a limit, less what was granted of it."""
        return -(-self._left(want, mark) // self.mates) - self._ours(want, mark)

    def _left(self, want: Want, mark: str) -> int:
        """When Redis was last heard, or as the database said."""
        known, spent = self._heard.get(want.counter), self._spent.get(want.counter)
        if known is not None and known.mark == mark:
            return want.limit - known.used
        if spent is not None and spent[1] == mark:
            return want.limit - spent[0]
        return want.limit

    def _ours(self, want: Want, mark: str) -> int:
        name = (want.counter, mark)
        vague = self._vague.get(name)
        return self._untold.get(name, 0) + (0 if vague is None else vague.amount)


def _is_before(at: int, other: int) -> bool:
    """Of two moments of Redis. None is that much late: then its clock was set back."""
    return 0 < other - at < LATEST


def _add(amounts: dict[tuple[str, str], int], name: tuple[str, str], more: int) -> None:
    found = amounts.get(name, 0) + more
    if found:
        amounts[name] = found
    else:
        amounts.pop(name, None)


def _level(want: Want, left: int | None, wall: float) -> Level:
    if want.window == "now":
        return Level(max(0, left or 0), 0.0)
    _, ends = span(want.window, want.time_zone, wall)
    return Level(max(0, left or 0), FOREVER if ends == FOREVER else max(0.0, ends - wall))


def _wait(want: Want, level: Level) -> float:
    if want.window == "now":
        return SOON_S
    return level.reset_s if want.amount <= want.limit else FOREVER
