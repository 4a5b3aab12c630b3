"""What all strategies keep: all targets, once each, whatever the options and the board say."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.flow.strategies.parts import ask, rate, target

from xrouter.domain.errors import InvalidRequest, UpstreamDenied, UpstreamFailed, XRouterError
from xrouter.domain.identity import Principal
from xrouter.flow.ask import Ask
from xrouter.flow.board import Board
from xrouter.flow.strategies import strategies

ALL = sorted(strategies())
OPTIONS = {
    "auto": ("prefer", "explore"),
    "cheapest": ("output_tokens",),
    "latency": ("explore",),
    "quality": ("min_samples", "explore"),
    "rules": ("rules",),
}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["ru", "speed", "p1/*", "k1", "[", "*"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
WHEN = ("key", "header", "tag", "min_tokens", "max_tokens", "language", "moon")
RULE = st.fixed_dictionaries(
    {},
    optional={
        "when": JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(WHEN, JSON)),
        "models": JSON | st.lists(SCALARS, max_size=3),
        "then": JSON,
    },
)
NAMED = st.fixed_dictionaries(
    {},
    optional={
        "prefer": JSON,
        "explore": JSON,
        "min_samples": JSON,
        "output_tokens": JSON,
        "rules": JSON | st.lists(RULE | JSON, max_size=4),
    },
)
TARGETS = st.lists(
    st.builds(
        target,
        st.integers(1, 4),
        st.integers(0, 2**62),
        st.none() | st.integers(0, 2**40),
        st.sampled_from(["healthy", "degraded", "down"]),
        st.sampled_from(["RUB", "USD", "XXX"]),
    ),
    min_size=2,
    max_size=6,
)
ASKS = st.one_of(
    st.builds(Ask, st.just(Principal(key_id="k1", name="one"))),
    st.builds(
        ask,
        st.text(),
        headers=st.dictionaries(
            st.sampled_from([b"x-xrouter-session", b"x-xrouter-tags", b"x-team"]), st.binary()
        ),
        rates=st.dictionaries(st.just("USD"), st.integers(1, 2**60)),
        stream=st.booleans() | st.none(),
        max_tokens=st.none() | st.integers(1, 10**400),
        user=st.none() | st.text(),
    ),
)
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 5), st.sampled_from(["enter", "whole", "stream", "bad", "denied", "left"])
    ),
    max_size=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", ALL)
@given(TARGETS, ASKS, JSON | NAMED, EVENTS, st.integers(0, 2**70), st.floats(0, 1))
def test_all_targets_are_kept_once_each_and_nothing_fails(
    name: str, targets: Any, asked: Ask, options: Any, events: Any, left: int, score: float
) -> None:
    board = Board(lambda: 5.0)
    for number, event in events:
        each = targets[number % len(targets)]
        if event == "enter":
            board.enter(each)
        elif event in ("whole", "stream"):
            board.answered(each, 0.0, streamed=event == "stream")
        elif event == "left":
            board.left(each, left)
            rate(board, each, score)
        else:
            kind: type[XRouterError] = UpstreamFailed if event == "bad" else UpstreamDenied
            board.failed(each, kind("no"))
    given_options = options if isinstance(options, dict) else {"rules": options}
    before = list(targets)
    found = strategies()[name].order(targets, asked, board, given_options)
    assert Counter(map(id, found)) == Counter(map(id, before))
    assert targets == before


@settings(max_examples=100)
@given(st.sampled_from(ALL), JSON | NAMED)
def test_options_are_good_or_refused_by_name(name: str, options: Any) -> None:
    given_options = options if isinstance(options, dict) else {"rules": options}
    error: InvalidRequest | None = None
    try:
        strategies()[name].check(given_options)
    except InvalidRequest as refused:
        error = refused
    if error is None:
        assert set(given_options) <= set(OPTIONS.get(name, ()))
    else:
        assert (error.param or "").startswith("policy.options.")


@pytest.mark.parametrize("name", ALL)
def test_no_options_are_good_options_and_unknown_ones_are_refused(name: str) -> None:
    if name != "rules":
        strategies()[name].check({})
    with pytest.raises(InvalidRequest, match="no such option") as refused:
        strategies()[name].check({"luck": 1})
    assert refused.value.param == "policy.options.luck"


@pytest.mark.parametrize(
    "name,options",
    [
        ("cheapest", {"output_tokens": "many"}),
        ("cheapest", {"output_tokens": -1}),
        ("cheapest", {"output_tokens": 10**400}),
        ("latency", {"explore": 2}),
        ("quality", {"explore": True}),
        ("quality", {"explore": float("nan")}),
        ("quality", {"min_samples": 0.5}),
        ("auto", {"prefer": "luck"}),
        ("auto", {"prefer": []}),
    ],
)
def test_options_of_no_sense_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        strategies()[name].check(options)
    assert refused.value.param == f"policy.options.{next(iter(options))}"


@pytest.mark.parametrize(
    "name,options",
    [
        ("cheapest", {"output_tokens": 2000}),
        ("latency", {"explore": 0}),
        ("quality", {"explore": 0.5, "min_samples": 10}),
        ("auto", {"prefer": "price", "explore": 1}),
        ("rules", {"rules": []}),
    ],
)
def test_options_of_sense_are_taken(name: str, options: dict[str, Any]) -> None:
    strategies()[name].check(options)


def test_all_that_the_docs_name_are_found() -> None:
    named = "auto cheapest latency least_busy priority quality quota round_robin rules sticky"
    assert [*named.split(), "weighted"] == ALL


def test_each_says_what_it_does_and_for_whom() -> None:
    for name in ALL:
        module = strategies()[name].order.__globals__
        assert module["__doc__"].count("\n") == 0
        assert module["order"].__module__ == f"xrouter.flow.strategies.{name}"
