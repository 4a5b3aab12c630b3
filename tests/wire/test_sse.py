from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrouter.domain.errors import UpstreamMalformed
from xrouter.wire import parser as limits
from xrouter.wire.framing import parser_for
from xrouter.wire.sse import SseParser
from xrouter.wire.types import Event, Framing

OPENAI_LIKE = (
    'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    ": keep-alive\n\n"
    'data: {"choices":[{"delta":{"content":"Привет, 👩‍👩‍👧!"}}]}\n\n'
    'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
    "data: [DONE]\n\n"
).encode()
NAMED = (
    "event: message_start\r\nid: 7\r\ndata: {}\r\n\r\n"
    "event:ping\r\ndata\r\n\r\n"
    "retry: 10\r\n: comment\r\ndata: one\r\ndata:two\r\ndata:  three 😀\r\n\r\n"
    "event: lost\r\n\r\n"
    "nonsense: x\rdata: mixed\n\r\n\ndata: last"
).encode()
STREAMS = {
    "lf": OPENAI_LIKE,
    "crlf": OPENAI_LIKE.replace(b"\n", b"\r\n"),
    "cr": OPENAI_LIKE.replace(b"\n", b"\r"),
    "bom": b"\xef\xbb\xbf" + OPENAI_LIKE,
    "named": NAMED,
}


def parse(*chunks: bytes) -> list[Event]:
    parser = SseParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events + parser.end()


def reference(stream: bytes) -> list[Event]:
    """The rules read aloud, one line at a time, on the whole text."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[Event] = []
    name = ""
    data: list[bytes] = []
    for line in [*text.split(b"\n"), b""]:
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if line == b"":
            if data:
                events.append((name, b"\n".join(data)))
            name, data = "", []
        elif field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return events


def test_reads_what_providers_send() -> None:
    events = parse(OPENAI_LIKE)
    assert [name for name, _ in events] == [""] * 4
    assert "👩‍👩‍👧".encode() in events[1][1]
    assert events[-1] == ("", b"[DONE]")


def test_names_many_data_lines_and_mixed_line_ends() -> None:
    assert parse(NAMED) == [
        ("message_start", b"{}"),
        ("ping", b""),
        ("", "one\ntwo\n three 😀".encode()),
        ("", b"mixed"),
        ("", b"last"),
    ]


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_agrees_with_the_rules_read_aloud(stream: bytes) -> None:
    assert parse(stream) == reference(stream)


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_a_cut_at_any_byte_changes_nothing(stream: bytes) -> None:
    whole = parse(stream)
    for cut in range(len(stream) + 1):
        assert parse(stream[:cut], stream[cut:]) == whole
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == whole


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 400), max_size=12))
def test_cuts_anywhere_change_nothing(name: str, cuts: list[int]) -> None:
    stream = STREAMS[name]
    borders = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(borders)]
    assert parse(*chunks) == parse(stream)


LINES = st.sampled_from(
    [
        *(b"data: x", b"data:y", b"data", b"data: \xd0\x96", b"data : z", b" data: q", b"x: y"),
        *(b"event: e", b"event", b": c", b"id: 1", b"", b"", b""),
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(LINES, ENDS)), st.booleans(), st.lists(st.integers(0, 200), max_size=8))
def test_any_stream_any_chunks(
    lines: list[tuple[bytes, bytes]], bom: bool, cuts: list[int]
) -> None:
    stream = b"\xef\xbb\xbf" * bom + b"".join(line + end for line, end in lines)
    borders = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(borders)]
    assert parse(*chunks) == reference(stream)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"data:", b"a", b":", b"\xef", b"\xbb", b"\xbf"])))
def test_scraps_in_any_order(scraps: list[bytes]) -> None:
    assert parse(*scraps) == reference(b"".join(scraps))


def test_an_event_is_given_out_with_the_chunk_that_ends_it() -> None:
    parser = SseParser()
    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\n") == [("", b"a")]
    assert parser.feed(b"data: b\r\n\r") == [("", b"b")]
    assert parser.feed(b"\ndata: c\n\n") == [("", b"c")]
    assert parser.end() == []


def test_the_end_of_the_body_ends_the_last_event() -> None:
    assert parse(b"data: a\n\ndata: b\n") == [("", b"a"), ("", b"b")]
    assert parse(b"data: a\n\nevent: e\ndata: b") == [("", b"a"), ("e", b"b")]
    assert parse(b"data: a\n\nevent: e") == [("", b"a")]


def test_an_event_without_data_is_none_and_its_name_is_forgotten() -> None:
    assert parse(b"event: e\n\ndata: x\n\n") == [("", b"x")]


def test_names_that_are_not_utf8_do_not_break_the_stream() -> None:
    assert parse(b"event: \xff\ndata: \xff\n\n") == [("\ufffd", b"\xff")]


@pytest.mark.parametrize("size", [64, 4096, 1 << 21])
def test_a_line_has_a_limit(size: int) -> None:
    parser = SseParser()
    line = b"data: " + b"x" * limits.MAX_LINE
    chunks = [line[i : i + size] for i in range(0, len(line), size)]
    for chunk in chunks[:-1]:
        assert parser.feed(chunk) == []
    with pytest.raises(UpstreamMalformed, match="line"):
        parser.feed(chunks[-1])


def test_a_line_at_the_limit_passes() -> None:
    data = b"x" * (limits.MAX_LINE - 6)
    assert parse(b"data: " + data + b"\n\n") == [("", data)]
    with pytest.raises(UpstreamMalformed, match="line"):
        parse(b"data: x" + data + b"\n\n")


def test_a_long_line_is_refused_among_whole_events() -> None:
    with pytest.raises(UpstreamMalformed, match="line"):
        parse(b"data: a\n\ndata: " + b"x" * limits.MAX_LINE + b"\n\ndata: b\n\n")


def test_an_event_has_a_limit() -> None:
    parser = SseParser()
    line = b"data: " + b"x" * (1 << 19) + b"\n"
    for _ in range(limits.MAX_EVENT // len(line)):
        assert parser.feed(line) == []
    with pytest.raises(UpstreamMalformed, match="event"):
        parser.feed(line)


def test_endless_nothing_costs_no_memory() -> None:
    parser = SseParser()
    for chunk in (b"\n" * 65536, b": x\n" * 16384, b": x\n\n" * 16384, b"id: 1\n" * 16384):
        assert parser.feed(chunk) == []
    assert parser.feed(b"\ndata: a\n\n") == [("", b"a")]


def test_the_framing_chooses_the_parser() -> None:
    assert parser_for(Framing.SSE).feed(b"data: {}\n\n") == [("", b"{}")]
    assert parser_for(Framing.NDJSON).feed(b"data: {}\n\n") == [("", b"data: {}")]
