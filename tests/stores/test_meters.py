"""Limits in memory: rates, windows, leases, and what stays true whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace
from typing_extensions import override

from xrouter.domain.limits import Meter, Window
from xrouter.domain.ports import Hold, Spent, Verdict, Want
from xrouter.domain.windows import FOREVER, is_zone, span
from xrouter.stores.memory.meters import MAX_COUNTERS, MemoryMeters

ZONES = ("Europe/Moscow", "America/New_York", "Asia/Beirut", "America/Sao_Paulo", "Pacific/Apia")
LEASE_S = 100.0
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


class Clock:
    """Both clocks; `now` goes on, `wall` may be set."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = NOON

    def go(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


class Kept(MemoryMeters):
    """All holds are known to somebody."""

    def __init__(self, clock: Clock, max_counters: int = MAX_COUNTERS) -> None:
        super().__init__(lambda: clock.now, lambda: clock.wall, max_counters)
        self.kept: list[Verdict] = []

    @override
    def take_now(self, wants: Sequence[Want]) -> Verdict:
        self.kept.append(super().take_now(wants))
        return self.kept[-1]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meters(clock: Clock) -> Kept:
    return Kept(clock)


def want(
    limit: int = 10,
    amount: int = 1,
    window: Window = "minute",
    meter: Meter = "requests",
    zone: str = "UTC",
) -> Want:
    return Want(f"key:k|*|{meter}|{window}", meter, window, limit, amount, zone)


def taken(verdict: Verdict) -> Hold:
    assert verdict.hold is not None, verdict
    return verdict.hold


def left(meters: MemoryMeters, of: Want) -> int:
    return asyncio.run(meters.look([of]))[0].remaining


# --- rates


def test_a_burst_and_then_a_steady_flow(meters: MemoryMeters, clock: Clock) -> None:
    for remaining in range(59, -1, -1):
        verdict = meters.take_now([want(60)])
        assert verdict.levels[0].remaining == remaining
    refused = meters.take_now([want(60)])
    assert (refused.hold, refused.refused) == (None, 0)
    assert refused.wait_s == pytest.approx(1.0)
    assert refused.levels[0].reset_s == pytest.approx(60.0)
    clock.go(1.0)
    assert meters.take_now([want(60)]).hold
    assert not meters.take_now([want(60)]).hold


@given(st.integers(1, 1000), st.lists(st.floats(0, 30), max_size=300))
def test_never_more_than_twice_the_rate_in_any_minute(rpm: int, pauses: list[float]) -> None:
    """A burst and the flow of one minute: the known bound of GCRA."""
    clock, granted = Clock(), []
    meters = Kept(clock)
    for pause in pauses:
        clock.go(pause)
        if meters.take_now([want(rpm)]).hold:
            granted.append(clock.now)
    for start in granted:
        assert sum(start <= at < start + 60 for at in granted) <= 2 * rpm


def test_tokens_that_were_not_used_are_given_back(meters: MemoryMeters) -> None:
    tokens = want(1000, 900, meter="tokens")
    hold = taken(meters.take_now([tokens]))
    assert not meters.take_now([tokens]).hold
    meters.settle(hold, [100])
    assert left(meters, tokens) == 900


def test_what_became_free_by_itself_is_not_given_back_again(
    meters: MemoryMeters, clock: Clock
) -> None:
    tokens = want(600, 600, meter="tokens")
    hold = taken(meters.take_now([tokens]))
    clock.go(60)
    taken(meters.take_now([tokens]))
    meters.settle(hold, [0])
    assert left(meters, tokens) == 0


def test_more_tokens_than_were_held_are_a_debt(meters: MemoryMeters, clock: Clock) -> None:
    tokens = want(600, 60, meter="tokens")
    hold = taken(meters.take_now([tokens]))
    clock.go(70)
    meters._forget(clock.now, clock.wall)  # which changes nothing
    meters.settle(hold, [60 + 1200])
    refused = meters.take_now([tokens])
    assert refused.wait_s == pytest.approx(66.0)


def test_more_than_a_minute_holds_is_never_granted(meters: MemoryMeters) -> None:
    assert meters.take_now([want(5, 6)]).wait_s == FOREVER
    assert meters.take_now([want(0, 1)]).wait_s == FOREVER
    assert meters.take_now([want(0, 0)]).wait_s == FOREVER


# --- all or nothing


def test_a_refusal_takes_nothing_of_the_others(meters: MemoryMeters) -> None:
    day, total = want(10, 1, "day"), want(1, 1, "total")
    taken(meters.take_now([day, total]))
    refused = meters.take_now([day, total])
    assert (refused.refused, refused.wait_s) == (1, FOREVER)
    assert left(meters, day) == 9


@given(st.permutations(["minute", "day", "now"]), st.integers(0, 4), st.integers(1, 9))
def test_a_refusal_changes_nothing(windows: list[Window], before: int, amount: int) -> None:
    clock = Clock()
    meters = Kept(clock)
    wants = [want(20, amount, window) for window in windows]
    bar = want(before, 1, "total")
    for _ in range(before):
        taken(meters.take_now([bar, *(replace(each, amount=1) for each in wants)]))
    clock.go(0.7)
    levels = meters.look_now(wants)
    refused = meters.take_now([*wants, bar])
    assert (refused.hold, refused.refused, refused.wait_s) == (None, len(wants), FOREVER)
    assert meters.look_now(wants) == refused.levels[:-1]
    for level, found in zip(levels, refused.levels, strict=False):
        assert level.remaining == found.remaining
        assert level.reset_s == pytest.approx(found.reset_s)


def test_a_failure_takes_nothing(clock: Clock) -> None:
    meters = MemoryMeters(lambda: clock.now, lambda: clock.wall)
    total = want(1, 1, "total")
    with pytest.raises(ZoneInfoNotFoundError):
        meters.take_now([total, want(1, 1, "day", zone="Europe/Atlantis")])
    assert left(meters, total) == 1


@pytest.mark.parametrize("meter", ["running", "streams"])
def test_calls_at_a_time(meters: MemoryMeters, meter: Meter) -> None:
    place = want(2, 1, "now", meter)
    first = taken(meters.take_now([place]))
    taken(meters.take_now([place]))
    assert meters.take_now([place]).wait_s == 1.0
    meters.settle(first, [0])
    assert meters.take_now([place]).hold


async def test_e01_five_hundred_at_once_on_a_budget_for_a_hundred(meters: MemoryMeters) -> None:
    budget = want(100 * 7, 7, "month", "money")

    async def ask() -> bool:
        verdict = await meters.take([budget], LEASE_S)
        await asyncio.sleep(0)
        if verdict.hold is None:
            return False
        meters.settle(verdict.hold, [7])
        return True

    assert sum(await asyncio.gather(*(ask() for _ in range(500)))) == 100
    assert (await meters.look([budget]))[0].remaining == 0


def test_nothing_wanted_needs_something_left(meters: MemoryMeters) -> None:
    free = want(1, 0, "total", "money")
    hold = taken(meters.take_now([free]))
    meters.settle(hold, [1])
    assert not meters.take_now([free]).hold


# --- holds


def test_what_nobody_knows_any_more_is_free_and_nothing_before(clock: Clock) -> None:
    """A stream may last as long as it likes; a request that dies gives back what it held."""
    meters = MemoryMeters(lambda: clock.now, lambda: clock.wall)
    budget = want(10, 10, "total", "money")
    hold = [taken(meters.take_now([budget]))]
    clock.go(10 * LEASE_S)
    assert not meters.take_now([budget]).hold
    hold.clear()
    assert left(meters, budget) == 10


def test_settled_once(meters: MemoryMeters) -> None:
    budget = want(10, 5, "total", "money")
    hold = taken(meters.take_now([budget]))
    meters.settle(hold, [-3])
    meters.settle(hold, [2])
    assert left(meters, budget) == 10


# --- windows


@given(
    st.sampled_from(ZONES),
    st.floats(946_684_800, 2_840_140_800),
    st.sampled_from(["day", "month"]),
)
def test_windows_hold_their_moment_and_meet(zone: str, at: float, window: Window) -> None:
    starts, ends = span(window, zone, at)
    assert starts <= at < ends
    assert span(window, zone, ends)[0] == ends
    assert span(window, zone, starts) == (starts, ends)
    hours = (ends - starts) / 3600
    assert 22 <= hours <= 26 if window == "day" else 27 * 24 <= hours <= 32 * 24
    first = datetime.fromtimestamp(starts, ZoneInfo(zone))
    assert window == "day" or first.day == 1


@pytest.mark.parametrize(
    "zone,day,hours",
    [
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Asia/Beirut", "2026-03-29", 23),
        ("Europe/Moscow", "2026-03-29", 24),
        ("Europe/Moscow", "2028-02-29", 24),
        ("Pacific/Apia", "2011-12-29", 24),
    ],
)
def test_days_in_which_clocks_leap(zone: str, day: str, hours: int) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone))
    starts, ends = span("day", zone, noon.timestamp())
    assert (ends - starts) / 3600 == hours


