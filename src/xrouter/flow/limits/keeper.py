"""Takes what a request may need from all its limits at once, and settles it afterwards."""

from __future__ import annotations

from xrouter.domain.limits import Meter
from xrouter.domain.money import Charge
from xrouter.domain.plan import Plan
from xrouter.domain.ports import Hold, Meters, Reply
from xrouter.domain.snapshot import Snapshot
from xrouter.flow import accounts
from xrouter.flow.ask import Ask
from xrouter.flow.limits.alarms import Alarms
from xrouter.flow.limits.refusals import allowances, refusal
from xrouter.flow.limits.rules import Rules
from xrouter.flow.limits.wants import wants
from xrouter.flow.tally import Tally
from xrouter.telemetry.metrics import Meters as Metrics

LEASE_S = 120.0
"""Meters that processes share renew it as long as the request runs; those of a process that has
died are free after it.
"""


class Keeper:
    """Costs nothing where no limit counts."""

    def __init__(self, meters: Meters, metrics: Metrics) -> None:
        self._meters = meters
        self._rules = Rules()
        self._alarms = Alarms(metrics)

    async def take(
        self, ask: Ask, plan: Plan, snapshot: Snapshot, reply: Reply | None
    ) -> Hold | None:
        """Hold it until `settle`; None where nothing counts.

        Raises RateLimited (also TokensLimited), QuotaExhausted.
        """
        principal = ask.principal
        user = None if ask.request is None else ask.request.end_user
        rules = self._rules.of(principal, plan.targets[0], user, snapshot)
        if accounts.cost_nothing(plan):
            rules = tuple(rule for rule in rules if rule.limit.meter != "money")
        if not rules:
            return None
        wanted = wants(rules, plan, ask, snapshot.tenants.get(principal.project))
        verdict = await self._meters.take(wanted, LEASE_S)
        if reply is not None:
            for allowance in allowances(wanted, verdict.levels):
                reply.allow(allowance)
        if verdict.hold is None:
            refused = rules[verdict.refused]
            self._alarms.refused(refused)
            raise refusal(refused, verdict, wanted[verdict.refused])
        self._alarms.look(rules, wanted, verdict.levels)
        return verdict.hold

    def defer(self, held: Hold, *, left: bool) -> None:
        """For a request that a provider will answer later, perhaps to another process: what it
        may need counts as used. left: the provider has taken it.
        """
        if left:
            used = [0 if want.meter == "running" else want.amount for want in held.wants]
            self._meters.settle(held, used)
        else:
            self._meters.release(held)

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
        "tokens": 0 if usage is None else usage.prompt_tokens + usage.completion_tokens,
        "money": 0 if charge is None else charge.total,
    }
    return [used[want.meter] for want in held.wants]
