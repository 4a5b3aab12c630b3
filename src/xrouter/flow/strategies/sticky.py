"""Always the same one for one session: its prompt is in the cache there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import Options

_WHOLE = 1 << 64


def order(targets: Sequence[Target], ask: Ask, _board: Board, _options: Options) -> list[Target]:
    """Rendezvous hashing, by weight: who leaves takes only its own sessions with it."""
    session = ask.session.encode("utf-8", "replace")
    return sorted(targets, key=lambda target: -_pull(session, target))


def _pull(session: bytes, target: Target) -> float:
    name = f"{target.endpoint.id}\0{target.version.upstream}\0".encode()
    digest = blake2b(name + session, digest_size=8).digest()
    position = (int.from_bytes(digest, "big") + 1) / (_WHOLE + 1)
    return max(target.weight, 0) / -math.log(position)
