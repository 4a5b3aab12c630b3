"""The one with the most left of its provider's request limit: nobody runs dry."""

from __future__ import annotations

from collections.abc import Sequence

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options

_PLENTY = 1 << 60


def order(targets: Sequence[Target], _ask: Ask, board: Board, _options: Options) -> list[Target]:
    """By what is left; who says nothing of a limit has plenty."""

    def left(target: Target) -> int:
        remaining = board.standing(target).remaining
        return -_PLENTY if remaining is None else -remaining

    return sorted(targets, key=left)
