"""Strategies that compare: speed, price, quality, what is left, and all of these together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.strategies.parts import STREAM, ask, drawn, fits, ordered, rate, target

from xrouter.domain.errors import UpstreamDenied, UpstreamFailed
from xrouter.domain.plan import Target
from xrouter.flow import board as board_module
from xrouter.flow.board import RATED_EVERY_S, WINDOW_S, Board
from xrouter.flow.conditions import price
from xrouter.flow.standing import LEAST_OPINIONS
from xrouter.flow.strategies import auto, latency, strategies

ONE, TWO, THREE = TARGETS = [target(1), target(2), target(3)]
BILLION = 10**9


def measured(*seconds: float, streamed: bool = True) -> Board:
    board = Board(lambda: 100.0)
    for each, value in zip(TARGETS, seconds, strict=False):
        board.answered(each, value, streamed=streamed)
    return board


def test_the_faster_of_two_drawn_ones_is_first() -> None:
    board = measured(0.3, 0.1, 0.2)
    seen = drawn(3000, lambda: ordered("latency", TARGETS, STREAM, board, explore=0)[0])
    assert fits(seen, {2: 2, 3: 1})


def test_behind_the_first_the_fastest_follow() -> None:
    board = measured(0.3, 0.1, 0.2)
    for _ in range(20):
        found = ordered("latency", TARGETS, STREAM, board, explore=0)
        assert found in ([2, 3, 1], [3, 2, 1])


def test_one_that_was_slow_once_is_tried_now_and_then() -> None:
    board = measured(9.0, 0.1)
    seen = drawn(5000, lambda: ordered("latency", TARGETS[:2], STREAM, board)[0])
    assert fits(seen, {1: latency.EXPLORED / 2, 2: 1 - latency.EXPLORED / 2})
    seen = drawn(1000, lambda: ordered("latency", TARGETS[:2], STREAM, board, explore=1)[0])
    assert fits(seen, {1: 1, 2: 1})


def test_one_without_a_measure_is_tried_by_one_request_at_a_time() -> None:
    board = measured(0.3, 0.1)
    assert ordered("latency", [TWO, THREE], STREAM, board, explore=0) == [3, 2]
    board.enter(THREE)
    assert ordered("latency", [TWO, THREE], STREAM, board, explore=0) == [2, 3]
    board.answered(THREE, 0.05, streamed=True)
    assert ordered("latency", [TWO, THREE], STREAM, board, explore=0) == [3, 2]


def test_nobody_is_preferred_while_nobody_is_measured() -> None:
    board = Board()
    for each in TARGETS:
        board.enter(each)
    seen = drawn(3000, lambda: ordered("latency", TARGETS, STREAM, board)[0])
    assert fits(seen, {1: 1, 2: 1, 3: 1})


def test_streams_are_compared_with_streams_and_answers_with_answers() -> None:
    board = measured(0.5, 0.1, streamed=True)
    board.answered(ONE, 2.0, streamed=False)
    board.answered(TWO, 8.0, streamed=False)
    assert ordered("latency", TARGETS[:2], STREAM, board, explore=0) == [2, 1]
    assert ordered("latency", TARGETS[:2], ask(), board, explore=0) == [1, 2]


def test_who_is_held_back_is_not_drawn() -> None:
    board = measured(0.1, 0.3, 0.2)
    board.failed(ONE, UpstreamDenied("no"))
    down = target(4, state="down")
    seen = drawn(200, lambda: ordered("latency", [*TARGETS, down], STREAM, board, explore=0)[0])
    assert set(seen) == {3}


def test_the_cheapest_is_first_and_unknown_prices_last() -> None:
    targets = [target(1), target(2, price=20), target(3, price=10), target(4, price=1000)]
    targets.append(target(5, price=1, currency="USD"))
    text = "x" * 400
    assert ordered("cheapest", targets, ask(text)) == [3, 2, 4, 1, 5]
    rates = {"USD": 15 * BILLION}
    assert ordered("cheapest", targets, ask(text, rates=rates)) == [3, 5, 2, 4, 1]


def test_equal_prices_stay_as_they_stand() -> None:
    targets = [target(3, price=5), target(1, price=5), target(2, price=5)]
    assert ordered("cheapest", targets, ask()) == [3, 1, 2]


def test_what_is_cheaper_depends_on_the_answers_length() -> None:
    reading, writing = target(1, price=10), target(2, price=10)
    reading = _priced(reading, 1, 100)
    writing = _priced(writing, 20, 20)
    both = [reading, writing]
    prompt = "x" * 4000  # a thousand tokens
    assert ordered("cheapest", both, ask(prompt)) == [2, 1]
    assert ordered("cheapest", both, ask(prompt, max_tokens=10)) == [1, 2]
    assert ordered("cheapest", both, ask(prompt), output_tokens=10) == [1, 2]
    assert ordered("cheapest", both, ask(prompt, max_tokens=10), output_tokens=900) == [1, 2]


@given(st.lists(st.none() | st.integers(0, 10**6), min_size=2, max_size=6), st.integers(1, 10**6))
def test_costs_never_fall_along_the_order(prices: list[int | None], limit: int) -> None:
    targets = [target(number, price=each) for number, each in enumerate(prices)]
    asked = ask(max_tokens=limit)
    made = strategies()["cheapest"].order(targets, asked, Board(), {})
    costs = [price(each, asked) for each in made]
    known = [each for each in costs if each is not None]
    assert costs[: len(known)] == sorted(known)


def test_the_one_that_is_refused_least_is_first() -> None:
    board = Board(lambda: 1.0)
    for each, refused in zip(TARGETS, (20, 0, 5), strict=True):
        for _ in range(50):
            board.answered(each, 0.1, streamed=True)
        board.standing(each).refused = refused
    assert ordered("quality", TARGETS, ask(), board, explore=0) == [2, 3, 1]
    assert ordered("quality", TARGETS, ask(), board, explore=0, min_samples=51) == [1, 2, 3]
    seen = drawn(3000, lambda: ordered("quality", TARGETS, ask(), board)[0])
    assert fits(seen, {1: 0.05 / 3, 2: 1 - 0.1 / 3, 3: 0.05 / 3})
    seen = drawn(900, lambda: ordered("quality", TARGETS, ask(), board, explore=1)[0])
    assert fits(seen, {1: 1, 2: 1, 3: 1})


def test_what_callers_say_counts_before_what_filters_do() -> None:
    board = measured(0.1, 0.1, 0.1)
    rate(board, ONE, 0.2)
    rate(board, TWO, 0.9)
    rate(board, THREE, 7.0)
    assert ordered("quality", TARGETS, ask(), board, explore=0) == [3, 2, 1]
    rate(board, ONE, 1.0, keys=30)
    rate(board, THREE, -7.0)
    assert ordered("quality", TARGETS, ask(), board, explore=0) == [1, 2, 3]


def test_a_few_words_are_no_opinion_and_one_key_has_one_word_a_minute() -> None:
    now = [1.0]
    board = Board(lambda: now[0])
    rate(board, ONE, 0.0, keys=LEAST_OPINIONS - 1)
    for _ in range(50):
        board.rated(TWO, 0.0, "loud")
        board.rated(THREE, 0.0, "loud")
    assert ordered("quality", TARGETS, ask(), board, explore=0) == [1, 2, 3]
    assert [round(board.standing(t).opinion, 2) for t in TARGETS] == [0.64, 0.8, 0.8]
    for _ in range(LEAST_OPINIONS - 1):
        now[0] += RATED_EVERY_S
        board.rated(TWO, 0.0, "loud")
    assert ordered("quality", TARGETS, ask(), board, explore=0) == [1, 3, 2]


def test_who_has_scored_is_known_of_so_many_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "_MAX_RATED", 2)
    board = Board(lambda: 1.0)
    for key_id in ("a", "b", "c", "b", "c", "a"):
        board.rated(ONE, 0.5, key_id)
    assert board.standing(ONE).opinions == 4, "the first one was forgotten"


def test_less_than_a_percent_of_quality_is_no_difference() -> None:
    board = measured(0.1, 0.1)
    rate(board, ONE, 0.901)
    rate(board, TWO, 0.903)
    assert ordered("quality", TARGETS[:2], ask(), board, explore=0) == [1, 2]


def test_the_most_of_a_limit_is_first() -> None:
    board = Board(lambda: 1.0)
    board.left(ONE, 3)
    board.left(TWO, 70)
    assert ordered("quota", TARGETS, ask(), board) == [3, 2, 1]
    for _ in range(68):
        board.enter(TWO)
    assert ordered("quota", TARGETS, ask(), board) == [3, 1, 2]


@pytest.mark.parametrize("said,lasts", [(None, WINDOW_S), (5.0, 5.0)])
def test_what_was_left_is_forgotten_with_its_window(said: float | None, lasts: float) -> None:
    now = [1.0]
    board = Board(lambda: now[0])
    board.left(ONE, -1, said)
    assert ordered("quota", TARGETS[:2], ask(), board) == [2, 1]
    now[0] += lasts - 0.1
    assert board.remaining(ONE) == 0
    now[0] += 0.2
    assert ordered("quota", TARGETS[:2], ask(), board) == [1, 2]


def test_the_best_in_all_is_what_the_operator_prefers() -> None:
    fast, cheap, good = target(1, price=90), target(2, price=10), target(3, price=90)
    board = Board(lambda: 1.0)
    for each, seconds, score in ((fast, 0.1, 0.3), (cheap, 1.0, 0.3), (good, 1.0, 1.0)):
        board.answered(each, seconds, streamed=True)
        rate(board, each, score, keys=20)
    found = {
        prefer: ordered("auto", [fast, cheap, good], STREAM, board, prefer=prefer, explore=0)[0]
        for prefer in ("speed", "price", "quality")
    }
    assert found == {"speed": 1, "price": 2, "quality": 3}


def best(targets: list[Target], board: Board, prefer: str) -> set[int]:
    made = (ordered("auto", targets, STREAM, board, prefer=prefer, explore=0) for _ in range(20))
    return {found[0] for found in made}


@pytest.mark.parametrize("prefer", auto.PREFERENCES)
def test_who_fails_is_not_the_best_in_all_until_it_is_forgotten(prefer: str) -> None:
    now = [1.0]
    board = Board(lambda: now[0])
    for each in TARGETS[:2]:
        board.answered(each, 0.1, streamed=True)
    for _ in range(3):
        board.failed(ONE, UpstreamFailed("no"))
    assert best(TARGETS[:2], board, prefer) == {2}
    now[0] += 60
    assert best(TARGETS[:2], board, prefer) == {1, 2}


@pytest.mark.parametrize("prefer", auto.PREFERENCES)
def test_a_degraded_endpoint_and_one_without_room_stand_behind(prefer: str) -> None:
    degraded, full, other = target(1, state="degraded"), target(2), target(3)
    board = Board(lambda: 1.0)
    board.left(full, 0)
    assert best([degraded, full, other], board, prefer) == {3}


def test_calls_under_way_make_others_the_best() -> None:
    board = Board(lambda: 1.0)
    for each in TARGETS:
        board.answered(each, 0.1, streamed=True)
    for _ in range(300):
        found = ordered("auto", TARGETS, STREAM, board)
        board.enter(TARGETS[found[0] - 1])
    running = [board.standing(each).running for each in TARGETS]
    assert min(running) > 60


def test_an_unknown_price_is_the_worst_and_one_price_for_all_is_none() -> None:
    board = Board(lambda: 1.0)
    assert best([target(1), target(2, price=50)], board, "price") == {2}
    assert best([target(1), target(2)], board, "price") == {1, 2}


@pytest.mark.parametrize("weights", auto.PREFERENCES.values())
def test_weights_of_the_best_in_all_are_shares(weights: tuple[float, ...]) -> None:
    assert sum(weights) == pytest.approx(1.0)


def _priced(each: Target, reading: int, writing: int) -> Target:
    version = each.version
    assert version.price is not None
    cost = type(version.price)(currency="RUB", input=reading * BILLION, output=writing * BILLION)
    made = type(version)(label="1", upstream=version.upstream, price=cost)
    return Target(each.endpoint, each.model, made)
