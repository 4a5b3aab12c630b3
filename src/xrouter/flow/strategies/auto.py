"""The best in health, speed, price, room and quality together: for those who do not choose."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.costs import RUBLE, estimate
from xrouter.flow.standing import Standing
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

_BALANCED = PREFERENCES["balanced"]
EXPLORED = 0.02
OUTPUT_TOKENS = 500
_CHANCE = 0.05
_HALF_FULL = 20
_MILLION = 1_000_000
_STATES = {"healthy": 1.0, "degraded": 0.5, "down": 0.0}
chance = Random()  # noqa: S311 - a share, no secret


def order(targets: Sequence[Target], ask: Ask, board: Board, options: Options) -> list[Target]:
    """The largest weighted sum first; sums within a twentieth of each other by chance.

    health: the share of good answers, half of it at an endpoint that is degraded. speed, price:
    the best one's seconds and rubles, divided by its own. room: 0.5 with 20 requests left or 20
    under way. quality: see there. Now and then any of them is first, so that all are measured.
    """
    health, speed, price, room, quality = _weights(options) if options else _BALANCED
    perfect, luck = health + room + quality, chance.random
    standings, waits, amounts = _measured(targets, ask, board)
    quickest, cheapest = _least(waits), _least(amounts)
    ranked: list[tuple[float, int, Target]] = []
    for index, target in enumerate(targets):
        standing, wait, amount = standings[index], waits[index], amounts[index]
        whole = perfect + _CHANCE * luck()
        if wait:
            whole += speed * (quickest / wait)
        elif wait is not None or not standing.running:
            whole += speed
        else:  # not measured yet: it is tried, by one request at a time
            whole += speed * 0.5
        if amount:
            whole += price * (cheapest / amount)
        elif amount is not None:
            whole += price
        endpoint = target.endpoint
        shared = board.endpoint(endpoint)
        if standing.bad or endpoint.state != "healthy" or (shared is not None and shared.bad):
            whole -= health * (1 - board.health(target) * _STATES[endpoint.state])
        if standing.running or standing.remaining is not None:
            whole -= room * (1 - _room(target, standing, board))
        if standing.refused or standing.score is not None:
            whole -= quality * (1 - quality_of(standing, MIN_SAMPLES))
        ranked.append((-whole, index, target))
    ranked.sort()
    if luck() < (number(options, "explore", EXPLORED) if options else EXPLORED):
        ranked.insert(0, ranked.pop(int(luck() * len(ranked))))
    return [each[2] for each in ranked]


def check(options: Options) -> None:
    """prefer: `balanced`, `speed`, `price` or `quality`; explore: share of requests, 0 to 1."""
    only(options, "prefer", "explore")
    one_of(options, "prefer", tuple(PREFERENCES))
    share(options, "explore")


def _weights(options: Options) -> tuple[float, float, float, float, float]:
    said = options.get("prefer")
    return PREFERENCES.get(said, _BALANCED) if isinstance(said, str) else _BALANCED


def _measured(
    targets: Sequence[Target], ask: Ask, board: Board
) -> tuple[list[Standing], list[float | None], list[int | None]]:
    """Of each target: its standing, the seconds to wait for it, what it costs; None: not known.

    The costs are in millionths of billionths of a ruble.
    """
    request, tokens, standing_of = ask.request, ask.tokens, board.standing
    streamed = request is not None and request.stream is True
    output = OUTPUT_TOKENS if request is None else request.output_limit or OUTPUT_TOKENS
    plain = request is None or request.n is None
    standings: list[Standing] = []
    waits: list[float | None] = []
    amounts: list[int | None] = []
    for target in targets:
        standing = standing_of(target)
        standings.append(standing)
        waits.append(standing.first_token if streamed else standing.whole)
        price = target.version.price
        if price is None:
            amounts.append(None)
        elif plain and price.currency == RUBLE:
            amounts.append(price.input * tokens + price.output * output + price.request * _MILLION)
        else:
            found = estimate(target, ask, output)
            amounts.append(None if found is None else found * _MILLION)
    return standings, waits, amounts


def _least(values: Sequence[Any]) -> float:
    """The smallest of those that are known, 0 where none is."""
    known = [value for value in values if value is not None] if None in values else values
    return min(known, default=0.0)


def _room(target: Target, standing: Standing, board: Board) -> float:
    running = _HALF_FULL / (_HALF_FULL + standing.running)
    left = None if standing.remaining is None else board.remaining(target)
    return running if left is None else min(running, left / (left + _HALF_FULL))
