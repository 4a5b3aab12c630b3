"""Targets, requests and measures for tests of strategies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Any

from tests.flow.catalog import endpoint, model

from xrouter.domain.catalog import Price, State, Version
from xrouter.domain.chat import ChatRequest, Message
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.standing import LEAST_OPINIONS
from xrouter.flow.strategies import strategies


def target(
    number: int,
    weight: int = 1,
    price: int | None = None,
    state: State = "healthy",
    currency: str = "RUB",
) -> Target:
    """price: units of the currency for a million tokens, in or out."""
    amount = 0 if price is None else price * 10**9
    cost = None if price is None else Price(currency=currency, input=amount, output=amount)
    version = Version(label="1", upstream=f"m{number}", price=cost)
    made = model(f"p{number}/m", version)
    return Target(endpoint(number, f"p{number}", state=state), made, version, weight=weight)


def ask(
    text: str = "hello",
    key: str = "k1",
    headers: Any = None,
    rates: Mapping[str, int] | None = None,
    **fields: Any,
) -> Ask:
    messages = [Message(role="user", content=text)]
    request = ChatRequest(model="x", messages=messages, **fields)
    return Ask(Principal(key_id=key, name=key), request, headers, rates)


STREAM = ask(stream=True)


def ordered(
    name: str, targets: Sequence[Target], asked: Ask, board: Board | None = None, **options: Any
) -> list[int]:
    """The ids of the endpoints in the order of the strategy."""
    found = strategies()[name].order(targets, asked, board or Board(), options)
    return [each.endpoint.id for each in found]


def drawn(times: int, draw: Callable[[], Any]) -> Counter[Any]:
    return Counter(draw() for _ in range(times))


def fits(seen: Mapping[Any, int], shares: Mapping[Any, float]) -> bool:
    """Whether counts are as likely as not to be of these shares (chi square, five sigma)."""
    whole, parts = sum(seen.values()), sum(shares.values())
    assert set(seen) <= {each for each, share in shares.items() if share > 0}
    expected = {each: whole * share / parts for each, share in shares.items() if share > 0}
    off = sum((seen.get(each, 0) - many) ** 2 / many for each, many in expected.items())
    freedom = max(1, len(expected) - 1)
    return off < freedom + 5 * sqrt(2 * freedom)


def rate(board: Board, each: Target, score: float, keys: int = LEAST_OPINIONS) -> None:
    """So many callers say how good the answers are, for the first time."""
    for number in range(keys):
        board.rated(each, score, f"{score}-{number}")
