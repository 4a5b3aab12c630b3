"""In turn, by weight, without bursts: for even use of equal targets."""

from __future__ import annotations

from collections.abc import Sequence

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options

_MAX_GROUPS = 10_000
_Group = tuple[tuple[int, str], ...]
_turns: dict[_Group, list[int]] = {}


def order(targets: Sequence[Target], _ask: Ask, _board: Board, _options: Options) -> list[Target]:
    """The next in turn first, the others behind it as they stand.

    Each turn everybody gains its weight and the richest pays for all (as nginx does it).
    """
    group = tuple((target.endpoint.id, target.version.upstream) for target in targets)
    purses = _turns.get(group)
    if purses is None:
        if len(_turns) >= _MAX_GROUPS:
            _turns.clear()
        purses = _turns[group] = [0] * len(targets)
    whole = 0
    for index, target in enumerate(targets):
        purses[index] += target.weight
        whole += target.weight
    first = purses.index(max(purses))
    purses[first] -= whole
    return [targets[first], *targets[:first], *targets[first + 1 :]]
