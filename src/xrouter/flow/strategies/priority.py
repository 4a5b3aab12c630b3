"""As they stand: in the order of the route, or of the endpoints' names."""

from __future__ import annotations

from collections.abc import Sequence

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options


def order(targets: Sequence[Target], _ask: Ask, _board: Board, _options: Options) -> list[Target]:
    """The targets as they stand."""
    return list(targets)
