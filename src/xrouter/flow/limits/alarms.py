"""Tells the operator of limits that are nearly used up, once in each window, and of refusals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from xrouter.domain.ports import Level, Want
from xrouter.domain.windows import FOREVER, MINUTE_S
from xrouter.flow.limits.rules import Rule
from xrouter.telemetry.logs import log
from xrouter.telemetry.metrics import Meters as Metrics

_MAX_WARNED = 10_000
_WHOLE = 100


class Alarms:
    """now: monotonic seconds."""

    def __init__(self, metrics: Metrics, now: Callable[[], float] = time.monotonic) -> None:
        labels = ("kind", "meter", "window")
        self._refusals = metrics.counter(
            "xrouter_limit_refusals", "Requests that a limit refused", labels
        )
        self._warnings = metrics.counter(
            "xrouter_limit_warnings", "Limits of which the part to warn at was used", labels
        )
        self._quiet_until: dict[str, float] = {}
        self._now = now

    def refused(self, rule: Rule) -> None:
        """A request was not granted."""
        self._refusals.labels(*_labels(rule)).inc()

    def look(self, rules: Sequence[Rule], wants: Sequence[Want], levels: Sequence[Level]) -> None:
        """Something was granted: what is held for it does not count as used yet."""
        for rule, want, level in zip(rules, wants, levels, strict=True):
            if rule.limit.warn_at is None:
                continue
            used = want.limit - level.remaining - want.amount
            if used * _WHOLE >= want.limit * rule.limit.warn_at:
                self._warn(rule, used, level)

    def _warn(self, rule: Rule, used: int, level: Level) -> None:
        now = self._now()
        if now < self._quiet_until.get(rule.counter, 0.0):
            return
        if len(self._quiet_until) >= _MAX_WARNED:
            self._quiet_until.clear()
        limit = rule.limit
        long = limit.window in ("day", "month", "total")
        self._quiet_until[rule.counter] = now + (level.reset_s if long else MINUTE_S)
        self._warnings.labels(*_labels(rule)).inc()
        log.warning(
            "limit_warning",
            limit=rule.counter,
            amount=limit.amount,
            used=used,
            warn_at=limit.warn_at,
            resets_in_s=None if level.reset_s == FOREVER else round(level.reset_s),
        )


def _labels(rule: Rule) -> tuple[str, str, str]:
    limit = rule.limit
    return limit.subject.partition(":")[0], limit.meter, limit.window
