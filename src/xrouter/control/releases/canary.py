"""How a canary fares, from the usage events since it began, and whether it keeps its bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from statistics import median
from typing import Any

from msgspec import Struct
from sqlalchemy import Row

from xrouter.control.db.engine import Database
from xrouter.control.releases import repository
from xrouter.control.releases.tail import BATCHES, Tail
from xrouter.domain.routes import Canary

REFUSED = frozenset({"content_filter", "content_policy_violation"})
NOT_ITS_FAULT = frozenset({"context_length_exceeded", "client_disconnected"})
KEPT = 1000
"""First-token times of which the median is made: the latest."""

FEW = 10
"""Medians of fewer say nothing."""

_CALLER = range(400, 500)
_OUR_LIMIT = 429
_HALF = 0.5


class Sample:
    """What one version did. Times: milliseconds."""

    def __init__(self) -> None:
        self.attempts = 0
        self.failures = 0
        self.refusals = 0
        self.firsts: deque[float] = deque(maxlen=KEPT)

    @property
    def errors(self) -> float:
        """The share of its attempts that failed."""
        return self.failures / self.attempts if self.attempts else 0.0

    @property
    def refused(self) -> float:
        """The share of its attempts that the filter refused."""
        return self.refusals / self.attempts if self.attempts else 0.0


class _Try(Struct):
    """One attempt, whichever way the event tells of it."""

    version: str
    failed: bool
    refused: bool
    first_ms: float | None


class Watch:
    """One canary of a model against the version that it is to replace, None for none."""

    def __init__(
        self, db: Database, model_id: str, bounds: Canary, other: str | None, since: float
    ) -> None:
        self._model_id = model_id
        self._bounds = bounds
        self._other = other
        self._tail = Tail(db, since, repository.concerns(model_id))
        self.canary = Sample()
        self.usual = Sample()

    @property
    def caught_up(self) -> bool:
        """Whether all there is was taken in by the last look."""
        return self._tail.caught_up

    async def look(self, now: float) -> None:
        """Take in what is new, or a good part of it."""
        for _ in range(BATCHES):
            for event in await self._tail.read(now):
                self._hear(event)
            if self._tail.caught_up:
                return

    def broken(self) -> str | None:
        """Which bound does not hold, None while all do or too little is known."""
        seen, bounds = self.canary, self._bounds
        if seen.attempts < bounds.min_requests:
            return None
        if seen.errors > bounds.max_errors:
            return _said("failed", seen.failures, seen.attempts, bounds.max_errors)
        if bounds.max_refusals is not None and seen.refused > bounds.max_refusals:
            return _said("were refused", seen.refusals, seen.attempts, bounds.max_refusals)
        return self._slow()

    def unfit(self) -> str | None:
        """Why it should not be released though too little is known to break a bound."""
        seen = self.canary
        if seen.attempts and seen.errors > max(_HALF, self._bounds.max_errors):
            return f"{seen.failures} of its only {seen.attempts} attempts failed"
        return None

    def _slow(self) -> str | None:
        most, mine, theirs = self._bounds.max_slowdown, self.canary.firsts, self.usual.firsts
        if most is None or len(mine) < FEW or len(theirs) < FEW:
            return None
        here, there = median(mine), median(theirs)
        if here <= there * most:
            return None
        return (
            f"its first token takes {here:.0f} ms, that of {self._other} {there:.0f} ms: "
            f"more than {most:g} times as long"
        )

    def _hear(self, event: Row[*tuple[Any, ...]]) -> None:
        for tried in _tries(event, self._model_id):
            if tried.version == self._bounds.label:
                _add(self.canary, tried)
            elif tried.version == self._other:
                _add(self.usual, tried)


def _add(sample: Sample, tried: _Try) -> None:
    sample.attempts += 1
    sample.failures += tried.failed
    sample.refusals += tried.refused
    if tried.first_ms is not None:
        sample.firsts.append(tried.first_ms)


def _said(what: str, some: int, attempts: int, most: float) -> str:
    return f"{some} of {attempts} attempts {what}, more than {most:.1%}"


def _tries(event: Row[*tuple[Any, ...]], model_id: str) -> Iterator[_Try]:
    """The attempts at a model. An event without a list of them is of one attempt."""
    tried: list[dict[str, Any]] = event.tried or []
    for attempt in tried[:-1]:
        if attempt.get("model") == model_id and attempt.get("code") is not None:
            yield _earlier(attempt)
    if event.model_served == model_id and event.version is not None:
        yield _last(event, tried[-1] if tried else {})


def _earlier(attempt: dict[str, Any]) -> _Try:
    code = attempt["code"]
    refused = code in REFUSED
    failed = not refused and code not in NOT_ITS_FAULT
    return _Try(attempt["version"], failed, refused, None)


def _last(event: Row[*tuple[Any, ...]], attempt: dict[str, Any]) -> _Try:
    """The one that the caller heard of. The caller's own mistakes are nobody's failure."""
    refused = event.finish_reason in REFUSED or event.error_code in REFUSED
    own = event.status in _CALLER and event.status != _OUR_LIMIT
    failed = event.outcome == "error" and not own and not refused
    first = None
    if event.streamed and event.first_token_ms is not None:
        first = attempt.get("ms") or event.first_token_ms - event.queue_ms
    return _Try(event.version, failed, refused, first)
