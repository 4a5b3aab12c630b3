"""Ways to order the targets of one tier: one file each, found, not listed.

A strategy is a module with

    def order(targets, ask, board, options) -> list[Target]     at least two targets, all of them
    def check(options) -> None                                  raises InvalidRequest; only for
                                                                those that have options

`options` is what the policy says (`Policy.options`), any JSON; `order` may be given anything there
and must not fail: what makes no sense counts as absent. The name of a strategy is its file's.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from msgspec import Struct

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategy_options import only

Options = Mapping[str, Any]
Order = Callable[[Sequence[Target], Ask, Board, Options], list[Target]]
Check = Callable[[Options], None]


class Strategy(Struct, frozen=True):
    """A way to order targets, and to check its options."""

    name: str
    order: Order
    check: Check


@cache
def strategies() -> Mapping[str, Strategy]:
    """All strategies by name."""
    found: dict[str, Strategy] = {}
    for info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        found[info.name] = Strategy(info.name, module.order, getattr(module, "check", only))
    return found
