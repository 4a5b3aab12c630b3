"""JSON objects are found in whatever is around them, however it is cut."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xrouter.providers.gigachat.json_text import ObjectStream, is_object, outermost_object

relaxed = settings(deadline=None)

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=4), values, max_size=4)
around = st.text(alphabet='abc \n`,.[]"}', max_size=12)


def streamed(pieces: list[str]) -> tuple[str, bool]:
    stream = ObjectStream()
    return "".join([stream.feed(piece) for piece in pieces]), stream.complete


@relaxed
@given(objects, around, around, st.sampled_from([None, 1]), st.lists(st.integers(0, 200)))
def test_an_object_is_found(
    value: dict[str, Any], before: str, after: str, indent: int | None, cuts: list[int]
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    whole = before + text + after
    found = outermost_object(whole)
    assert found is not None
    assert json.loads(found) == value
    edges = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    pieces = [whole[a:b] for a, b in pairwise(edges)]
    said, complete = streamed(pieces)
    assert complete
    assert json.loads(said) == value


@pytest.mark.parametrize(
    "text",
    ["", "text", "[1]", "5", "{", '{"a": 1', '{"a": }', "{a: 1}", '"a', "[" * 99],
)
def test_what_is_no_object(text: str) -> None:
    assert outermost_object(text) is None
    assert not streamed([text])[1]
    assert not is_object(text)


def test_the_second_attempt_counts() -> None:
    assert outermost_object('{"bad": } and {"a": 1}') == '{"a": 1}'


def test_many_words_before_an_object_are_not_kept() -> None:
    stream = ObjectStream()
    stream.feed("x" * 100_000)
    assert stream.feed("x {") == ""
    assert len(stream.held) < 10
    assert stream.feed(' "a": 1} rest') == '{ "a": 1}'
    assert stream.complete


def test_an_object_that_is_too_long_is_not_vouched_for() -> None:
    stream = ObjectStream()
    stream.feed('{"a": "')
    for _ in range(5):
        stream.feed("x" * (1 << 20))
    stream.feed('"}')
    assert not stream.complete
