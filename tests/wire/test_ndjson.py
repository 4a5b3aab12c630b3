from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrouter.domain.errors import UpstreamMalformed
from xrouter.wire import parser as limits
from xrouter.wire.ndjson import NdjsonParser
from xrouter.wire.types import Event

STREAM = '{"text":"При"}\n{"text":"Привет 😀"}\r\n\n  \n{"text":"last"}'.encode()
EVENTS = [
    ("", '{"text":"При"}'.encode()),
    ("", '{"text":"Привет 😀"}'.encode()),
    ("", b'{"text":"last"}'),
]


def parse(*chunks: bytes) -> list[Event]:
    parser = NdjsonParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events + parser.end()


@pytest.mark.parametrize("stream", [STREAM, STREAM + b"\n", b"\xef\xbb\xbf" + STREAM])
def test_a_cut_at_any_byte_changes_nothing(stream: bytes) -> None:
    assert parse(stream) == EVENTS
    for cut in range(len(stream) + 1):
        assert parse(stream[:cut], stream[cut:]) == EVENTS
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=10))
def test_cuts_anywhere_change_nothing(cuts: list[int]) -> None:
    borders = [0, *sorted(cuts), len(STREAM)]
    assert parse(*(STREAM[a:b] for a, b in itertools.pairwise(borders))) == EVENTS


def test_a_line_is_given_out_with_the_chunk_that_ends_it() -> None:
    parser = NdjsonParser()
    assert parser.feed(b"{}") == []
    assert parser.feed(b"\n{") == [("", b"{}")]
    assert parser.end() == [("", b"{")]
    assert parser.end() == []


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_has_a_limit(end: bytes) -> None:
    with pytest.raises(UpstreamMalformed, match="line"):
        parse(b"{}\n" + b"x" * (limits.MAX_LINE + 1) + end)
    line = b"x" * limits.MAX_LINE
    assert parse(line + end) == [("", line)]
