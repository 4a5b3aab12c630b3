"""How targets fare in this process: what strategies read and the dispatcher writes.

A target that fails is held back: requests go to others first, and now and then one tries it again
(closed, open, half-open). The times are of one clock, in seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from random import random

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import (
    ModelNotFound,
    OperatorError,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRateLimited,
    XRouterError,
)
from xrouter.domain.plan import Target

IN_A_ROW = 5
BAD_SHARE = 0.5
MEMORY_S = 10.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0
PARKED_S = 30.0
"""For an account whose credential or money failed, and a version that the provider lacks."""

RETRY_SHARE = 0.2
LEAST_RETRIES = 3
"""Retries at the same target: this share of its calls of the last seconds, and so many besides."""

_JITTER = 0.2
_SMOOTHING = 0.2
_MAX_STANDINGS = 100_000

Key = tuple[int, str]


class Standing:
    """One target. running: calls under way; first_token, whole: smoothed seconds to the first
    piece of a stream and to a whole answer, None before the first.

    good, bad, retries: answers, failures and second tries, fading away. until: when the pause
    ends, 0 while closed. refused: answers that the provider's filter took.
    remaining: requests that the provider says are left in its window, None when it says nothing.
    """

    __slots__ = (
        "bad",
        "first_token",
        "good",
        "in_a_row",
        "pauses",
        "refused",
        "remaining",
        "retries",
        "running",
        "score",
        "seen_at",
        "trying",
        "until",
        "whole",
    )

    def __init__(self) -> None:
        self.running = 0
        self.first_token: float | None = None
        self.whole: float | None = None
        self.retries = 0.0
        self.good = 0.0
        self.bad = 0.0
        self.refused = 0.0
        self.score: float | None = None
        self.in_a_row = 0
        self.pauses = 0
        self.until = 0.0
        self.trying = False
        self.seen_at = 0.0
        self.remaining: int | None = None

    def fade(self, now: float) -> None:
        """Let what was count less."""
        kept = math.exp((self.seen_at - now) / MEMORY_S) if self.seen_at else 1.0
        self.good *= kept
        self.bad *= kept
        self.retries *= kept
        self.seen_at = now

    @property
    def latency(self) -> float | None:
        """Seconds to wait for it: to the first token where streams were seen."""
        return self.whole if self.first_token is None else self.first_token

    @property
    def bad_share(self) -> float:
        """Of the answers of the last seconds; 0 when there were none."""
        seen = self.good + self.bad
        return self.bad / seen if seen else 0.0


class Board:
    """All targets that were tried so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._standings: dict[Key, Standing] = {}
        self._held: dict[Key, Standing] = {}

    @property
    def calm(self) -> bool:
        """Whether nothing at all is held back."""
        return not self._held

    def standing(self, target: Target) -> Standing:
        """How the target fares; a fresh one before its first call."""
        key = (target.endpoint.id, target.version.upstream)
        found = self._standings.get(key)
        if found is None:
            if len(self._standings) >= _MAX_STANDINGS:
                self._forget()
            found = self._standings[key] = Standing()
        return found

    def holds(self, target: Target) -> bool:
        """Whether others should be tried first: paused, or being tried by somebody just now."""
        if not self._held:
            return False
        now = self._clock()
        return self._is_held((target.endpoint.id, ""), now) or self._is_held(
            (target.endpoint.id, target.version.upstream), now
        )

    def ready_first(self, targets: Sequence[Target]) -> list[Target]:
        """The same targets, those that are held back behind the others."""
        ready: list[Target] = []
        held: list[Target] = []
        for target in targets:
            (held if self.holds(target) else ready).append(target)
        return ready + held

    def enter(self, target: Target) -> Standing:
        """A call begins; whoever began it decreases `running` again."""
        standing = self.standing(target)
        standing.running += 1
        if self._held:
            for key in ((target.endpoint.id, ""), (target.endpoint.id, target.version.upstream)):
                held = self._held.get(key)
                if held is not None:
                    held.trying = True
        return standing

    def answered(self, target: Target, seconds: float, *, streamed: bool) -> None:
        """The target has spoken, or answered as a whole, after so many seconds."""
        standing = self.standing(target)
        standing.fade(self._clock())
        standing.good += 1
        standing.in_a_row = 0
        if streamed:
            standing.first_token = _smoothed(standing.first_token, seconds)
        else:
            standing.whole = _smoothed(standing.whole, seconds)
        if self._held:
            self._free((target.endpoint.id, ""))
            self._free((target.endpoint.id, target.version.upstream))

    def may_retry(self, target: Target) -> bool:
        """Whether the target may be asked once more by the same request; counts it if so."""
        standing = self.standing(target)
        standing.fade(self._clock())
        first_tries = standing.good + standing.bad - standing.retries
        if standing.in_a_row >= IN_A_ROW:
            return False
        if standing.retries >= LEAST_RETRIES + RETRY_SHARE * first_tries:
            return False
        standing.retries += 1
        return True

    def failed(self, target: Target, error: XRouterError) -> None:
        """The target has failed, by its own fault or its operator's."""
        pause = _pause_of(error)
        whole = reaches_endpoint(error)
        key = (target.endpoint.id, "" if whole else target.version.upstream)
        standing = self._standings.setdefault(key, Standing()) if whole else self.standing(target)
        standing.trying = False
        if pause is None and not isinstance(error, UpstreamError):
            return
        now = self._clock()
        standing.fade(now)
        standing.bad += 1
        standing.in_a_row += 1
        if pause is not None:
            self._hold(key, standing, now + pause)
        elif standing.until or _is_too_much(standing):
            self._hold(key, standing, now + _next_pause(standing))

    def gave_up(self, target: Target) -> None:
        """A call ended without a verdict: the caller left."""
        if self._held:
            for key in ((target.endpoint.id, ""), (target.endpoint.id, target.version.upstream)):
                held = self._held.get(key)
                if held is not None:
                    held.trying = False

    def endpoint(self, endpoint: Endpoint) -> Standing | None:
        """What all of an endpoint's targets share; None when nothing has failed there."""
        return self._standings.get((endpoint.id, ""))

    def state(self, target: Target) -> str:
        """`closed`, `open` or `half-open`, for people."""
        now = self._clock()
        for key in ((target.endpoint.id, ""), (target.endpoint.id, target.version.upstream)):
            held = self._held.get(key)
            if held is not None:
                return "open" if held.until > now else "half-open"
        return "closed"

    def _is_held(self, key: Key, now: float) -> bool:
        held = self._held.get(key)
        return held is not None and (held.until > now or held.trying)

    def _hold(self, key: Key, standing: Standing, until: float) -> None:
        standing.until = until
        standing.pauses += 1
        self._held[key] = standing

    def _free(self, key: Key) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            held.until, held.pauses, held.in_a_row, held.trying = 0.0, 0, 0, False
            held.bad = 0.0

    def _forget(self) -> None:
        """Those that are idle and closed."""
        idle = [key for key, s in self._standings.items() if not s.running and not s.until]
        for key in idle[: _MAX_STANDINGS // 2]:
            del self._standings[key]


def reaches_endpoint(error: XRouterError) -> bool:
    """Whether the error is of the whole endpoint: its other versions need not be tried."""
    return error.reach == "endpoint"


def _is_too_much(standing: Standing) -> bool:
    if standing.in_a_row >= IN_A_ROW:
        return True
    return standing.bad >= IN_A_ROW and standing.bad_share >= BAD_SHARE


def _pause_of(error: XRouterError) -> float | None:
    """Seconds that the error itself asks for, None when it asks for none."""
    if isinstance(error, UpstreamRateLimited | UpstreamOverloaded):
        asked = error.retry_after
        return None if asked is None else min(max(asked, 0.0), LONGEST_PAUSE_S)
    if isinstance(error, OperatorError | ModelNotFound):
        return PARKED_S
    return None


def _smoothed(before: float | None, seconds: float) -> float:
    return seconds if before is None else before + _SMOOTHING * (seconds - before)


def _next_pause(standing: Standing) -> float:
    base = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**standing.pauses)
    return base * (1 - _JITTER * random())  # noqa: S311 - spreads trials, no secret
