"""Strategies that share the traffic out: by weight, in turn, by what is under way, by session."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.flow.strategies.parts import ask, drawn, fits, ordered, target

from xrouter.domain.errors import UpstreamDenied
from xrouter.domain.plan import Target
from xrouter.flow.board import Board
from xrouter.flow.strategies import round_robin, weighted

WEIGHTS = st.lists(st.integers(0, 9), min_size=2, max_size=5).filter(any)
SAME_CHANCES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def of(weights: list[int]) -> list[Target]:
    return [target(number, weight) for number, weight in enumerate(weights, 1)]


@SAME_CHANCES
@given(WEIGHTS, st.integers(0, 2**32))
def test_weights_are_shares(weights: list[int], seed: int) -> None:
    weighted.chance = Random(seed % 8)
    targets, asked = of(weights), ask()
    seen = drawn(1500, lambda: ordered("weighted", targets, asked)[0])
    assert fits(seen, dict(enumerate(weights, 1)))


def test_who_stands_second_is_drawn_by_weight_too() -> None:
    targets, asked, weights = of([1, 2, 5]), ask(), {1: 1, 2: 2, 3: 5}
    seen = drawn(6000, lambda: tuple(ordered("weighted", targets, asked)))
    shares = {
        order: weights[order[0]] / 8 * weights[order[1]] / (8 - weights[order[0]])
        for order in permutations(weights)
    }
    assert fits(seen, shares)


@pytest.mark.parametrize("name", ["weighted", "round_robin", "least_busy", "sticky"])
def test_a_weight_of_0_is_a_last_resort(name: str) -> None:
    targets = of([0, 1, 0, 3])
    for number in range(50):
        found = ordered(name, targets, ask(f"text {number}"))
        assert sorted(found[2:]) == [1, 3]
    assert sorted(ordered(name, of([0, 0]), ask())) == [1, 2]


@SAME_CHANCES
@given(WEIGHTS, st.integers(1, 4))
def test_turns_are_exactly_the_weights(weights: list[int], rounds: int) -> None:
    round_robin._turns.clear()
    targets, asked = of(weights), ask()
    seen = drawn(
        rounds * sum(weights), lambda: round_robin.order(targets, asked, Board(), {})[0].weight
    )
    heavy = Counter(weights)
    assert seen == {w: rounds * w * many for w, many in heavy.items() if w}


@SAME_CHANCES
@given(WEIGHTS)
def test_nobody_is_far_ahead_of_its_share(weights: list[int]) -> None:
    round_robin._turns.clear()
    targets, asked, whole = of(weights), ask(), sum(weights)
    seen: Counter[int] = Counter()
    for turn in range(1, whole + 1):
        seen[ordered("round_robin", targets, asked)[0]] += 1
        for number, weight in enumerate(weights, 1):
            assert abs(seen[number] - turn * weight / whole) < len(weights)


def test_turns_have_no_bursts() -> None:
    firsts = [ordered("round_robin", of([3, 1]), ask())[0] for _ in range(8)]
    assert firsts == [1, 1, 2, 1] * 2


def test_who_is_held_back_leaves_its_turns_to_all_others_alike() -> None:
    board, targets, asked = Board(lambda: 1.0), of([1, 1, 1, 1]), ask()
    targets[1] = target(2, 1, state="down")
    board.failed(targets[0], UpstreamDenied("no"))
    seen = Counter(ordered("round_robin", targets, asked, board)[0] for _ in range(100))
    assert seen == {3: 50, 4: 50}
    assert sorted(ordered("round_robin", targets, asked, board)[2:]) == [1, 2]
    board.failed(targets[2], UpstreamDenied("no"))
    assert ordered("round_robin", targets, asked, board)[0] == 4


def test_turns_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_robin, "_MAX_GROUPS", 5)
    for number in range(1, 40, 2):
        ordered("round_robin", [target(number), target(number + 1)], ask())
        assert len(round_robin._turns) <= 5


@SAME_CHANCES
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), min_size=2, max_size=5))
def test_the_least_busy_for_its_weight_is_first(loads: list[tuple[int, int]]) -> None:
    board, targets = Board(), of([weight for _, weight in loads])
    for each, (running, _) in zip(targets, loads, strict=True):
        for _ in range(running):
            board.enter(each)
    found = ordered("least_busy", targets, ask(), board)
    busy = [loads[number - 1][0] / loads[number - 1][1] for number in found]
    assert busy == sorted(busy)


def test_equally_busy_ones_are_drawn() -> None:
    board, targets, asked = Board(), of([1, 1, 1]), ask()
    board.enter(targets[2])
    seen = drawn(1000, lambda: ordered("least_busy", targets, asked, board)[0])
    assert fits(seen, {1: 1, 2: 1})


def test_the_least_busy_spreads_calls_evenly() -> None:
    board, targets, asked = Board(), of([1, 1, 2]), ask()
    for _ in range(40):
        board.enter(targets[ordered("least_busy", targets, asked, board)[0] - 1])
    assert [board.standing(each).running for each in targets] == [10, 10, 20]


SESSIONS = [ask(user=f"user {number}") for number in range(300)]


@SAME_CHANCES
@given(WEIGHTS, st.data())
def test_only_the_sessions_of_a_target_leave_with_it(
    weights: list[int], data: st.DataObject
) -> None:
    targets = of(weights)
    gone = data.draw(st.sampled_from(targets))
    left = [each for each in targets if each is not gone]
    assume(left)
    for session in SESSIONS[:60]:
        before = ordered("sticky", targets, session)
        after = ordered("sticky", left, session)
        assert after == [number for number in before if number != gone.endpoint.id]


def test_who_comes_takes_its_share_from_all_and_moves_nobody_else() -> None:
    targets = of([1, 1, 1])
    for session in SESSIONS:
        before = ordered("sticky", targets, session)[0]
        assert ordered("sticky", [*targets, target(4)], session)[0] in (before, 4)


@SAME_CHANCES
@given(WEIGHTS)
def test_sessions_are_spread_by_weight(weights: list[int]) -> None:
    targets = of(weights)
    seen = Counter(ordered("sticky", targets, session)[0] for session in SESSIONS)
    assert fits(seen, dict(enumerate(weights, 1)))


def test_a_heavier_weight_moves_sessions_only_to_it() -> None:
    for session in SESSIONS:
        before = ordered("sticky", of([1, 1, 1]), session)[0]
        assert ordered("sticky", of([1, 3, 1]), session)[0] in (before, 2)


def test_sessions_are_the_same_in_all_processes() -> None:
    firsts = [ordered("sticky", of([1, 2, 3]), session)[0] for session in SESSIONS[:12]]
    assert firsts == [1, 3, 3, 3, 2, 3, 1, 3, 3, 3, 3, 1]


def test_places_in_the_list_mean_nothing_to_sessions() -> None:
    targets = of([1, 2, 3])
    for session in SESSIONS[:40]:
        assert ordered("sticky", targets, session) == ordered("sticky", targets[::-1], session)


def test_headers_name_sessions() -> None:
    one = [ask(f"text {n}", headers={b"x-xrouter-session": b"s\xff1"}) for n in range(20)]
    assert len({ordered("sticky", of([1, 1, 1]), each)[0] for each in one}) == 1
