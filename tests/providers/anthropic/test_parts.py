"""The small parts of Anthropic's adapter: ids, schemas, JSON in a text."""

from __future__ import annotations

from typing import Any

import pytest

from xrouter.providers.anthropic.json_text import JsonText
from xrouter.providers.anthropic.messages import tool_id
from xrouter.providers.anthropic.schema import Fitting


def test_ids_stay_apart() -> None:
    assert tool_id("toolu_01A-b") == "toolu_01A-b"
    odd = [tool_id(given) for given in ("call.1", "call_1", "call:1", "x" * 65, "x" * 66, "", "ё")]
    assert len(set(odd)) == len(odd)
    assert all(len(one) <= 64 and one.isascii() and "." not in one for one in odd)
    assert tool_id("call.1") == tool_id("call.1")


@pytest.mark.parametrize(
    "schema,fitted,lossy",
    [
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}, False),
        ({"type": "string", "format": []}, {"type": "string", "description": "{format: []}"}, True),
        ({"minItems": 1}, {"minItems": 1}, False),
        ({"$id": "x", "const": 1}, {"const": 1}, False),
        (
            {"type": ["object", "null"]},
            {"type": ["object", "null"], "additionalProperties": False},
            False,
        ),
        (
            {"properties": {"not": {"type": "null"}}},
            {"properties": {"not": {"type": "null"}}, "additionalProperties": False},
            False,
        ),
        ({"oneOf": [{}], "anyOf": [{}]}, {"oneOf": [{}], "anyOf": [{}]}, False),
        (True, True, False),
    ],
)
def test_schemas(schema: Any, fitted: Any, lossy: bool) -> None:
    fitting = Fitting()
    assert fitting.fit(schema) == fitted
    assert fitting.lossy is lossy


def test_a_schema_is_not_followed_for_ever() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(500):
        schema = {"items": schema}
    assert Fitting().fit(schema)["items"]


@pytest.mark.parametrize(
    "text,found",
    [
        ('{"a": 1}', '{"a": 1}'),
        ('Sure:\n```json\n{"a": {"b": "}\\\\"}}\n``` That is it {}.', '{"a": {"b": "}\\\\"}}'),
        ('{"a": "\\"}"} x', '{"a": "\\"}"}'),
    ],
)
def test_the_object_is_found(text: str, found: str) -> None:
    for step in (1, 2, 3, len(text)):
        json = JsonText()
        pieces = [json.feed(text[place : place + step]) for place in range(0, len(text), step)]
        assert "".join(pieces) == found
        assert json.whole


@pytest.mark.parametrize("text", ["", "no", "{", '{"a": 1', "{1}", '{"a": "}'])
def test_what_is_no_object(text: str) -> None:
    json = JsonText()
    json.feed(text)
    assert not json.whole


def test_what_is_held_is_bounded() -> None:
    json = JsonText()
    for _ in range(100):
        json.feed("x" * 10_000)
    assert len(json.held) == 1 << 16
    json.feed('{"a": "')
    for _ in range(500):
        assert json.feed("x" * 10_000)
    assert json.feed('"}')
    assert not json.whole
