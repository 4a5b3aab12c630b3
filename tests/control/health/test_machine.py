from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrouter.control.health.machine import (
    GOOD_IN_A_ROW,
    MAX_LATENCIES,
    NOBODY_ASKED,
    QUIET_S,
    SLOW,
    Check,
    Health,
    Window,
    is_slow,
    judged,
    noted,
    restored,
)

GOOD = Check(20.0)
BAD = Check(10_000.0, "upstream_timeout")
MUTE = Check(10.0, "upstream_error", token=True)
SPOKE = Check(10.0, token=True)
STEADY = Health(latencies=(100.0,) * 20)
ORDER = {"healthy": 0, "degraded": 1, "down": 2}

windows = st.integers(0, 30).flatmap(
    lambda n: st.builds(
        Window,
        attempts=st.just(n),
        failed=st.integers(0, n),
        cause=st.sampled_from(["upstream_error", None]),
    )
)
checks = st.sampled_from([GOOD, BAD, MUTE, SPOKE, Check(5_000.0)])
steps = st.lists(st.tuples(checks, windows), max_size=40)


def after(health: Health, *seen: Check, window: Window = NOBODY_ASKED) -> Health:
    for check in seen:
        health = judged(noted(health, check), window, 0.0, probed=True)
    return health


def heard(health: Health, *seen: Window, now: float = 0.0) -> Health:
    for window in seen:
        health = judged(health, window, now, probed=False)
    return health


def test_three_failed_probes_in_a_row_and_two_good_ones() -> None:
    health = after(Health(), BAD, BAD)
    assert health.state == "healthy"
    health = after(health, BAD)
    assert (health.state, health.cause) == ("down", "upstream_timeout")
    health = after(health, GOOD)
    assert health.state == "down"
    health = after(health, GOOD)
    assert (health.state, health.cause) == ("healthy", None)


def test_one_that_fails_now_and_then_does_not_flicker() -> None:
    assert after(Health(), *[BAD, BAD, GOOD] * 20).state == "healthy"
    assert after(after(Health(), BAD, BAD, BAD), *[GOOD, BAD] * 20).state == "down"


@pytest.mark.parametrize(
    "attempts,failures,state",
    [
        (9, 9, "healthy"),
        (10, 5, "down"),
        (10, 4, "degraded"),
        (10, 1, "degraded"),
        (11, 1, "healthy"),
        (100, 0, "healthy"),
    ],
)
def test_what_callers_see_counts(attempts: int, failures: int, state: str) -> None:
    window = Window(attempts, failures, "upstream_error")
    health = judged(Health(), window, 0.0, probed=True)
    assert health.state == state
    assert health.cause == (None if state == "healthy" else "upstream_error")


def test_good_probes_do_not_outvote_the_callers() -> None:
    window = Window(20, 15, "upstream_error")
    assert after(Health(), *[GOOD] * 10, window=window).state == "down"


def test_better_goes_by_steps() -> None:
    down = judged(Health(), Window(10, 8), 0.0, probed=True)
    assert down.cause == "unknown"
    half = after(down, GOOD, GOOD, window=Window(10, 2, "upstream_error"))
    assert (half.state, half.cause) == ("degraded", "upstream_error")
    assert after(half, GOOD, GOOD).state == "healthy"


def test_slow_is_three_times_its_own_median() -> None:
    slow = Check(301.0)
    health = after(STEADY, slow, slow)
    assert health.state == "healthy"
    health = after(health, slow)
    assert (health.state, health.cause) == ("degraded", SLOW)
    assert after(health, Check(100.0), Check(100.0)).state == "healthy"
    assert after(STEADY, *[Check(299.0)] * 10).state == "healthy"


def test_what_is_fast_or_little_known_is_never_slow() -> None:
    assert not is_slow((1.0,) * 20, 249.0)
    assert is_slow((1.0,) * 20, 251.0)
    assert not is_slow((1.0,) * 9, 5_000.0)


def test_what_is_always_slow_becomes_usual() -> None:
    assert after(STEADY, *[Check(1_000.0)] * 60).state == "healthy"


