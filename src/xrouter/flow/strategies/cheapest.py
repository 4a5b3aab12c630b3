"""Where this request costs least: for those who pay. Unknown prices come last."""

from __future__ import annotations

from collections.abc import Sequence

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.costs import estimate
from xrouter.flow.strategies import Options
from xrouter.flow.strategy_options import number, only, whole_number

OUTPUT_TOKENS = 500


def order(targets: Sequence[Target], ask: Ask, _board: Board, options: Options) -> list[Target]:
    """By the estimated cost; equal ones as they stand."""
    output = ask.output or int(number(options, "output_tokens", 0)) or OUTPUT_TOKENS

    def rank(target: Target) -> tuple[bool, int]:
        found = estimate(target, ask, output)
        return found is None, found or 0

    return sorted(targets, key=rank)


def check(options: Options) -> None:
    """output_tokens: of an answer, where the caller sets no limit."""
    only(options, "output_tokens")
    whole_number(options, "output_tokens")
