"""Drawn by their weights: for a share of the traffic each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options

chance = Random()  # noqa: S311 - a share, no secret


def order(targets: Sequence[Target], _ask: Ask, _board: Board, _options: Options) -> list[Target]:
    """A draw without putting back (Efraimidis and Spirakis). A weight of 0 is a last resort."""

    def lot(target: Target) -> float:
        weight = target.weight
        return -math.log(1.0 - chance.random()) / weight if weight > 0 else math.inf

    return sorted(targets, key=lot)