def test_an_endpoint_that_lists_models_but_does_not_answer() -> None:
    health = after(Health(), MUTE, GOOD, MUTE, GOOD, MUTE)
    assert (health.state, health.cause) == ("down", "upstream_error")
    assert after(health, *[GOOD] * 5).state == "down"
    assert after(health, GOOD, GOOD, SPOKE).state == "healthy"


def test_without_probes_answers_alone_count() -> None:
    down = heard(Health(), Window(12, 12, "upstream_error"))
    assert down.state == "down"
    assert heard(down, Window(4, 3)).state == "down"
    assert heard(down, Window(1, 0)).state == "down"
    assert heard(down, Window(2, 0)).state == "healthy"


def test_without_probes_and_callers_it_gets_another_chance() -> None:
    down = heard(Health(), Window(12, 12))
    quiet = heard(down, NOBODY_ASKED, now=100.0)
    assert quiet.state == "down"
    assert heard(quiet, NOBODY_ASKED, now=100.0 + QUIET_S - 1).state == "down"
    assert heard(quiet, NOBODY_ASKED, now=100.0 + QUIET_S).state == "healthy"
    asked = heard(quiet, Window(1, 1), now=200.0)
    assert heard(asked, NOBODY_ASKED, now=100.0 + QUIET_S).state == "down"


def test_a_restart_forgets_nothing_and_forgives_nothing() -> None:
    health = restored("down", "upstream_timeout", [GOOD, GOOD, GOOD])
    assert judged(health, NOBODY_ASKED, 0.0, probed=True).state == "down"
    assert after(health, GOOD, GOOD).state == "healthy"
    assert after(restored("healthy", None, [BAD, BAD]), BAD).state == "down"


def test_who_says_that_it_is_down() -> None:
    """Callers alone, or the probes, then or later; when it is well again nobody does."""
    failing = Window(20, 20, "upstream_error")
    told = after(Health(), GOOD, window=failing)
    assert (told.state, told.silent) == ("down", False)
    silent = after(told, BAD, BAD, BAD, window=failing)
    assert (silent.state, silent.silent) == ("down", True)
    assert after(Health(), BAD, BAD, BAD).silent
    assert after(Health(), MUTE, MUTE, MUTE).silent
    again = after(silent, GOOD, GOOD)
    assert (again.state, again.silent) == ("healthy", False)
    assert restored("down", None, [], silent=True).silent


@given(steps)
def test_nothing_gets_better_without_two_good_probes(seen: list[tuple[Check, Window]]) -> None:
    health, good = Health(), 0
    for check, window in seen:
        before = health
        health = after(health, check, window=window)
        if not check.token:
            slow = is_slow(before.latencies, check.took_ms)
            good = good + 1 if check.code is None and not slow else 0
        elif check.code is not None:
            good = 0
        if ORDER[health.state] < ORDER[before.state]:
            assert good >= GOOD_IN_A_ROW
        if ORDER[health.state] > ORDER[before.state]:
            good = 0
        assert (health.cause is None) == (health.state == "healthy")
        assert len(health.latencies) <= MAX_LATENCIES


@given(steps, windows)
def test_to_judge_again_changes_nothing(seen: list[tuple[Check, Window]], window: Window) -> None:
    health = Health()
    for check, now in seen:
        health = after(health, check, window=now)
    once = judged(health, window, 0.0, probed=True)
    assert judged(once, window, 0.0, probed=True) == once


@given(steps)
def test_from_anywhere_good_probes_lead_back(seen: list[tuple[Check, Window]]) -> None:
    health = Health()
    for check, window in seen:
        health = after(health, check, window=window)
    usual = Check(20.0)
    assert after(health, SPOKE, usual, usual).state == "healthy"


@given(steps)
def test_from_anywhere_three_failures_lead_down(seen: list[tuple[Check, Window]]) -> None:
    health = Health()
    for check, window in seen:
        health = after(health, check, window=window)
    assert after(health, BAD, BAD, BAD).state == "down"


@given(st.lists(windows, max_size=40))
def test_without_probes_the_state_is_always_one_of_three(seen: list[Window]) -> None:
    health = Health()
    for number, window in enumerate(seen):
        health = judged(health, window, number * 5.0, probed=False)
        assert health.state in ORDER
        assert (health.cause is None) == (health.state == "healthy")
