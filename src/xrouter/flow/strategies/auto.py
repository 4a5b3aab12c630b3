"""The best in health, speed, price and room together: for those who do not want to choose."""

from __future__ import annotations

from collections.abc import Sequence

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board, Standing
from xrouter.flow.costs import cost
from xrouter.flow.strategies import Options
from xrouter.flow.strategy_options import one_of, only

PREFERENCES: dict[str, tuple[float, float, float]] = {
    "balanced": (1.0, 1.0, 1.0),
    "speed": (4.0, 0.5, 1.0),
    "price": (0.5, 4.0, 1.0),
    "quality": (0.5, 0.25, 1.0),
}
"""Weights of speed, price and load; failures and refusals always count for four."""

_FAILURES = 4.0
OUTPUT_TOKENS = 500


def order(targets: Sequence[Target], ask: Ask, board: Board, options: Options) -> list[Target]:
    """The smallest sum of shares first: each measure as a part of the largest among the targets.

    What is not known counts as nothing, so that it is tried.
    """
    said = options.get("prefer")
    weights = PREFERENCES.get(said if isinstance(said, str) else "", PREFERENCES["balanced"])
    standings = [board.standing(target) for target in targets]
    output = ask.output or OUTPUT_TOKENS
    costs = [cost(t.version.price, ask.rates, ask.tokens, output) or 0 for t in targets]
    measures = (
        _shares([s.latency or 0.0 for s in standings]),
        _shares([float(each) for each in costs]),
        _shares([s.running / max(t.weight, 1) for s, t in zip(standings, targets, strict=True)]),
    )
    sums = [
        _FAILURES * (standing.bad_share + _refusals(standing))
        + sum(w * shares[index] for w, shares in zip(weights, measures, strict=True))
        for index, standing in enumerate(standings)
    ]
    return [targets[index] for index in sorted(range(len(targets)), key=sums.__getitem__)]


def check(options: Options) -> None:
    """prefer: `balanced`, `speed`, `price` or `quality`."""
    only(options, "prefer")
    one_of(options, "prefer", tuple(PREFERENCES))


def _refusals(standing: Standing) -> float:
    seen = standing.good + standing.bad
    return min(1.0, standing.refused / seen) if seen else 0.0


def _shares(values: list[float]) -> list[float]:
    largest = max(values)
    return [value / largest for value in values] if largest > 0 else values
