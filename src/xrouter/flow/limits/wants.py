"""How much of each limit a request may need: an upper bound, as tight as is known before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from xrouter.domain.limits import Tenant
from xrouter.domain.money import on_top
from xrouter.domain.plan import Target
from xrouter.domain.ports import Want
from xrouter.flow import costs
from xrouter.flow.ask import Ask
from xrouter.flow.limits.rules import Rule
from xrouter.flow.yardstick import PLAIN, Yardstick

DEFAULT_OUTPUT = 4096
"""Tokens of an answer when neither the caller nor the model bounds it lower."""


Gauge = Callable[[Target], Yardstick]
"""How long a target's tokens and answers are."""


def unknown(_target: Target) -> Yardstick:
    """Where nothing was counted yet."""
    return PLAIN


def wants(
    rules: Sequence[Rule],
    targets: Sequence[Target],
    ask: Ask,
    tenant: Tenant | None,
    gauge: Gauge = unknown,
) -> list[Want]:
    """One for each rule, in their order. targets: that may answer, in order."""
    tokens = money = -1
    made: list[Want] = []
    for rule in rules:
        limit = rule.limit
        if limit.meter == "tokens":
            tokens = _tokens(targets[0], ask, gauge) if tokens < 0 else tokens
            amount = tokens
            if ask.output is None:  # a guess must not exclude a request for ever
                amount = min(tokens, max(ask.tokens, limit.amount))
        elif limit.meter == "money":
            money = _money(targets, ask, tenant, gauge) if money < 0 else money
            amount = money
        else:
            made.append(_one(rule))
            continue
        made.append(_want(rule, amount))
    return made


def _want(rule: Rule, amount: int) -> Want:
    limit, model, version = rule.limit, rule.model, rule.version
    window, most, zone = limit.window, limit.amount, limit.time_zone
    return Want(rule.counter, limit.meter, window, most, amount, zone, model, version)


@lru_cache(maxsize=4096)
def _one(rule: Rule) -> Want:
    """A request, or a place: the same each time."""
    return _want(rule, 1)


def _each(target: Target, ask: Ask, gauge: Gauge) -> tuple[int, int]:
    """The tokens of the prompt, and the most of one answer: 0 for anything but a chat."""
    if ask.request is None:
        return ask.tokens, 0
    yardstick = gauge(target)
    prompt = yardstick.tokens(ask.characters)
    if ask.output is not None:
        return prompt, ask.output
    longest = target.model.abilities.max_output
    usual = DEFAULT_OUTPUT if yardstick.usual is None else yardstick.usual
    return prompt, usual if longest is None else min(longest, usual)


def _tokens(target: Target, ask: Ask, gauge: Gauge) -> int:
    answers = 1 if ask.request is None else ask.request.n or 1
    prompt, answer = _each(target, ask, gauge)
    return prompt + answers * answer


def _money(targets: Sequence[Target], ask: Ask, tenant: Tenant | None, gauge: Gauge) -> int:
    """At the dearest target; what has no price counts nothing."""
    cost = 0
    for target in targets:
        cost = max(cost, costs.most(target, ask, *_each(target, ask, gauge)) or 0)
    return cost if tenant is None else cost + sum(on_top(cost, tenant))
