"""The one that scores best, or is refused least by its provider's filter."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board, Standing
from xrouter.flow.strategies import Options
from xrouter.flow.strategy_options import number, only, share, whole_number

EXPLORED = 0.05
MIN_SAMPLES = 20
chance = Random()  # noqa: S311 - a share, no secret


def order(targets: Sequence[Target], _ask: Ask, board: Board, options: Options) -> list[Target]:
    """By score; now and then a random one is first, so that all stay measured.

    Who has fewer than `min_samples` answers counts as good.
    """
    least = number(options, "min_samples", MIN_SAMPLES)
    ranked = sorted(targets, key=lambda target: -_score(board.standing(target), least))
    if chance.random() < number(options, "explore", EXPLORED):
        index = chance.randrange(len(ranked))
        ranked.insert(0, ranked.pop(index))
    return ranked


def check(options: Options) -> None:
    """min_samples: answers before a score counts; explore: share of requests, 0 to 1."""
    only(options, "min_samples", "explore")
    whole_number(options, "min_samples")
    share(options, "explore")


def _score(standing: Standing, least: float) -> float:
    if standing.score is not None:
        return standing.score
    seen = standing.good + standing.bad
    return 1.0 if seen < least else 1.0 - min(1.0, (standing.refused + standing.bad) / seen)