def test_a_leap_february_is_one_month() -> None:
    starts, ends = span("month", "UTC", datetime(2028, 2, 29, tzinfo=UTC).timestamp())
    assert (ends - starts) / 86400 == 29


def test_zones() -> None:
    assert is_zone("Europe/Moscow")
    assert not is_zone("Europe/Atlantis")
    assert not is_zone("../etc/passwd")
    assert not is_zone("")


def test_a_day_begins_anew_at_midnight_of_its_zone(meters: MemoryMeters, clock: Clock) -> None:
    day = want(1, 1, "day", zone="Europe/Moscow")  # 15:00 there
    hold = taken(meters.take_now([day]))
    refused = meters.take_now([day])
    assert refused.wait_s == 9 * 3600
    clock.go(9 * 3600)
    assert meters.take_now([day]).hold
    meters.settle(hold, [0])  # of yesterday
    assert left(meters, day) == 0


@given(st.lists(st.floats(-86_399, 86_399), max_size=30))
def test_a_clock_that_is_set_opens_no_window_twice(leaps: list[float]) -> None:
    """As many days as the clock ever reached, and no more."""
    clock = Clock()
    meters = Kept(clock)
    day, granted, latest = want(1, 1, "day"), 1, NOON
    taken(meters.take_now([day]))
    for leap in leaps:
        clock.wall = max(latest - 86_399, clock.wall + leap)
        latest = max(latest, clock.wall)
        granted += meters.take_now([day]).hold is not None
    assert granted <= latest // 86400 - NOON // 86400 + 1


