from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from xrouter.providers.yandexgpt.text import FILTER_STUB, Fence, Snapshots, TextGate

WORDS = st.text(alphabet="ab😀é\ufffdя 👨\u200d👩", max_size=30)
STOPS = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3)


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    borders = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[a:b] for a, b in pairwise(borders)]


@given(WORDS, st.lists(st.integers(0, 400), max_size=8))
def test_snapshots_cut_inside_characters_give_the_text(text: str, cuts: list[int]) -> None:
    """Snapshots of a text in bytes, decoded as they stand: broken at the end, then mended."""
    raw = text.encode()
    snapshots = Snapshots()
    said = [
        snapshots.feed(raw[:cut].decode("utf-8", "replace"))
        for cut in sorted(cut % (len(raw) + 1) for cut in cuts)
    ]
    assert "".join([*said, snapshots.finish(text)]) == text
    assert all(text.startswith("".join(said[:count])) for count in range(len(said) + 1))


@given(st.lists(st.text(alphabet="ab\ufffd", max_size=8), min_size=1, max_size=8))
def test_any_snapshots_pass_each_position_once(texts: list[str]) -> None:
    snapshots = Snapshots()
    said = "".join([*map(snapshots.feed, texts[:-1]), snapshots.finish(texts[-1])])
    safe = [len(text.rstrip("\ufffd")) for text in texts[:-1]]
    assert len(said) == max([*safe, len(texts[-1])])


def test_the_last_text_counts_when_the_last_message_has_none() -> None:
    snapshots = Snapshots()
    assert snapshots.feed("Hi \ufffd") == "Hi "
    assert snapshots.finish(None) == "\ufffd"


@given(st.text(alphabet="abcd", max_size=40), STOPS, st.lists(st.integers(0, 99), max_size=8))
def test_stops_cut_the_same_whatever_the_pieces(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    whole, pieced = TextGate(stops), TextGate(stops)
    expected = whole.feed(text) + whole.flush()
    said = "".join(pieced.feed(piece) for piece in pieces_of(text, cuts)) + pieced.flush()
    assert (said, pieced.stopped) == (expected, whole.stopped)
    assert text.startswith(said)
    assert pieced.stopped == any(stop in text for stop in stops)
    assert not any(stop in said for stop in stops)


@given(st.lists(st.integers(0, 99), max_size=8))
def test_a_marker_in_pieces_is_taken_out(cuts: list[int]) -> None:
    gate = TextGate(markers=("[END]",))
    pieces = pieces_of("one[END] [EN two[END]", cuts)
    assert "".join(map(gate.feed, pieces)) + gate.flush() == "one [EN two"


def test_only_a_text_that_begins_with_the_stub_is_filtered() -> None:
    gates = {text: TextGate() for text in (FILTER_STUB + ".", " " + FILTER_STUB, FILTER_STUB[:-1])}
    for text, gate in gates.items():
        gate.feed(text[:10])
        gate.feed(text[10:])
    assert [gate.filtered for gate in gates.values()] == [True, False, False]


LEAKED = 'So.\n[TOOL_CALL_START]clock\n{"zone": 3}[TOOL_CALL_END]\n```weather\n{}\n```'


@given(st.lists(st.integers(0, 99), max_size=8))
def test_leaked_calls_are_calls_whatever_the_pieces(cuts: list[int]) -> None:
    gate = TextGate(markers=("[TOOL_CALL_END]",), tools=("clock", "weather"))
    said = "".join(map(gate.feed, pieces_of(LEAKED, cuts))) + gate.flush()
    assert said == "So.\n"
    assert [(call.name, call.arguments) for call in gate.leaked] == [
        ("clock", '{"zone": 3}'),
        ("weather", "{}"),
    ]


@given(
    st.text(alphabet="`[]jsonT{}\n ", max_size=30),
    st.sampled_from(["", "```json\n", "```clock\n", "[TOOL_CALL_START]clock\n"]),
    st.lists(st.integers(0, 99), max_size=8),
)
def test_what_is_no_call_stays_text(text: str, begins: str, cuts: list[int]) -> None:
    gate = TextGate(tools=("clock",))
    said = "".join(map(gate.feed, pieces_of(begins + text, cuts))) + gate.flush()
    assert said == begins + text or gate.leaked


def test_a_stop_inside_what_might_have_been_a_call_still_cuts() -> None:
    gate = TextGate(("END",), tools=("clock",))
    assert gate.feed("a ```clock\nnoon END more") + gate.flush() == "a ```clock\nnoon "
    assert gate.stopped


@given(
    st.sampled_from(["", " \n"]),
    st.sampled_from(["```json\n", "```\n"]),
    st.sampled_from(['{"a": "``` b"}', "[]", '{"a":\n 1}']),
    st.sampled_from(["\n```", "\n```\n", "```"]),
    st.lists(st.integers(0, 99), max_size=8),
)
def test_a_fence_around_json_goes(
    blank: str, begins: str, inner: str, ends: str, cuts: list[int]
) -> None:
    fence = Fence()
    pieces = pieces_of(blank + begins + inner + ends, cuts)
    assert "".join(map(fence.feed, pieces)) + fence.flush() == inner


@given(st.text(alphabet="`{}a\n", max_size=20), st.lists(st.integers(0, 99), max_size=8))
def test_json_without_a_fence_stays(text: str, cuts: list[int]) -> None:
    fence = Fence()
    pieces = pieces_of("{" + text, cuts)
    assert "".join(map(fence.feed, pieces)) + fence.flush() == "{" + text
