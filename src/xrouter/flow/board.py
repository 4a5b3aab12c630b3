"""How targets fare in this process: what strategies read and the dispatcher writes.

A target that fails is held back: requests go to others first, and now and then one tries it again
(closed, open, half-open). A pause that the provider asked for ends by itself. The times are of one
clock, in seconds. What is held back of projects' own accounts (with ids below 0) is kept apart: it
is nobody else's trouble.
"""

from __future__ import annotations

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
from xrouter.flow.standing import Standing
from xrouter.flow.yardstick import PLAIN, Yardstick

IN_A_ROW = 5
BAD_SHARE = 0.5

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 10.0
"""Between trials: one that began just before the target was well again may hang for a while, and
still it is asked within the 15 s between two probes.
"""

ASKED_PAUSE_S = 15.0
"""The most that a provider's own word counts."""

PARKED_S = 30.0
"""For an account whose credential or money failed, and a version that the provider lacks."""

TRIAL_S = 60.0
"""How long others wait for the word of the request that tries a target again."""

STALE_S = 60.0
"""So long after its pause, a target that nobody has asked is not held back any more."""

WINDOW_S = 60.0
"""For which a provider's word about what is left counts, when it does not say until when."""

RETRY_SHARE = 0.2
LEAST_RETRIES = 3
"""Retries at the same target: this share of its calls of the last seconds, and so many besides."""

RATED_EVERY_S = 60.0
"""So often one key's score of one target counts."""

_JITTER = 0.2
_SMOOTHING = 0.2
_MAX_DOUBLINGS = 10
_MAX_STANDINGS = 100_000
_MAX_OWN_HELD = 10_000
_MAX_RATED = 10_000

Key = tuple[int, str]