def test_a_clock_that_was_years_ahead_heals(meters: MemoryMeters, clock: Clock) -> None:
    day = want(2, 1, "day")
    clock.wall += 4 * 365 * 86400
    taken(meters.take_now([day]))
    clock.wall = NOON
    assert left(meters, day) == 1  # what was used is kept
    clock.wall += 86400
    assert left(meters, day) == 2


def test_seeds_count_in_their_own_window_alone(meters: MemoryMeters, clock: Clock) -> None:
    day, total = want(10, 1, "day"), want(10, 1, "total")
    meters.seed(
        [
            Spent(day.counter, "day", "UTC", 4, clock.wall - 3600),
            Spent(day.counter, "day", "UTC", 3, clock.wall - 86400),
            Spent(total.counter, "total", "UTC", 9, clock.wall - 10**8),
        ]
    )
    assert (left(meters, day), left(meters, total)) == (6, 1)


# --- bounds


def test_idle_counters_are_forgotten(clock: Clock) -> None:
    meters = Kept(clock, max_counters=10)
    for n in range(1000):
        assert meters.take_now([Want(f"user:{n}", "requests", "minute", 60, 1, "UTC")]).hold
        clock.go(1)
        assert len(meters._counters) <= 10


def test_room_is_made_in_the_middle_of_a_request(clock: Clock) -> None:
    meters = Kept(clock, max_counters=2)
    rate = want(60)
    taken(meters.take_now([rate, want(5, 1, "total")]))
    clock.go(60)
    hold = taken(meters.take_now([want(5, 1, "total", "money"), rate]))
    assert left(meters, rate) == 59
    meters.release(hold)
    assert left(meters, rate) == 60


