"""How an endpoint is, from what was seen of it. Pure: no clock, no database.

Worse at the first clear sign, better only after several good ones: so that an endpoint which
answers every other time does not flicker.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.catalog import State

FAILED_IN_A_ROW = 3
GOOD_IN_A_ROW = 2
SLOW_IN_A_ROW = 3
MIN_ATTEMPTS = 10
DOWN_SHARE = 0.5
DEGRADED_SHARE = 0.1
SLOW_FACTOR = 3.0
MIN_SLOW_MS = 250.0
"""Faster than this is never slow, whatever the median."""

MIN_LATENCIES = 10
MAX_LATENCIES = 50
QUIET_S = 300.0
SLOW = "slow"
UNKNOWN = "unknown"

_ORDER: dict[State, int] = {"healthy": 0, "degraded": 1, "down": 2}


class Check(Struct, frozen=True):
    """What one probe told. code: of the error, None where it answered. token: a real answer."""

    took_ms: float
    code: str | None = None
    token: bool = False


class Window(Struct, frozen=True):
    """What became of the callers' attempts in the last minute. cause: the most frequent error."""

    attempts: int = 0
    failed: int = 0
    cause: str | None = None

    @property
    def share(self) -> float:
        """Of failures; 0 where too few have asked to tell."""
        return self.failed / self.attempts if self.attempts >= MIN_ATTEMPTS else 0.0


NOBODY_ASKED = Window()


class Health(Struct, frozen=True):
    """State of an endpoint, and what leads to the next one.

    failed, good, slow: cheap probes in a row up to now; mute: real ones that brought no answer.
    silent: it is down by the word of the probes, not by that of callers alone.
    latencies: milliseconds of the cheap ones that answered. quiet_since: when nobody has asked any
    more, for endpoints without probes.
    """

    state: State = "healthy"
    cause: str | None = None
    failed: int = 0
    good: int = 0
    slow: int = 0
    mute: int = 0
    silent: bool = False
    last_code: str | None = None
    latencies: tuple[float, ...] = ()
    quiet_since: float | None = None


def noted(health: Health, check: Check) -> Health:
    """With one more probe; the state stays until it is judged."""
    if check.token:
        if check.code is None:
            return replace(health, mute=0)
        return replace(health, mute=health.mute + 1, good=0, last_code=check.code)
    if check.code is not None:
        failed = health.failed + 1
        return replace(health, failed=failed, good=0, slow=0, last_code=check.code)
    slow = is_slow(health.latencies, check.took_ms)
    return replace(
        health,
        failed=0,
        good=0 if slow else health.good + 1,
        slow=health.slow + 1 if slow else 0,
        latencies=(*health.latencies, check.took_ms)[-MAX_LATENCIES:],
    )


def restored(
    state: State, cause: str | None, checks: Iterable[Check], *, silent: bool = False
) -> Health:
    """After a restart: the state that was written down, and the last probes, the oldest first."""
    health = Health(state=state, cause=cause, silent=silent)
    for check in checks:
        health = noted(health, check)
    return replace(health, good=0)


def judged(health: Health, window: Window, now: float, *, probed: bool) -> Health:
    """With the state that follows. probed: whether the endpoint is asked by us, too."""
    if not probed:
        health = _listened(health, window, now)
    state, cause = _verdict(health, window)
    silent = _is_silent(health)
    worse = _ORDER[state] - _ORDER[health.state]
    if worse > 0:
        return replace(health, state=state, cause=cause, silent=silent, good=0)
    if worse < 0 and health.good >= GOOD_IN_A_ROW:
        return replace(health, state=state, cause=cause, silent=False)
    if silent and not health.silent:
        return replace(health, silent=True)
    return health


def is_slow(latencies: tuple[float, ...], took_ms: float) -> bool:
    """Whether it took much longer than it usually does here."""
    if len(latencies) < MIN_LATENCIES or took_ms < MIN_SLOW_MS:
        return False
    return took_ms > SLOW_FACTOR * median(latencies)


def _is_silent(health: Health) -> bool:
    return max(health.failed, health.mute) >= FAILED_IN_A_ROW


def _verdict(health: Health, window: Window) -> tuple[State, str | None]:
    """What the signs of this moment say, whatever was before."""
    if _is_silent(health):
        return "down", health.last_code or UNKNOWN
    if window.share >= DOWN_SHARE:
        return "down", window.cause or UNKNOWN
    if window.share >= DEGRADED_SHARE:
        return "degraded", window.cause or UNKNOWN
    if health.slow >= SLOW_IN_A_ROW:
        return "degraded", SLOW
    return "healthy", None


def _listened(health: Health, window: Window, now: float) -> Health:
    """Without probes, answers are the good signs; so is a long time in which nobody asked."""
    if window.attempts:
        answered = window.attempts - window.failed
        good = answered if answered > window.failed else 0
        return replace(health, good=good, quiet_since=None)
    since = now if health.quiet_since is None else health.quiet_since
    good = GOOD_IN_A_ROW if now - since >= QUIET_S else 0
    return replace(health, good=good, quiet_since=since)