class Board:
    """All targets that were tried so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._standings: dict[Key, Standing] = {}
        self._held: dict[Key, Standing] = {}
        self._held_own: dict[Key, Standing] = {}
        self._rated_at: dict[tuple[Key, str], float] = {}

    @property
    def calm(self) -> bool:
        """Whether nothing at all is held back."""
        if self._held:
            self._release()
        return not self._held

    @property
    def troubled(self) -> frozenset[int]:
        """The endpoints of which something is held back."""
        return frozenset() if self.calm else frozenset(where for where, _ in self._held)

    def standing(self, target: Target) -> Standing:
        """How the target fares; a fresh one before its first call."""
        return self._at((target.endpoint.id, target.version.upstream))

    def yardstick(self, target: Target) -> Yardstick:
        """How long its tokens and its answers are, as far as is known."""
        found = self._standings.get((target.endpoint.id, target.version.upstream))
        return PLAIN if found is None else found.yardstick

    def endpoint(self, endpoint: Endpoint) -> Standing | None:
        """What all of an endpoint's targets share; None when nothing has failed there."""
        return self._standings.get((endpoint.id, ""))

    def holds(self, target: Target) -> bool:
        """Whether others should be tried first: paused, or being tried by somebody just now."""
        held = self._held_of(target.endpoint.id)
        if not held:
            return False
        key, shared = _keys(target)
        own, whole = held.get(key), held.get(shared)
        if own is None and whole is None:
            return False
        now = self._clock()
        return _is_held(own, now) or _is_held(whole, now)

    def is_well(self, target: Target) -> bool:
        """Whether nobody knows anything against it: neither this process nor the prober."""
        return target.endpoint.state != "down" and not self.holds(target)

    def ready_first(self, targets: Sequence[Target]) -> list[Target]:
        """The same targets, those that are held back behind the others."""
        ready: list[Target] = []
        held: list[Target] = []
        for target in targets:
            (held if self.holds(target) else ready).append(target)
        return ready + held

    def state(self, target: Target) -> str:
        """`closed`, `open` or `half-open`, for people."""
        now = self._clock()
        held = self._held_of(target.endpoint.id)
        found = [held[key] for key in _keys(target) if key in held]
        if any(standing.until > now for standing in found):
            return "open"
        return "half-open" if any(standing.pauses for standing in found) else "closed"

    def health(self, target: Target) -> float:
        """The share of good answers of the last seconds, the endpoint's where that is worse."""
        share = 1.0
        for key in _keys(target):
            standing = self._standings.get(key)
            if standing is not None and standing.bad:
                share = min(share, standing.health(self._clock()))
        return share

    def remaining(self, target: Target) -> int | None:
        """Requests that are left by the provider's word, None when it has not said so lately."""
        standing = self.standing(target)
        if standing.remaining is None or standing.window_until <= self._clock():
            return None
        return standing.remaining

    def enter(self, target: Target) -> Standing:
        """A call begins; whoever began it decreases `running` again."""
        standing = self.standing(target)
        standing.running += 1
        if held := self._held_of(target.endpoint.id):
            for key in _keys(target):
                found = held.get(key)
                if found is not None and found.pauses:
                    found.trial_until = self._clock() + TRIAL_S
        return standing

    def answered(self, target: Target, seconds: float, *, streamed: bool) -> None:
        """The target has spoken, or answered as a whole, after so many seconds."""
        now = self._clock()
        standing = self.standing(target)
        standing.spoke(now)
        if streamed:
            standing.first_token = _smoothed(standing.first_token, seconds)
        else:
            standing.whole = _smoothed(standing.whole, seconds)
        shared = self.endpoint(target.endpoint)
        if shared is not None:
            shared.spoke(now)
        if self._held_of(target.endpoint.id):
            for key in _keys(target):
                self._free(key, now - seconds)

    def rated(self, target: Target, score: float, key_id: str) -> None:
        """A caller says how good an answer was: 0 to 1. One key's word counts now and then."""
        who, now = (_keys(target)[0], key_id), self._clock()
        if now - self._rated_at.get(who, -RATED_EVERY_S) < RATED_EVERY_S:
            return
        self._rated_at.pop(who, None)
        if len(self._rated_at) >= _MAX_RATED:
            del self._rated_at[next(iter(self._rated_at))]
        self._rated_at[who] = now
        standing = self.standing(target)
        standing.opinion = _smoothed(standing.opinion, min(1.0, max(0.0, score)))
        standing.opinions += 1

    def left(self, target: Target, requests: int, seconds: float | None = None) -> None:
        """The provider says how many requests are left, and for how long that is so."""
        standing = self.standing(target)
        standing.remaining = max(0, requests)
        standing.window_until = self._clock() + (WINDOW_S if seconds is None else seconds)

    def may_retry(self, target: Target) -> bool:
        """Whether the target may be asked once more by the same request; counts it if so."""
        standing = self.standing(target)
        standing.fade(self._clock())
        shared = self.endpoint(target.endpoint)
        in_a_row = max(standing.in_a_row, 0 if shared is None else shared.in_a_row)
        first_tries = standing.good + standing.bad - standing.retries
        if in_a_row >= IN_A_ROW or standing.retries >= LEAST_RETRIES + RETRY_SHARE * first_tries:
            return False
        standing.retries += 1
        return True

    def failed(self, target: Target, error: XRouterError) -> None:
        """The target has failed, by its own fault or its operator's.

        Failures while it is paused are of calls from before, or of those that had no other
        target: they prolong no pause but one that the error itself asks for.
        """
        self.gave_up(target)
        asked, parked = _asked_pause(error), _parks(error)
        if not parked and not isinstance(error, UpstreamError):
            return
        key, shared = _keys(target)
        key = shared if reaches_endpoint(error) else key
        now = self._clock()
        standing = self._at(key)
        standing.fade(now)
        standing.bad += 1
        standing.in_a_row += 1
        if asked is not None:
            self._hold(key, standing, now, asked)
        elif parked:
            standing.pauses += 1
            self._hold(key, standing, now, PARKED_S)
        elif standing.until <= now and (standing.pauses or _is_too_much(standing)):
            pause = _next_pause(standing)
            standing.pauses += 1
            self._hold(key, standing, now, pause)

    def gave_up(self, target: Target) -> None:
        """A call ended without a verdict: the caller left. Another one may try."""
        if held := self._held_of(target.endpoint.id):
            for key in _keys(target):
                found = held.get(key)
                if found is not None:
                    found.trial_until = 0.0

    def _held_of(self, where: int) -> dict[Key, Standing]:
        """What is held back beside this endpoint."""
        return self._held if where >= 0 else self._held_own

    def _at(self, key: Key) -> Standing:
        found = self._standings.get(key)
        if found is None:
            if len(self._standings) >= _MAX_STANDINGS:
                self._forget()
            found = self._standings[key] = Standing()
        return found

    def _hold(self, key: Key, standing: Standing, now: float, pause: float) -> None:
        standing.held_at = now
        standing.until = max(standing.until, now + pause)
        if len(self._held_own) >= _MAX_OWN_HELD:
            del self._held_own[next(iter(self._held_own))]
        self._held_of(key[0])[key] = standing

    def _free(self, key: Key, began: float) -> None:
        """By an answer to a call that began then: one from before the pause proves nothing."""
        held = self._held_of(key[0]).get(key)
        if held is not None and began >= held.held_at:
            del self._held_of(key[0])[key]
            held.until, held.trial_until, held.pauses = 0.0, 0.0, 0
            held.in_a_row, held.bad = 0, 0.0

    def _release(self) -> None:
        """Those whose pause has ended, if the provider asked for it or nobody has tried them.

        What failed too often before still does: one more failure holds it back again.
        """
        now = self._clock()
        ended = [
            (key, standing)
            for key, standing in self._held.items()
            if standing.until + (STALE_S if standing.pauses else 0.0) <= now
        ]
        for key, standing in ended:
            if standing.trial_until <= now:
                del self._held[key]
                standing.until, standing.pauses = 0.0, 0

    def _forget(self) -> None:
        """Those that are idle and closed."""
        self._release()
        held = self._held.keys() | self._held_own.keys()
        idle = [k for k, s in self._standings.items() if not s.running and k not in held]
        for key in idle[: _MAX_STANDINGS // 2]:
            del self._standings[key]


def reaches_endpoint(error: XRouterError) -> bool:
    """Whether the error is of the whole endpoint: its other versions need not be tried."""
    return error.reach == "endpoint"


def _keys(target: Target) -> tuple[Key, Key]:
    """Of the target itself, and of what it shares with the others of its endpoint."""
    where = target.endpoint.id
    return (where, target.version.upstream), (where, "")


def _is_held(held: Standing | None, now: float) -> bool:
    return held is not None and (held.until > now or held.trial_until > now)


def _is_too_much(standing: Standing) -> bool:
    if standing.in_a_row >= IN_A_ROW:
        return True
    return standing.bad >= IN_A_ROW and standing.bad_share >= BAD_SHARE


def _asked_pause(error: XRouterError) -> float | None:
    """Seconds that the provider asks for, None when it asks for none."""
    if not isinstance(error, UpstreamRateLimited | UpstreamOverloaded):
        return None
    asked = error.retry_after
    return min(asked, ASKED_PAUSE_S) if asked is not None and asked > 0 else None


def _parks(error: XRouterError) -> bool:
    """Whether it will fail until somebody does something about it."""
    return isinstance(error, OperatorError | ModelNotFound)


def _smoothed(before: float | None, value: float) -> float:
    return value if before is None else before + _SMOOTHING * (value - before)


def _next_pause(standing: Standing) -> float:
    doublings = min(standing.pauses, _MAX_DOUBLINGS)
    base = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**doublings)
    return base * (1 - _JITTER * random())  # noqa: S311 - spreads trials, no secret