def test_when_all_are_in_use_the_oldest_go(clock: Clock) -> None:
    meters = Kept(clock, max_counters=10)
    for n in range(100):
        assert meters.take_now([Want(f"user:{n}", "money", "total", 5, 1, "UTC")]).hold
    assert len(meters._counters) <= 10
    assert "user:99" in meters._counters


# --- E11


class Interleavings(RuleBasedStateMachine):
    """Any order of take, settle, release, crash and seeding: what is spent is what was settled, and
    nothing is refused that is free.
    """

    CAP = 100

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.meters = MemoryMeters(lambda: self.clock.now, lambda: self.clock.wall)
        self.spent = 0
        self.over = 0
        self.open: dict[Hold, int] = {}

    def _want(self, amount: int) -> Want:
        return want(self.CAP, amount, "total", "money")

    def _held(self) -> int:
        return sum(self.open.values())

    def _any(self, data: st.DataObject) -> Hold:
        """By its place: whoever draws an object remembers it."""
        return list(self.open)[data.draw(st.integers(0, len(self.open) - 1))]

    @rule(amount=st.integers(0, 40))
    def take(self, amount: int) -> None:
        free = self.CAP - self.spent - self._held()
        verdict = self.meters.take_now([self._want(amount)])
        assert (verdict.hold is not None) == (max(amount, 1) <= free)
        if verdict.hold is not None:
            self.open[verdict.hold] = amount

    @precondition(lambda self: self.open)
    @rule(data=st.data(), actual=st.integers(0, 50))
    def settle(self, data: st.DataObject, actual: int) -> None:
        hold = self._any(data)
        amount = self.open.pop(hold)
        self.meters.settle(hold, [actual])
        self.spent += actual
        self.over += max(0, actual - amount)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        hold = self._any(data)
        del self.open[hold]
        self.meters.release(hold)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def die_without_a_word(self, data: st.DataObject) -> None:
        del self.open[self._any(data)]

    @rule()
    def crash(self) -> None:
        """The process begins anew, from what the database knows."""
        self.open.clear()
        self.meters = MemoryMeters(lambda: self.clock.now, lambda: self.clock.wall)
        self.seed()

    @rule()
    def seed(self) -> None:
        spent = Spent(self._want(0).counter, "total", "UTC", self.spent, self.clock.wall)
        self.meters.seed([spent])

    @rule(seconds=st.floats(0, 1e6))
    def wait(self, seconds: float) -> None:
        self.clock.go(seconds)

    @invariant()
    def the_sum_is_right(self) -> None:
        assert left(self.meters, self._want(0)) == max(0, self.CAP - self.spent - self._held())

    @invariant()
    def the_cap_is_passed_by_what_was_underestimated_alone(self) -> None:
        assert self.spent + self._held() <= self.CAP + self.over


Interleavings.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestInterleavings = Interleavings.TestCase


def test_what_has_become_free_by_itself_is_not_given_back_once_more(
    meters: Kept, clock: Clock
) -> None:
    want = Want("c", "tokens", "minute", 60, 30, "UTC")
    first, second = meters.take_now([want]).hold, meters.take_now([want]).hold
    assert first is not None
    assert second is not None
    clock.go(29)
    meters.release(first)
    assert meters.look_now([replace(want, amount=0)])[0].remaining == 30
