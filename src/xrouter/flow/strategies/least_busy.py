"""The one with the fewest calls under way: for machines of one's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options

chance = Random()  # noqa: S311 - a share, no secret


def order(targets: Sequence[Target], _ask: Ask, board: Board, _options: Options) -> list[Target]:
    """By calls under way for each unit of weight; equal ones by chance. 0 is a last resort."""

    def rank(target: Target) -> tuple[float, float]:
        weight = target.weight
        busy = board.standing(target).running / weight if weight > 0 else math.inf
        return busy, chance.random()

    return sorted(targets, key=rank)
