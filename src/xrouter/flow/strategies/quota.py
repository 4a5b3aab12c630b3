"""The one with the most left of its provider's request limit: nobody runs dry."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options


def order(targets: Sequence[Target], _ask: Ask, board: Board, _options: Options) -> list[Target]:
    """By what is left beside the calls under way; who says nothing of a limit has plenty."""

    def rank(target: Target) -> float:
        left = board.remaining(target)
        return -math.inf if left is None else board.standing(target).running - left

    return sorted(targets, key=rank)
