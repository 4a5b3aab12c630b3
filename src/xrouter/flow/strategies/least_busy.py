"""The one with the fewest calls under way: for machines of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options

chance = Random()  # noqa: S311 - a share, no secret


def order(targets: Sequence[Target], _ask: Ask, board: Board, _options: Options) -> list[Target]:
    """By calls under way for each unit of weight; equal ones by chance."""
    ranked = [(_load(target, board), chance.random(), target) for target in targets]
    ranked.sort(key=_rank)
    return [target for _, _, target in ranked]


def _load(target: Target, board: Board) -> float:
    return board.standing(target).running / max(target.weight, 1)


def _rank(ranked: tuple[float, float, Target]) -> tuple[float, float]:
    return ranked[:2]
