"""The board under any traffic: a state machine of calls that begin and end as they like."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)
from tests.flow.test_board import ALL, BROKEN, LONGEST, Clock, held
from typing_extensions import override

from xrouter.domain.errors import (
    InvalidRequest,
    ModelNotFound,
    UpstreamDenied,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
    XRouterError,
)
from xrouter.domain.plan import Target
from xrouter.flow.board import STALE_S, TRIAL_S, Board

KINDS = (
    BROKEN,
    UpstreamTimeout("x"),
    UpstreamUnreachable("x"),
    UpstreamDenied("x"),
    UpstreamRateLimited("x"),
    UpstreamRateLimited("x", retry_after=7),
    UpstreamOverloaded("x", retry_after=1e9),
    ModelNotFound("x"),
    InvalidRequest("x"),
)


class Traffic(RuleBasedStateMachine):
    """Calls begin and end in any order, at any time."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.board = Board(self.clock)
        self.began: dict[int, tuple[Target, float]] = {}
        self.number = 0
        self.blamed: set[int] = set()
        self.failed: set[tuple[int, str]] = set()

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(which=st.sampled_from(ALL))
    def look(self, which: Target) -> None:
        """It changes nothing."""
        before = held(self.board), self.board.state(which)
        self.board.standing(which)
        self.board.health(which)
        assert self.board.is_well(which) is not self.board.holds(which)
        assert (held(self.board), self.board.state(which)) == before

    @rule(target=calls, which=st.sampled_from(ALL), many=st.integers(1, 6))
    def begin(self, which: Target, many: int) -> object:
        found = []
        for _ in range(many):
            self.number += 1
            self.board.enter(which)
            self.began[self.number] = (which, self.clock.now)
            found.append(self.number)
        return multiple(*found)

    def end(self, call: int) -> tuple[Target, float]:
        which, began = self.began.pop(call)
        self.board.standing(which).running -= 1
        return which, began

    @rule(call=consumes(calls), streamed=st.booleans())
    def speak(self, call: int, streamed: bool) -> None:
        which, began = self.end(call)
        keys = ((which.endpoint.id, which.version.upstream), (which.endpoint.id, ""))
        holds = [self.board._held[key] for key in keys if key in self.board._held]
        fresh = all(began >= standing.held_at for standing in holds)
        self.board.answered(which, self.clock.now - began, streamed=streamed)
        if fresh:
            assert not self.board.holds(which)
            assert self.board.state(which) == "closed"

    @rule(call=consumes(calls), error=st.sampled_from(KINDS))
    def fail(self, call: int, error: XRouterError) -> None:
        which, _ = self.end(call)
        was = self.board.state(which)
        self.board.failed(which, error)
        if isinstance(error, InvalidRequest):
            assert self.board.state(which) == was
        elif error.reach == "endpoint":
            self.blamed.add(which.endpoint.id)
        else:
            self.failed.add((which.endpoint.id, which.version.upstream))
        if isinstance(error, UpstreamDenied | ModelNotFound):
            assert self.board.state(which) == "open"

    @rule(call=consumes(calls))
    def leave(self, call: int) -> None:
        which, _ = self.end(call)
        was = self.board.state(which)
        self.board.gave_up(which)
        assert self.board.state(which) == was

    @rule(which=st.sampled_from(ALL))
    def retry(self, which: Target) -> None:
        self.board.may_retry(which)

    @invariant()
    def keeps_all_targets(self) -> None:
        found = self.board.ready_first(ALL)
        assert sorted(map(id, found)) == sorted(map(id, ALL))
        back = held(self.board)
        assert [each for each in found if each in back] == found[len(found) - len(back) :]

    @invariant()
    def holds_only_what_failed(self) -> None:
        for each in held(self.board):
            key = (each.endpoint.id, each.version.upstream)
            assert each.endpoint.id in self.blamed or key in self.failed

    @invariant()
    def counts_calls(self) -> None:
        for each in ALL:
            mine = [c for c, (which, _) in self.began.items() if which is each]
            assert self.board.standing(each).running == len(mine)

    @invariant()
    def pauses_end(self) -> None:
        for standing in self.board._held.values():
            assert standing.until <= self.clock.now + LONGEST
            assert standing.trial_until <= self.clock.now + TRIAL_S

    @invariant()
    def is_calm_when_nothing_is_held_back(self) -> None:
        if self.board.calm:
            assert held(self.board) == []

    @override
    def teardown(self) -> None:
        """Whatever has happened: after a while everybody may be asked again."""
        self.clock.now += max(LONGEST, TRIAL_S)
        assert held(self.board) == []
        self.clock.now += STALE_S
        assert self.board.calm


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
