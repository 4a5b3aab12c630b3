"""The money that kept answers and strategies have saved, in billionths of a ruble.

A kept answer saves what it would have cost to make it again. A strategy saves the difference
between the dearest and the chosen one of the targets that it ordered: those of one tier that could
all answer the request. Both at today's prices; what is unknown saves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from msgspec.structs import replace

from xrouter.domain.answer import Usage
from xrouter.domain.catalog import Price
from xrouter.domain.money import BILLION, charge_of
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Served, SnapshotSource
from xrouter.flow.strategies import strategies
from xrouter.flow.ways import PRIORITY
from xrouter.telemetry.metrics import Meters

CACHE = "cache"


class Savings:
    """Adds up, by what saved it. Only strategies that choose count: not `priority`."""

    def __init__(self, snapshots: SnapshotSource, meters: Meters) -> None:
        self._snapshots = snapshots
        self._saved = {by: 0 for by in (CACHE, *strategies()) if by != PRIORITY}
        gauge = meters.gauge(
            "xrouter_saved_rubles_total", "Rubles not spent, by what saved them", ("by",)
        )
        for by in self._saved:
            gauge.labels(by).set_function(partial(self._rubles, by))

    def kept(self, served: Served, usage: Usage | None) -> None:
        """An answer is given once more. usage: of the request that made it."""
        snapshot = self._snapshots.current
        model = snapshot.models.get(served.model)
        if model is None or usage is None:
            return
        found = (v.price for v in model.versions if v.label == served.version)
        self._saved[CACHE] += charge(next(found, None), snapshot.rates, usage) or 0

    def chosen(self, plan: Plan, target: Target | None, usage: Usage | None) -> None:
        """A target of the plan has answered."""
        strategy = plan.policy.strategy
        if len(plan.targets) == 1 or strategy == CACHE or strategy not in self._saved:
            return
        if target is None or usage is None or target.version.price is None:
            return
        if target.endpoint.owner is not None:
            return
        tier = [other for other in plan.targets if other.tier == target.tier]
        if not any(other is target for other in tier):  # of the chains for what is not answered
            return
        rates = self._snapshots.current.rates
        costs = [charge(other.version.price, rates, usage) for other in tier]
        known = [cost for cost in costs if cost is not None]
        own = charge(target.version.price, rates, usage)
        if own is not None and len(known) == len(costs):
            self._saved[strategy] += max(known) - own

    def _rubles(self, by: str) -> float:
        return self._saved[by] / BILLION


def charge(price: Price | None, rates: Mapping[str, int], usage: Usage) -> int | None:
    """What this usage costs by a price, rounded up; None when the price or the rate is unknown."""
    counted = charge_of(replace(usage, cost=None), price, rates)
    return counted.cost if counted.is_known else None
