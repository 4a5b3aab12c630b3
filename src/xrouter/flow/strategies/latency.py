"""The faster of two drawn ones: quick, and no herd runs to the quickest."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options

chance = Random()  # noqa: S311 - a share, no secret


def order(targets: Sequence[Target], _ask: Ask, board: Board, _options: Options) -> list[Target]:
    """Two are drawn, the faster of them is first; the others follow, the fastest first.

    Who was not measured yet counts as the fastest: it is tried.
    """
    first, second = chance.sample(range(len(targets)), 2)
    if _seconds(targets[second], board) < _seconds(targets[first], board):
        first = second
    rest = [target for index, target in enumerate(targets) if index != first]
    rest.sort(key=lambda target: _seconds(target, board))
    return [targets[first], *rest]


def _seconds(target: Target, board: Board) -> float:
    return board.standing(target).latency or 0.0
