"""Rules: which of them fits, what goes first, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.strategies.parts import ask, ordered, target

from xrouter.domain.errors import InvalidRequest
from xrouter.domain.identity import Principal
from xrouter.flow.ask import Ask
from xrouter.flow.strategies import rules

TARGETS = [target(1), target(2), target(3)]
HEADERS = {b"x-team": b"support", b"x-xrouter-tags": b"night, low"}
ASKED = ask("Привет, мир ты", headers=HEADERS)


def found(when: Any, asked: Ask = ASKED, models: Any = ("p2/*",)) -> list[int]:
    given = {"models": list(models)} if when is None else {"when": when, "models": list(models)}
    return ordered("rules", TARGETS, asked, rules=[given])


@pytest.mark.parametrize(
    "when,fits",
    [
        (None, True),
        ({}, True),
        ({"key": ["k0", "k1"]}, True),
        ({"key": ["k2"]}, False),
        ({"key": []}, False),
        ({"header": {"X-Team": "support"}}, True),
        ({"header": {"x-team": "sup*"}}, True),
        ({"header": {"x-team": "[st]?????t"}}, True),
        ({"header": {"x-team": "dev"}}, False),
        ({"header": {"x-team": "sup*", "x-other": "*"}}, False),
        ({"header": {"имя": "*"}}, False),
        ({"tag": "night"}, True),
        ({"tag": "day"}, False),
        ({"min_tokens": 4}, True),
        ({"min_tokens": 5}, False),
        ({"max_tokens": 4}, True),
        ({"max_tokens": 3}, False),
        ({"language": "ru"}, True),
        ({"language": "other"}, False),
        ({"language": "ru", "tag": "night", "key": ["k1"], "min_tokens": 0}, True),
        ({"language": "ru", "tag": "day"}, False),
    ],
)
def test_a_rule_fits_when_all_its_conditions_do(when: Any, fits: bool) -> None:
    assert found(when) == ([2, 1, 3] if fits else [1, 2, 3])


@pytest.mark.parametrize(
    "when",
    [
        {"moon": "full"},
        {"key": "k1"},
        {"key": ["k1", 1]},
        {"header": ["x-team"]},
        {"header": {"x-team": 1}},
        {"tag": ["night"]},
        {"min_tokens": "1"},
        {"min_tokens": True},
        {"max_tokens": -1},
        {"language": "en"},
        {"language": {}},
        [],
        "key",
    ],
)
def test_a_rule_of_no_sense_fits_nothing(when: Any) -> None:
    assert found(when) == [1, 2, 3]
    with pytest.raises(InvalidRequest):
        rules.check({"rules": [{"when": when, "models": ["p2/*"]}]})


def test_the_first_rule_that_fits_counts_and_no_other() -> None:
    table = [
        {"when": {"tag": "day"}, "models": ["p1/*"]},
        {"when": {"tag": "low"}, "models": ["p3/m"]},
        {"models": ["p2/m"]},
    ]
    assert ordered("rules", TARGETS, ASKED, rules=table) == [3, 1, 2]
    assert ordered("rules", TARGETS, ask(), rules=table) == [2, 1, 3]


def test_patterns_are_an_order() -> None:
    assert found({}, models=("p3/*", "p1/m")) == [3, 1, 2]
    assert found({}, models=("p?/m",)) == [1, 2, 3]
    assert found({}, models=("P2/*", "[", "")) == [1, 2, 3]


def test_more_rules_than_may_be_are_not_read() -> None:
    never = {"when": {"tag": "x"}, "models": ["p1/*"]}
    table = [*[never] * rules.MAX_RULES, {"models": ["p2/*"]}]
    assert ordered("rules", TARGETS, ASKED, rules=table) == [1, 2, 3]
    with pytest.raises(InvalidRequest, match="at most 100"):
        rules.check({"rules": table})
    rules.check({"rules": table[1:]})


def test_what_is_no_chat_has_no_words() -> None:
    asked = Ask(Principal(key_id="k1", name="one"))
    assert found({"language": "other", "max_tokens": 0}, asked) == [2, 1, 3]
    assert found({"language": "ru"}, asked) == [1, 2, 3]


@pytest.mark.parametrize(
    "rule,param",
    [
        ({"when": {}}, "rules[1].models"),
        ({"models": []}, "rules[1].models"),
        ({"models": "p1/*"}, "rules[1].models"),
        ({"models": ["p1/*", 2]}, "rules[1].models"),
        ({"models": ["x"], "when": None}, "rules[1].when"),
        ({"models": ["x"], "then": ["y"]}, "rules[1].then"),
        ({"models": ["x"], "when": {"moon": 1}}, "rules[1].when.moon"),
        ({"models": ["x"], "when": {"language": "en"}}, "rules[1].when.language"),
        ({"models": ["x"], "when": {"min_tokens": 1.5}}, "rules[1].when.min_tokens"),
        ({"models": ["x"], "when": {"header": {"a": 1}}}, "rules[1].when.header"),
        ("p1/*", "rules[1]"),
    ],
)
def test_what_is_wrong_is_named(rule: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        rules.check({"rules": [{"models": ["x"]}, rule]})
    assert refused.value.param == f"policy.options.{param}"


@pytest.mark.parametrize("options", [{}, {"rules": None}, {"rules": {}}])
def test_rules_without_rules_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        rules.check(options)
    assert refused.value.param == "policy.options.rules"
