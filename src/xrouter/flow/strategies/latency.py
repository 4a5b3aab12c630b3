"""The faster of two drawn ones: for people who wait; no herd runs to the quickest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.standing import Standing
from xrouter.flow.strategies import Options
from xrouter.flow.strategy_options import number, only, share

EXPLORED = 0.02
chance = Random()  # noqa: S311 - a share, no secret


def order(targets: Sequence[Target], ask: Ask, board: Board, options: Options) -> list[Target]:
    """Two that are well are drawn, the faster of them is first; the others follow by speed.

    Streams are compared by their first token, other answers as a whole. Now and then any of them
    is first, so that one that was slow once is measured again.
    """
    streamed = ask.request is not None and ask.request.streaming

    def rank(target: Target) -> tuple[float, float]:
        return _seconds(board.standing(target), streamed=streamed), chance.random()

    ranked = sorted(targets, key=rank)
    well = [place for place, target in enumerate(ranked) if board.is_well(target)]
    if len(well) > 1:
        first = int(chance.random() * len(well))
        if chance.random() >= number(options, "explore", EXPLORED):
            second = int(chance.random() * (len(well) - 1))
            first = min(first, second + (second >= first))
        ranked.insert(0, ranked.pop(well[first]))
    return ranked


def check(options: Options) -> None:
    """explore: the share of requests that may go anywhere, 0 to 1."""
    only(options, "explore")
    share(options, "explore")


def _seconds(standing: Standing, *, streamed: bool) -> float:
    """Who was not measured yet is tried, by one request at a time."""
    seconds = standing.wait(streamed=streamed)
    if seconds is None:
        return math.inf if standing.running else 0.0
    return seconds
