"""Request limits of one process, in memory: GCRA, one number for each limited key."""

from __future__ import annotations

import time
from collections.abc import Callable

from typing_extensions import override

from xrouter.domain.identity import Principal
from xrouter.domain.ports import Allowance, Limiter

WINDOW_S = 60.0
MAX_KEYS = 100_000


class MemoryLimiter(Limiter):
    """Allows `rpm` requests in any minute: a burst of that size, then one each 60/rpm seconds.

    For each key the theoretical arrival time is kept: when its allowance is full again.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._full_at: dict[str, float] = {}

    @override
    def take(self, principal: Principal) -> Allowance | None:
        rpm = principal.rpm
        if rpm is None:
            return None
        now, step = self._now(), WINDOW_S / rpm
        before = max(self._full_at.get(principal.key_id, now), now)
        full_at = before + step
        over = full_at - now - WINDOW_S
        if over > step * 1e-6:
            return Allowance(rpm, 0, before - now, wait_s=over)
        if len(self._full_at) >= MAX_KEYS:
            self._forget_full(now)
        self._full_at[principal.key_id] = full_at
        used_s = full_at - now
        return Allowance(rpm, int((WINDOW_S - used_s) / step + 1e-6), used_s)

    def _forget_full(self, now: float) -> None:
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}
