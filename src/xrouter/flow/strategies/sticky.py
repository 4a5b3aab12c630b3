"""Always the same one for one session: its prompt is in the cache there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options

_BITS = 52


def order(targets: Sequence[Target], ask: Ask, _board: Board, _options: Options) -> list[Target]:
    """Rendezvous hashing, by weight: who leaves takes only its own sessions with it.

    A weight of 0 is a last resort. Every process finds the same order.
    """
    session = ask.session.encode("utf-8", "replace")

    def rank(target: Target) -> float:
        if target.weight <= 0:
            return math.inf
        name = f"{target.endpoint.id}\0{target.version.upstream}\0".encode("utf-8", "replace")
        digest = blake2b(name + session, digest_size=8).digest()
        position = (int.from_bytes(digest, "big") >> (64 - _BITS)) + 0.5
        return -math.log(position / (1 << _BITS)) / target.weight

    return sorted(targets, key=rank)
