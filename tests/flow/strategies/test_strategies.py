"""Each strategy keeps all targets and fails at nothing; what each of them prefers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.catalog import endpoint, model

from xrouter.domain.catalog import Price, Version
from xrouter.domain.chat import ChatRequest, Message
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.identity import Principal
from xrouter.domain.plan import Target
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import (
    auto,
    latency,
    least_busy,
    quality,
    round_robin,
    strategies,
    weighted,
)

ALL = sorted(strategies())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMED = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("rules", "prefer", "explore", "min_samples", "output_tokens"), JSON)
)


def target(number: int, weight: int = 1, price: int | None = None) -> Target:
    amount = 0 if price is None else price * 10**9
    cost = None if price is None else Price(currency="RUB", input=amount, output=amount)
    version = Version(label="1", upstream=f"m{number}", price=cost)
    made = model(f"p{number}/m", version)
    return Target(endpoint(number, f"p{number}"), made, version, weight=weight)


def ask(text: str = "hello", key: str = "k1", headers: Any = None, **fields: Any) -> Ask:
    messages = [Message(role="user", content=text)]
    request = ChatRequest(model="x", messages=messages, **fields)
    return Ask(Principal(key_id=key, name=key), request, headers, {})


def first(name: str, targets: list[Target], asked: Ask, board: Board, **options: Any) -> int:
    return strategies()[name].order(targets, asked, board, options)[0].endpoint.id


@pytest.fixture(autouse=True)
def _seeded() -> None:
    for module in (weighted, least_busy, latency, quality):
        module.chance.seed(7)


@given(st.sampled_from(ALL), NAMED, st.lists(st.integers(0, 5), min_size=2, max_size=5), st.text())
def test_all_targets_are_kept_whatever_the_options_say(
    name: str, options: dict[str, Any], weights: list[int], text: str
) -> None:
    targets = [target(n, weight) for n, weight in enumerate(weights)]
    found = strategies()[name].order(targets, ask(text), Board(), options)
    assert Counter(id(each) for each in found) == Counter(id(each) for each in targets)


def test_all_that_the_docs_name_are_found() -> None:
    named = "auto cheapest latency least_busy priority quality quota round_robin rules sticky"
    assert [*named.split(), "weighted"] == ALL


def test_weights_are_shares() -> None:
    targets = [target(1, 1), target(2, 3), target(3, 0)]
    drawn = Counter(first("weighted", targets, ask(), Board()) for _ in range(4000))
    assert 0.22 < drawn[1] / 4000 < 0.28
    assert drawn[3] == 0
    orders = (strategies()["weighted"].order(targets, ask(), Board(), {}) for _ in range(20))
    assert {made[-1].endpoint.id for made in orders} == {3}


def test_turns_are_exact_and_without_bursts() -> None:
    round_robin._turns.clear()
    targets = [target(1, 3), target(2, 1)]
    assert [first("round_robin", targets, ask(), Board()) for _ in range(8)] == [1, 1, 2, 1] * 2


def test_the_least_busy_is_first() -> None:
    board, targets = Board(), [target(1), target(2), target(3, 4)]
    board.enter(targets[0])
    board.enter(targets[2])
    found = strategies()["least_busy"].order(targets, ask(), board, {})
    assert [each.endpoint.id for each in found] == [2, 3, 1]


def test_the_faster_of_two_is_first_and_the_unknown_is_tried() -> None:
    board, targets = Board(), [target(1), target(2), target(3)]
    board.answered(targets[0], 1.0, streamed=True)
    board.answered(targets[1], 0.1, streamed=True)
    drawn = Counter(first("latency", targets, ask(), board) for _ in range(3000))
    assert drawn[1] == 0
    assert 0.6 < drawn[3] / 3000 < 0.72


def test_the_cheapest_is_first_and_unknown_prices_last() -> None:
    targets = [target(1), target(2, price=20), target(3, price=10)]
    found = strategies()["cheapest"].order(targets, ask("x" * 400), Board(), {})
    assert [each.endpoint.id for each in found] == [3, 2, 1]


def test_the_one_that_is_refused_least_is_first() -> None:
    board, targets = Board(lambda: 1.0), [target(1), target(2)]
    for each in targets:
        for _ in range(50):
            board.answered(each, 0.1, streamed=True)
    board.standing(targets[0]).refused = 20
    assert first("quality", targets, ask(), board, explore=0) == 2
    drawn = Counter(first("quality", targets, ask(), board, explore=1) for _ in range(1000))
    assert 400 < drawn[1] < 600


def test_the_most_of_a_limit_is_first() -> None:
    board, targets = Board(), [target(1), target(2), target(3)]
    board.standing(targets[0]).remaining = 3
    board.standing(targets[1]).remaining = 70
    found = strategies()["quota"].order(targets, ask(), board, {})
    assert [each.endpoint.id for each in found] == [3, 2, 1]


def test_a_session_stays_and_only_its_own_leave_with_a_target() -> None:
    targets = [target(n) for n in range(1, 5)]
    sessions = [ask(user=f"user {n}") for n in range(400)]
    before = [first("sticky", targets, each, Board()) for each in sessions]
    assert before == [first("sticky", targets, each, Board()) for each in sessions]
    assert min(Counter(before).values()) > 60
    after = [first("sticky", targets[1:], each, Board()) for each in sessions]
    assert all(a == b for a, b in zip(after, before, strict=True) if b != 1)


@pytest.mark.parametrize(
    "when,fits",
    [
        ({}, True),
        ({"key": ["k1"]}, True),
        ({"key": ["k2"]}, False),
        ({"header": {"X-Team": "sup*"}}, True),
        ({"header": {"x-team": "dev"}}, False),
        ({"tag": "night"}, True),
        ({"tag": "day"}, False),
        ({"min_tokens": 2, "max_tokens": 9}, True),
        ({"max_tokens": 1}, False),
        ({"language": "ru"}, True),
        ({"language": "other"}, False),
    ],
)
def test_the_first_rule_that_fits(when: dict[str, Any], fits: bool) -> None:
    headers = {b"x-team": b"support", b"x-xrouter-tags": b"night, low"}
    asked = ask("Привет, мир ты", headers=headers)
    rules = [{"when": when, "models": ["p2/*"]}]
    assert first("rules", [target(1), target(2)], asked, Board(), rules=rules) == 1 + fits


def test_the_best_in_all_is_first_for_those_who_do_not_choose() -> None:
    board, targets = Board(), [target(1, price=100), target(2, price=10)]
    board.answered(targets[0], 0.1, streamed=True)
    board.answered(targets[1], 1.0, streamed=True)
    assert first("auto", targets, ask("x" * 400), board, prefer="speed") == 1
    assert first("auto", targets, ask("x" * 400), board, prefer="price") == 2
    assert auto.PREFERENCES.keys() == {"balanced", "speed", "price", "quality"}


@pytest.mark.parametrize(
    "name,options,param",
    [
        ("cheapest", {"output_tokens": "many"}, "output_tokens"),
        ("cheapest", {"output": 1}, "output"),
        ("quality", {"explore": 2}, "explore"),
        ("auto", {"prefer": "luck"}, "prefer"),
        ("rules", {"rules": {}}, "rules"),
        ("rules", {"rules": [{"when": {}}]}, "rules[0].models"),
        ("rules", {"rules": [{"when": {"moon": 1}, "models": ["x"]}]}, "rules[0].when"),
        (
            "rules",
            {"rules": [{"when": {"language": "en"}, "models": ["x"]}]},
            "rules[0].when.language",
        ),
    ],
)
def test_options_of_no_sense_are_refused(name: str, options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        strategies()[name].check(options)
    assert refused.value.param == f"policy.options.{param}"
