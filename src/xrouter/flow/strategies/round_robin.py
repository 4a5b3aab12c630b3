"""In turn, by weight, without bursts: for even use of equal targets."""

from __future__ import annotations

from collections.abc import Sequence

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options

_MAX_GROUPS = 10_000
_Group = tuple[tuple[int, str, int], ...]
_turns: dict[_Group, list[int]] = {}


def order(targets: Sequence[Target], ask: Ask, board: Board, _options: Options) -> list[Target]:
    """The next in turn first, then those after it; a weight of 0 is a last resort.

    Each turn everybody gains its weight and the richest pays for all (as nginx does it). Who is
    not well has no turn, or its share would all go to the one behind it.
    """
    turn: list[Target] = []
    ill: list[Target] = []
    last: list[Target] = []
    for target in targets:
        (last if target.weight <= 0 else turn if board.is_well(target) else ill).append(target)
    return (_next(turn, ask) if len(turn) > 1 else turn) + ill + last


def _next(targets: list[Target], ask: Ask) -> list[Target]:
    group = tuple((t.endpoint.id, t.version.upstream, t.weight) for t in targets)
    purses = _turns.get(group)
    if purses is None:
        purses = [0] * len(targets)
        if ask.is_real:
            if len(_turns) >= _MAX_GROUPS:
                _turns.clear()
            _turns[group] = purses
    elif not ask.is_real:
        purses = purses.copy()
    whole = 0
    for index, target in enumerate(targets):
        purses[index] += target.weight
        whole += target.weight
    ranked = sorted(range(len(targets)), key=purses.__getitem__, reverse=True)
    purses[ranked[0]] -= whole
    return [targets[index] for index in ranked]
