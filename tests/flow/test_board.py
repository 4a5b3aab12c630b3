"""The board as a circuit breaker: when a target is held back, and when no longer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.flow.catalog import endpoint, model

from xrouter.domain.catalog import Version
from xrouter.domain.errors import (
    ClientGone,
    ContextLengthExceeded,
    InternalError,
    InvalidRequest,
    ModelNotFound,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamUnreachable,
    XRouterError,
)
from xrouter.domain.plan import Target
from xrouter.flow import board as boards
from xrouter.flow.board import (
    ASKED_PAUSE_S,
    FIRST_PAUSE_S,
    IN_A_ROW,
    LEAST_RETRIES,
    LONGEST_PAUSE_S,
    PARKED_S,
    STALE_S,
    TRIAL_S,
    Board,
)
from xrouter.flow.standing import MEMORY_S

NORTH, WEST = endpoint(1, "north"), endpoint(2, "west")
BIG, SMALL = Version(label="1", upstream="big"), Version(label="1", upstream="small")


def at(where: int, version: Version) -> Target:
    place = NORTH if where == 1 else WEST
    return Target(place, model(f"{place.provider}/{version.upstream}", version), version)


A, B, C = at(1, BIG), at(1, SMALL), at(2, BIG)
ALL = [A, B, C]
BROKEN = UpstreamFailed("broken")
LONGEST = max(PARKED_S, LONGEST_PAUSE_S)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(clock)


def fail(board: Board, target: Target, error: XRouterError = BROKEN, times: int = 1) -> None:
    for _ in range(times):
        board.enter(target).running -= 1
        board.failed(target, error)


def answer(board: Board, target: Target, times: int = 1, seconds: float = 0.0) -> None:
    for _ in range(times):
        board.enter(target).running -= 1
        board.answered(target, seconds, streamed=True)


def held(board: Board) -> list[Target]:
    return [target for target in ALL if board.holds(target)]


def test_failures_in_a_row_hold_a_target_back_and_no_other(board: Board) -> None:
    fail(board, A, times=IN_A_ROW - 1)
    assert (held(board), board.calm, board.state(A)) == ([], True, "closed")
    fail(board, A)
    assert (held(board), board.calm, board.state(A)) == ([A], False, "open")
    assert board.ready_first(ALL) == [B, C, A]
    assert board.ready_first([A]) == [A]


def test_answers_between_failures_are_no_row_but_half_of_all_failed(board: Board) -> None:
    for _ in range(IN_A_ROW - 1):
        answer(board, A)
        fail(board, A)
    assert held(board) == []
    fail(board, A)
    assert held(board) == [A]


def test_a_few_failures_among_many_answers_are_nothing(board: Board) -> None:
    for _ in range(30):
        answer(board, A, times=3)
        fail(board, A)
    assert held(board) == []


def test_failures_are_forgotten(board: Board, clock: Clock) -> None:
    for _ in range(20):
        answer(board, A)
        fail(board, A)
        answer(board, A, times=2)
        clock.now += 3 * MEMORY_S
    assert held(board) == []


def test_pauses_double_up_to_the_longest(board: Board, clock: Clock) -> None:
    fail(board, A, times=IN_A_ROW)
    pauses = []
    for _ in range(8):
        pauses.append(board.standing(A).until - clock.now)
        clock.now = board.standing(A).until
        assert board.state(A) == "half-open"
        fail(board, A)
    wanted = [min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**n) for n in range(8)]
    assert all(0.8 * most <= pause <= most for pause, most in zip(pauses, wanted, strict=True))


def test_an_outage_may_last_for_days(board: Board, clock: Clock) -> None:
    fail(board, A, times=IN_A_ROW)
    for _ in range(5000):
        clock.now = max(clock.now, board.standing(A).until)
        fail(board, A)
    assert board.standing(A).until - clock.now <= LONGEST_PAUSE_S


def test_calls_that_were_under_way_do_not_prolong_the_pause(board: Board, clock: Clock) -> None:
    for _ in range(100):
        board.enter(A)
    for _ in range(100):
        board.failed(A, BROKEN)
        clock.now += 0.001
    assert board.standing(A).until - clock.now <= FIRST_PAUSE_S


def test_one_request_tries_it_again_while_others_wait(board: Board, clock: Clock) -> None:
    fail(board, A, times=IN_A_ROW)
    clock.now += FIRST_PAUSE_S
    assert held(board) == []
    board.enter(A)
    assert held(board) == [A]
    board.answered(A, 0.0, streamed=False)
    assert (held(board), board.calm, board.state(A)) == ([], True, "closed")
    fail(board, A, times=IN_A_ROW - 1)
    assert held(board) == []


@pytest.mark.parametrize("error", [InvalidRequest("x"), ClientGone("x"), InternalError("x"), None])
def test_a_trial_without_a_verdict_lets_the_next_one_try(
    board: Board, clock: Clock, error: XRouterError | None
) -> None:
    fail(board, A, times=IN_A_ROW)
    fail(board, A, UpstreamUnreachable("x"), times=IN_A_ROW)
    clock.now += LONGEST_PAUSE_S
    board.enter(A)
    assert held(board) == [A, B]
    if error is None:
        board.gave_up(A)
    else:
        board.failed(A, error)
    assert held(board) == []
    assert board.state(A) == "half-open"


def test_a_failed_trial_of_a_target_does_not_block_its_endpoint(board: Board, clock: Clock) -> None:
    """Both were held back, and the error is of one of them."""
    fail(board, A, times=IN_A_ROW)
    fail(board, A, UpstreamDenied("x"))
    clock.now += LONGEST
    fail(board, A)
    assert held(board) == [A]


def test_a_trial_that_never_ends_blocks_nobody_for_ever(board: Board, clock: Clock) -> None:
    fail(board, A, times=IN_A_ROW)
    clock.now += FIRST_PAUSE_S
    board.enter(A)
    clock.now += TRIAL_S - 1
    assert held(board) == [A]
    clock.now += 1
    assert held(board) == []


def test_an_answer_to_a_call_from_before_proves_nothing(board: Board, clock: Clock) -> None:
    fail(board, A, UpstreamRateLimited("x", retry_after=10))
    clock.now += 2
    board.answered(A, 3.0, streamed=True)
    assert held(board) == [A]
    board.answered(A, 1.0, streamed=True)
    assert held(board) == []


@pytest.mark.parametrize("kind", [UpstreamRateLimited, UpstreamOverloaded])
def test_a_pause_that_is_asked_for_is_kept_and_ends_by_itself(
    board: Board, clock: Clock, kind: type[XRouterError]
) -> None:
    fail(board, A, kind("x", retry_after=4))
    assert held(board) == [A]
    clock.now += 3.9
    assert board.state(A) == "open"
    clock.now += 0.2
    assert board.state(A) == "closed"
    board.enter(A)
    assert held(board) == []
    assert board.calm


def test_a_later_word_does_not_shorten_a_pause(board: Board, clock: Clock) -> None:
    fail(board, A, UpstreamRateLimited("x", retry_after=9))
    fail(board, A, UpstreamRateLimited("x", retry_after=2))
    clock.now += 8
    assert held(board) == [A]


@pytest.mark.parametrize("asked", [0, -5.0, float("nan"), None])
def test_a_wait_of_no_sense_is_none(board: Board, asked: float | None) -> None:
    fail(board, A, UpstreamRateLimited("x", retry_after=asked), times=IN_A_ROW - 1)
    assert board.calm
    fail(board, A, UpstreamRateLimited("x", retry_after=asked))
    assert held(board) == [A]


@pytest.mark.parametrize("asked", [86400.0, float("inf")])
def test_a_long_wait_is_cut(board: Board, clock: Clock, asked: float) -> None:
    fail(board, A, UpstreamRateLimited("x", retry_after=asked))
    clock.now += ASKED_PAUSE_S
    assert held(board) == []


@pytest.mark.parametrize(
    "error,who",
    [
        (UpstreamDenied("x"), [A, B]),
        (UpstreamQuotaExhausted("x"), [A, B]),
        (ModelNotFound("x"), [A]),
    ],
)
def test_what_only_the_operator_can_mend_is_parked_at_once(
    board: Board, clock: Clock, error: XRouterError, who: list[Target]
) -> None:
    fail(board, A, error)
    assert held(board) == who
    clock.now += PARKED_S
    assert held(board) == []
    board.enter(A)
    assert held(board) == who


@pytest.mark.parametrize(
    "error", [InvalidRequest("x"), ContextLengthExceeded("x"), ClientGone("x"), InternalError("x")]
)
def test_what_is_not_the_providers_fault_does_not_count(board: Board, error: XRouterError) -> None:
    fail(board, A, error, times=50)
    assert board.calm
    assert board.health(A) == 1.0


def test_an_unreachable_endpoint_is_held_back_with_all_it_has(board: Board) -> None:
    fail(board, A, UpstreamUnreachable("x"), times=3)
    fail(board, B, UpstreamUnreachable("x"), times=2)
    assert held(board) == [A, B]
    answer(board, B)
    assert held(board) == []


def test_lost_connections_among_answers_do_not_add_up(board: Board, clock: Clock) -> None:
    """A few each day, or a few among very many."""
    for seconds, answers in ((0, 20), (3600, 1)):
        for _ in range(3 * IN_A_ROW):
            fail(board, A, UpstreamUnreachable("x"))
            assert board.calm
            clock.now += seconds
            answer(board, B, times=answers)


def test_who_is_not_asked_any_more_is_forgotten(board: Board, clock: Clock) -> None:
    """Or a version that is gone would keep all plans from being simple."""
    fail(board, A, times=IN_A_ROW)
    fail(board, C, UpstreamDenied("x"))
    clock.now += LONGEST + STALE_S - 1
    seen = [board.calm]
    clock.now += 2
    assert [*seen, board.calm] == [False, True]
    assert held(board) == []
    fail(board, A)
    assert held(board) == [A]


def test_health_is_the_worse_of_target_and_endpoint_and_heals(board: Board, clock: Clock) -> None:
    answer(board, A, times=4)
    assert board.health(A) == 1.0
    fail(board, A, times=3)
    assert board.health(A) == pytest.approx(5 / 8)
    assert (board.health(B), board.health(C)) == (1.0, 1.0)
    fail(board, B, UpstreamUnreachable("x"), times=2)
    assert board.health(B) == pytest.approx(1 / 3)
    assert board.health(A) == pytest.approx(1 / 3)
    before = board.health(A)
    clock.now += MEMORY_S
    assert before < board.health(A) < 1
    clock.now += 20 * MEMORY_S
    assert board.health(A) == pytest.approx(1.0)


def test_retries_are_few_and_come_back(board: Board, clock: Clock) -> None:
    assert [board.may_retry(A) for _ in range(LEAST_RETRIES + 1)] == [True] * LEAST_RETRIES + [
        False
    ]
    clock.now += 10 * MEMORY_S
    assert board.may_retry(A)


def test_retries_are_a_share_of_the_calls(board: Board) -> None:
    answer(board, A, times=100)
    granted = sum(board.may_retry(A) for _ in range(100))
    assert 18 <= granted <= 24


@pytest.mark.parametrize("error", [BROKEN, UpstreamUnreachable("x")])
def test_what_fails_all_the_time_is_not_retried(board: Board, error: XRouterError) -> None:
    answer(board, A, times=100)
    fail(board, A, error, times=IN_A_ROW)
    assert not board.may_retry(A)
    answer(board, A)
    assert board.may_retry(A)


def test_waits_are_smoothed_each_for_itself(board: Board) -> None:
    board.answered(A, 1.0, streamed=True)
    board.answered(A, 2.0, streamed=True)
    board.answered(A, 9.0, streamed=False)
    standing = board.standing(A)
    assert standing.wait(streamed=True) == pytest.approx(1.2)
    assert standing.wait(streamed=False) == 9.0
    assert standing.latency == standing.wait(streamed=True)
    assert board.standing(B).wait(streamed=True) is None


def test_refusals_fade_with_the_answers_they_are_a_share_of(board: Board, clock: Clock) -> None:
    answer(board, A, times=10)
    board.standing(A).refused += 5
    clock.now += 300
    answer(board, A)
    standing = board.standing(A)
    assert standing.refused / (standing.answers - 1) == pytest.approx(0.5)
    assert 0 < standing.refused < 5


def test_standings_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "_MAX_STANDINGS", 20)
    board = Board(clock)
    running = board.enter(A)
    fail(board, C, UpstreamDenied("x"))
    for number in range(500):
        version = Version(label="1", upstream=f"v{number}")
        each = Target(endpoint(number + 9, "north"), model("north/x", version), version)
        error = UpstreamDenied("x") if number % 5 == 0 else BROKEN
        fail(board, each, error)
        clock.now += PARKED_S + STALE_S if number % 10 == 0 else 0.0
        assert len(board._standings) <= 21
        assert board._held.keys() <= board._standings.keys()
    assert board.standing(A) is running


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["good", "bad", "wait"]), st.floats(0, 30))))
def test_shares_stay_shares(events: list[tuple[str, float]]) -> None:
    clock = Clock()
    board = Board(clock)
    for what, seconds in events:
        if what == "wait":
            clock.now += seconds
        elif what == "good":
            answer(board, A, seconds=seconds)
        else:
            fail(board, A)
        standing = board.standing(A)
        assert 0 <= standing.bad_share <= 1
        assert 0 < board.health(A) <= 1
        assert standing.good >= 0
        assert standing.answers >= standing.good - 1e-9
