"""The best in health, speed, price, room and quality together: for those who do not choose."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board, Standing
from xrouter.flow.costs import cost
from xrouter.flow.strategies import Options
from xrouter.flow.strategies.quality import MIN_SAMPLES, quality_of
from xrouter.flow.strategy_options import number, one_of, only, share

PREFERENCES: dict[str, tuple[float, float, float, float, float]] = {
    "balanced": (0.30, 0.20, 0.20, 0.15, 0.15),
    "speed": (0.30, 0.50, 0.05, 0.10, 0.05),
    "price": (0.30, 0.05, 0.50, 0.10, 0.05),
    "quality": (0.30, 0.05, 0.05, 0.10, 0.50),
}
"""Weights of health, speed, price, room and quality; each of these is from 0 to 1, 1 is best."""

EXPLORED = 0.02
OUTPUT_TOKENS = 500
_CHANCE = 0.05
_HALF_FULL = 20
_STATES = {"healthy": 1.0, "degraded": 0.5, "down": 0.0}
chance = Random()  # noqa: S311 - a share, no secret


def order(targets: Sequence[Target], ask: Ask, board: Board, options: Options) -> list[Target]:
    """The largest weighted sum first; sums within a twentieth of each other by chance.

    health: the share of good answers, half of it at an endpoint that is degraded. speed, price:
    the best one's seconds and rubles, divided by its own. room: 0.5 with 20 requests left or 20
    under way. quality: see there. Now and then any of them is first, so that all are measured.
    """
    said = options.get("prefer")
    weights = PREFERENCES.get(said if isinstance(said, str) else "", PREFERENCES["balanced"])
    health, speed, price, room, quality = weights
    standings = [board.standing(target) for target in targets]
    speeds, prices = _speeds(standings, ask), _prices(targets, ask)
    sums: list[float] = []
    for index, target in enumerate(targets):
        standing = standings[index]
        left = None if standing.remaining is None else board.remaining(target)
        sums.append(
            health * board.health(target) * _STATES[target.endpoint.state]
            + speed * speeds[index]
            + price * prices[index]
            + room * _room(standing, left)
            + quality * quality_of(standing, MIN_SAMPLES)
            + _CHANCE * chance.random()
        )
    ranked = sorted(range(len(targets)), key=sums.__getitem__, reverse=True)
    if chance.random() < number(options, "explore", EXPLORED):
        ranked.insert(0, ranked.pop(int(chance.random() * len(ranked))))
    return [targets[index] for index in ranked]


def check(options: Options) -> None:
    """prefer: `balanced`, `speed`, `price` or `quality`; explore: share of requests, 0 to 1."""
    only(options, "prefer", "explore")
    one_of(options, "prefer", tuple(PREFERENCES))
    share(options, "explore")


def _speeds(standings: list[Standing], ask: Ask) -> list[float]:
    """Who was not measured yet counts as fast, so that it is tried, by one request at a time."""
    streamed = ask.request is not None and ask.request.streaming
    waits = [standing.wait(streamed=streamed) for standing in standings]
    speeds = _compared(waits, 1.0)
    for index, standing in enumerate(standings):
        if waits[index] is None and standing.running:
            speeds[index] = 0.5
    return speeds


def _prices(targets: Sequence[Target], ask: Ask) -> list[float]:
    """An unknown price counts as the worst."""
    shared = targets[0].version.price
    if all(target.version.price is shared for target in targets):
        return [1.0] * len(targets)
    tokens, rates = ask.tokens, ask.rates
    output = ask.output or OUTPUT_TOKENS
    return _compared([cost(t.version.price, rates, tokens, output) for t in targets], 0.0)


def _compared(values: Sequence[float | None], unknown: float) -> list[float]:
    """The smallest of them divided by each."""
    known = [value for value in values if value is not None]
    best = min(known) if known else 0.0
    return [unknown if value is None else best / value if value else 1.0 for value in values]


def _room(standing: Standing, left: int | None) -> float:
    running = _HALF_FULL / (_HALF_FULL + standing.running)
    return running if left is None else min(running, left / (left + _HALF_FULL))
