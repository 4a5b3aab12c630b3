"""How much of each limit a request may need: an upper bound, as tight as is known before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xrouter.domain.money import on_top
from xrouter.domain.plan import Target
from xrouter.domain.ports import Want
from xrouter.flow import costs
from xrouter.flow.ask import Ask
from xrouter.flow.limits.rules import Sheet
from xrouter.flow.yardstick import PLAIN, Yardstick

DEFAULT_OUTPUT = 4096
"""Tokens of an answer when neither the caller nor the model bounds it lower."""


Gauge = Callable[[Target], Yardstick]
"""How long a target's tokens and answers are."""


def unknown(_target: Target) -> Yardstick:
    """Where nothing was counted yet."""
    return PLAIN


def wants(
    sheet: Sheet,
    targets: Sequence[Target],
    ask: Ask,
    gauge: Gauge = unknown,
) -> list[Want]:
    """One for each rule, in their order. targets: that may answer, in order."""
    made = list(sheet.wants)
    if not sheet.tokens and not sheet.money:
        return made
    first = targets[0]
    prompt, answer = _each(first, ask, gauge)
    if sheet.tokens:
        request = ask.request
        tokens = prompt + (answer if request is None else (request.n or 1) * answer)
        for place in sheet.tokens:
            one = made[place]
            amount = tokens
            if tokens > one.limit and ask.output is None:  # a guess must not exclude it for ever
                amount = min(tokens, max(ask.tokens, one.limit))
            made[place] = _want(one, amount)
    if sheet.money:
        money = costs.most(first, ask, prompt, answer) or 0
        for target in targets:
            if target is not first:
                money = max(money, costs.most(target, ask, *_each(target, ask, gauge)) or 0)
        margin, vat = on_top(money, sheet.tenant)
        money += margin + vat
        for place in sheet.money:
            made[place] = _want(made[place], money)
    return made


def _want(one: Want, amount: int) -> Want:
    return Want(
        one.counter,
        one.meter,
        one.window,
        one.limit,
        amount,
        one.time_zone,
        one.model,
        one.version,
    )


def _each(target: Target, ask: Ask, gauge: Gauge) -> tuple[int, int]:
    """The tokens of the prompt, and the most of one answer: 0 for anything but a chat."""
    if ask.request is None:
        return ask.tokens, 0
    yardstick = gauge(target)
    prompt, output = yardstick.tokens(ask.characters), ask.request.output_limit
    if output is not None:
        return prompt, output
    longest = target.model.abilities.max_output
    usual = DEFAULT_OUTPUT if yardstick.usual is None else yardstick.usual
    return prompt, usual if longest is None else min(longest, usual)
