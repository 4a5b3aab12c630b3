"""Tool calls in pieces come out whole, however they were cut and marked."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrouter.domain.answer import ToolCallDelta
from xrouter.domain.errors import UpstreamMalformed
from xrouter.providers.shapes.openai_calls import CallPieces, whole_calls

NAMES = st.sampled_from(["get_time", "get_day"])
ARGUMENTS = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=6), max_size=3)
CALLS = st.lists(st.tuples(NAMES, ARGUMENTS), min_size=1, max_size=4)


def gather(deltas: list[ToolCallDelta]) -> list[tuple[str | None, str]]:
    """Name and arguments of each call, as an accumulating client sees them."""
    found: dict[int, tuple[str | None, str]] = {}
    for delta in deltas:
        if delta.index not in found:
            assert delta.index == len(found)
            assert delta.id is not None
            found[delta.index] = (delta.name, delta.arguments)
        else:
            assert delta.id is None
            assert delta.name is None
            name, text = found[delta.index]
            found[delta.index] = (name, text + delta.arguments)
    return list(found.values())


def cut(text: str, at: list[int]) -> list[str]:
    borders = sorted({0, len(text), *(place % (len(text) + 1) for place in at)})
    return [text[a:b] for a, b in pairwise(borders)]


@given(
    calls=CALLS,
    at=st.lists(st.integers(0, 60), max_size=3),
    gap=st.integers(1, 3),
    with_id=st.booleans(),
    repeated=st.booleans(),
)
def test_pieces_with_an_index(
    calls: list[tuple[str, dict[str, Any]]],
    at: list[int],
    gap: int,
    with_id: bool,
    repeated: bool,
) -> None:
    pieces = CallPieces()
    deltas: list[ToolCallDelta] = []
    for number, (name, arguments) in enumerate(calls):
        call_id = f"call_{number}" if with_id else None
        head = {"index": number * gap, "id": call_id, "function": {"name": name, "arguments": ""}}
        deltas += pieces.feed([head])
        for text in cut(json.dumps(arguments), at):
            marks = {"id": call_id, "type": "function"} if repeated else {}
            function = {"name": name if repeated else None, "arguments": text}
            deltas += pieces.feed([{"index": number * gap, **marks, "function": function}])
    deltas += pieces.close()
    assert gather(deltas) == [(name, json.dumps(arguments)) for name, arguments in calls]


@given(calls=CALLS, same_index=st.booleans(), as_object=st.booleans(), with_id=st.booleans())
def test_whole_calls_with_poor_marks(
    calls: list[tuple[str, dict[str, Any]]], same_index: bool, as_object: bool, with_id: bool
) -> None:
    pieces = CallPieces()
    deltas: list[ToolCallDelta] = []
    for number, (name, arguments) in enumerate(calls):
        item: dict[str, Any] = {"index": 0} if same_index else {}
        if with_id:
            item["id"] = f"call_{number}"
        item["function"] = {
            "name": name,
            "arguments": arguments if as_object else json.dumps(arguments),
        }
        deltas += pieces.feed([item])
    deltas += pieces.close()
    found = [(name, json.loads(text)) for name, text in gather(deltas)]
    assert found == calls


def test_ids_made_up_are_unique() -> None:
    calls = whole_calls(
        [{"function": {"name": "f"}}] * 3 + [{"id": "a", "function": {"name": "f"}}] * 2
    )
    assert calls is not None
    assert len({call.id for call in calls}) == 5


def test_a_call_sent_again_is_not_doubled() -> None:
    pieces = CallPieces()
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}
    deltas = pieces.feed([call]) + pieces.feed([call]) + pieces.close()
    assert gather(deltas) == [("f", '{"x":1}')]


def test_a_name_may_come_after_the_id() -> None:
    pieces = CallPieces()
    assert pieces.feed([{"index": 0, "id": "a", "type": "function"}]) == []
    deltas = pieces.feed([{"index": 0, "function": {"name": "f", "arguments": "{}"}}])
    assert deltas == [ToolCallDelta(0, "a", "f", "{}")]


@pytest.mark.parametrize(
    "items",
    [
        [{"index": 0, "function": {"arguments": "{}"}}],
        [{"index": 0, "id": "a"}, {"index": 1, "id": "b"}],
    ],
)
def test_a_call_without_a_name_is_malformed(items: list[dict[str, Any]]) -> None:
    pieces = CallPieces()
    with pytest.raises(UpstreamMalformed):
        pieces.feed(items)


def test_a_call_that_never_got_a_name_is_malformed_at_the_end() -> None:
    pieces = CallPieces()
    pieces.feed([{"index": 0, "id": "a"}])
    with pytest.raises(UpstreamMalformed):
        pieces.close()


def test_calls_are_bounded() -> None:
    many = [{"index": index, "function": {"name": "f"}} for index in range(10_000)]
    with pytest.raises(UpstreamMalformed):
        CallPieces().feed(many)


def test_of_several_calls_only_the_first_is_passed_on_where_that_is_asked_for() -> None:
    pieces = CallPieces(only_first=True)
    deltas = pieces.feed([{"index": 0, "id": "a", "function": {"name": "f"}}])
    deltas += pieces.feed([{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{"}}])
    deltas += pieces.feed([{"index": 1, "function": {"arguments": "}"}}])
    deltas += pieces.feed([{"index": 2, "id": "c", "function": {"name": "h"}}])
    deltas += pieces.close()
    assert deltas == [ToolCallDelta(0, "a", "f"), ToolCallDelta(0, arguments="{}")]


@pytest.mark.parametrize(
    "value,text", [(None, ""), ("select 1", "select 1"), ({"a": 1}, '{"a":1}')]
)
def test_a_custom_call_always_has_an_input(value: Any, text: str) -> None:
    (call,) = whole_calls([{"id": "a", "custom": {"name": "sql", "input": value, "x": 2}}]) or []
    assert call.custom == {"name": "sql", "input": text, "x": 2}
    with pytest.raises(UpstreamMalformed):
        whole_calls([{"id": "a", "custom": {"input": value}}])
