"""How many unknown tokens a client may ask about: enough for work, too few for guessing."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from xrouter.control.oauth.problems import busy
from xrouter.domain.tries import SharedTries

LIMIT = 100
WINDOW_S = 60.0
SIZE = 10_000
"""Clients that are remembered; who missed longest ago goes first."""


class Guesses:
    """clock: seconds that never go back. shared: by all processes; each hears with its own misses
    how many there were at others.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        shared: SharedTries | None = None,
    ) -> None:
        self._clock = clock
        self._shared = shared
        self._misses: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def enter(self, client: str) -> None:
        """Go on only if there were few. Raises OAuthError 429."""
        since, count = self._misses.get(client, (0.0, 0))
        left = since + WINDOW_S - self._clock()
        if count >= LIMIT and left > 0:
            raise busy(left)

    async def miss(self, client: str) -> None:
        """It asked for a token that is none."""
        told = None if self._shared is None else await self._shared.miss(client, WINDOW_S)
        now = self._clock()
        since, count = self._misses.pop(client, (now, 0))
        if now - since > WINDOW_S:
            since, count = now, 0
        count += 1
        if told is not None and told[0] > count:
            count, since = told[0], now + told[1] - WINDOW_S
        self._misses[client] = (since, count)
        while len(self._misses) > SIZE:
            self._misses.popitem(last=False)
