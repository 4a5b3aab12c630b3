"""How much of each limit a request may need: an upper bound, as tight as is known before it."""

from __future__ import annotations

from collections.abc import Sequence

from xrouter.domain.limits import Tenant
from xrouter.domain.money import on_top
from xrouter.domain.plan import Plan, Target
from xrouter.domain.ports import Want
from xrouter.flow import costs
from xrouter.flow.ask import Ask
from xrouter.flow.limits.rules import Rule

DEFAULT_OUTPUT = 4096
"""Tokens of an answer when neither the caller nor the model bounds it lower."""


def wants(rules: Sequence[Rule], plan: Plan, ask: Ask, tenant: Tenant | None) -> list[Want]:
    """One for each rule, in their order."""
    tokens = money = -1
    made: list[Want] = []
    for rule in rules:
        limit, amount = rule.limit, 1
        if limit.meter == "tokens":
            tokens = _tokens(plan.targets[0], ask) if tokens < 0 else tokens
            amount = tokens
            if ask.output is None:  # a guess must not exclude a request for ever
                amount = min(tokens, max(ask.tokens, limit.amount))
        elif limit.meter == "money":
            money = _money(plan, ask, tenant) if money < 0 else money
            amount = money
        made.append(
            Want(rule.counter, limit.meter, limit.window, limit.amount, amount, limit.time_zone)
        )
    return made


def _output(target: Target, ask: Ask) -> int:
    """The most tokens of one answer; 0 for anything but a chat."""
    if ask.request is None:
        return 0
    if ask.output is not None:
        return ask.output
    return min(target.model.abilities.max_output or DEFAULT_OUTPUT, DEFAULT_OUTPUT)


def _tokens(target: Target, ask: Ask) -> int:
    answers = 1 if ask.request is None else ask.request.n or 1
    return ask.tokens + answers * _output(target, ask)


def _money(plan: Plan, ask: Ask, tenant: Tenant | None) -> int:
    """At the dearest target; what has no price counts nothing."""
    targets = (*plan.targets, *plan.overflow, *plan.refusal)
    cost = max(costs.estimate(t, ask, _output(t, ask)) or 0 for t in targets)
    return cost + sum(on_top(cost, tenant))
