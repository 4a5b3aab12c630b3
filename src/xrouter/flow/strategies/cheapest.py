"""Where this request costs least: for those who pay. Unknown prices come last."""

from __future__ import annotations

from collections.abc import Sequence

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.costs import cost
from xrouter.flow.strategies import Options
from xrouter.flow.strategy_options import only, whole_number

OUTPUT_TOKENS = 500
_UNKNOWN = 1 << 80


def order(targets: Sequence[Target], ask: Ask, _board: Board, options: Options) -> list[Target]:
    """By the estimated cost; equal ones as they stand."""
    given = options.get("output_tokens")
    output = ask.output or (given if isinstance(given, int) and given > 0 else OUTPUT_TOKENS)

    def price(target: Target) -> int:
        found = cost(target.version.price, ask.rates, ask.tokens, output)
        return _UNKNOWN if found is None else found

    return sorted(targets, key=price)


def check(options: Options) -> None:
    """output_tokens: of an answer, where the caller sets no limit."""
    only(options, "output_tokens")
    whole_number(options, "output_tokens")
