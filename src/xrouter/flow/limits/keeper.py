"""Takes what a request may need from all its limits at once, and settles it afterwards."""

from __future__ import annotations

from xrouter.domain.limits import Meter
from xrouter.domain.money import Charge
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Hold, Meters, Reply, Want
from xrouter.domain.snapshot import Snapshot
from xrouter.flow.ask import Ask
from xrouter.flow.limits.alarms import Alarms
from xrouter.flow.limits.needs import needs
from xrouter.flow.limits.refusals import refusal
from xrouter.flow.limits.rules import RuleBook
from xrouter.flow.limits.wants import Gauge, unknown
from xrouter.flow.tally import Tally
from xrouter.telemetry.metrics import Meters as Metrics

LEASE_S = 120.0
"""Meters that processes share renew it as long as the request runs; those of a process that has
died are free after it.
"""


class Keeper:
    """Costs nothing where no limit counts."""

    def __init__(self, meters: Meters, metrics: Metrics, gauge: Gauge = unknown) -> None:
        """gauge: how long the tokens and the answers of a target are."""
        self._meters = meters
        self._gauge = gauge
        self._rules = RuleBook()
        self._alarms = Alarms(metrics)

    async def take(
        self, ask: Ask, plan: Plan, snapshot: Snapshot, reply: Reply | None
    ) -> tuple[Hold | None, Plan]:
        """Hold it until `settle`, None where nothing counts; and the plan without the targets whose
        own limits are used up. Raises RateLimited (also TokensLimited), QuotaExhausted.
        """
        need = needs(self._rules, ask, plan, snapshot, self._gauge)
        if not need.wants:
            return None, plan
        verdict = await self._meters.take(need.wants, LEASE_S, need.choices)
        if reply is not None:
            need.tell(reply, verdict)
        held = verdict.hold
        if held is None:
            refused = need.rules[verdict.refused]
            self._alarms.refused(refused)
            raise refusal(refused, verdict, need.wants[verdict.refused])
        if need.is_watched:
            granted, levels = need.granted(verdict)
            self._alarms.look(granted, held.wants, levels)
        return held, plan if need.choices is None else need.left(plan, verdict.opened)

    def defer(self, held: Hold, target: Target | None) -> None:
        """For a request that a provider will answer later, perhaps to another process: what it
        may need counts as used. target: that has taken it, None for none. Of a rate of which
        nothing was held, as it was not the first, as much as of others.
        """
        if target is None:
            self._meters.release(held)
            return
        most = {want.meter: want.amount for want in sorted(held.wants, key=lambda w: w.amount)}
        who = target.model.model_id, target.version.label
        used = [
            0
            if want.window == "now" or not _counts(want, who)
            else most[want.meter]
            if want.window == "minute" and not want.amount
            else want.amount
            for want in held.wants
        ]
        self._meters.settle(held, used)

    def settle(self, tally: Tally, charge: Charge | None) -> None:
        """Once, at the end of the request: nothing was used when nobody was asked."""
        held = tally.held
        if held is None:
            return
        if tally.attempts == 0 and tally.cached is None:
            self._meters.release(held)
        else:
            self._meters.settle(held, _actual(held, tally, charge))


def _actual(held: Hold, tally: Tally, charge: Charge | None) -> list[int]:
    """An answer that was kept from before costs a request and nothing else."""
    usage = None if tally.cached is not None else tally.usage
    used: dict[Meter, int] = {
        "requests": 1,
        "running": 0,
        "streams": 0,
        "tokens": 0 if usage is None else usage.prompt_tokens + usage.completion_tokens,
        "money": 0 if charge is None else charge.total,
    }
    return [
        used[want.meter] if want.model is None or _counts(want, _who(tally)) else 0
        for want in held.wants
    ]


def _who(tally: Tally) -> tuple[str, str] | None:
    """The model and the version that have answered, or were asked last."""
    if tally.cached is not None:
        return tally.cached.model, tally.cached.version
    target = tally.target
    return None if target is None else (target.model.model_id, target.version.label)


def _counts(want: Want, who: tuple[str, str] | None) -> bool:
    """Whether it counts what this model and version answer."""
    if want.model is None or who is None:
        return want.model is None
    return want.model == who[0] and want.version in (None, who[1])
