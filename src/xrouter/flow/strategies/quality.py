"""The one that callers score best, or whose provider's filter refuses least: for good answers."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.standing import Standing
from xrouter.flow.strategies import Options
from xrouter.flow.strategy_options import number, only, share, whole_number

EXPLORED = 0.05
MIN_SAMPLES = 20
chance = Random()  # noqa: S311 - a share, no secret


def order(targets: Sequence[Target], _ask: Ask, board: Board, options: Options) -> list[Target]:
    """By quality in whole percent, equal ones as they stand; now and then any of them first."""
    least = number(options, "min_samples", MIN_SAMPLES)
    ranked = sorted(targets, key=lambda t: -quality_of(board.standing(t), least))
    if chance.random() < number(options, "explore", EXPLORED):
        ranked.insert(0, ranked.pop(int(chance.random() * len(ranked))))
    return ranked


def check(options: Options) -> None:
    """min_samples: answers before refusals count; explore: share of requests, 0 to 1."""
    only(options, "min_samples", "explore")
    whole_number(options, "min_samples")
    share(options, "explore")


def quality_of(standing: Standing, least: float) -> float:
    """0 to 1: the callers' score, else the share of answers that no filter took.

    Who has fewer than `least` answers counts as good, so that it is tried.
    """
    if standing.score is not None:
        return round(standing.score, 2)
    if not standing.refused or standing.answers < least:
        return 1.0
    return round(1 - min(1.0, standing.refused / max(standing.answers, standing.refused)), 2)
