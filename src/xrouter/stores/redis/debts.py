"""What was used and could not be told to Redis one by one: added up, until it listens."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.ports import Want
from xrouter.stores.redis.holds import SharedHold
from xrouter.telemetry.logs import log

MAX_OWED = 10_000


class _Debt(Struct):
    """amount: that was used. untold: what counts as such meanwhile, see `Shares`."""

    want: Want
    amount: int = 0
    untold: int = 0


class Debts:
    """By limit and window. Rates are shares anyhow."""

    def __init__(self) -> None:
        self._owed: dict[tuple[str, str], _Debt] = {}

    def __bool__(self) -> bool:
        return bool(self._owed)

    def add(self, hold: SharedHold, actual: Sequence[int]) -> None:
        """What was held for it in Redis, if anything, ends with its lease."""
        untold = hold.untold or [0] * len(hold.wants)
        for want, used, mark, more in zip(hold.wants, actual, hold.marks, untold, strict=True):
            if want.window == "minute" or not (used > 0 or more):
                continue
            name = (want.counter, mark)
            if name not in self._owed:
                if len(self._owed) >= MAX_OWED:
                    log.error("limits_not_told", limit=want.counter, amount=used)
                    continue
                self._owed[name] = _Debt(replace(want, amount=0))
            self._owed[name].amount += max(0, used)
            self._owed[name].untold += more

    def part(self, most: int, hold_id: str) -> tuple[SharedHold, list[int]]:
        """Some of it, taken out: as one hold, and what was used of each of its limits."""
        names = list(self._owed)[:most]
        debts = [self._owed.pop(name) for name in names]
        hold = SharedHold([debt.want for debt in debts], hold_id, [mark for _, mark in names])
        hold.untold = [debt.untold for debt in debts]
        return hold, [debt.amount for debt in debts]
