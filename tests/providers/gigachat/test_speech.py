"""Thinking, pictures and stops are taken out of a text the same way however it is cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xrouter.providers.gigachat.speech import Speech

relaxed = settings(deadline=None)

TAG = '<img src="11111111-0000-4000-8000-000000000001" fuse="true"/>'
tokens = st.sampled_from(
    ["<think>", "</think>", "<thi", "text", " ", "\n", "<", TAG, '<img src="a.png">', "<img ", ">"]
)


def heard(pieces: list[str], stops: list[str]) -> tuple[str, str, list[str]]:
    speech = Speech(stops, json=False)
    said = [speech.feed(piece) for piece in pieces] + [speech.flush()]
    return "".join(r for r, _ in said), "".join(t for _, t in said), speech.pictures


@relaxed
@given(st.lists(tokens, max_size=8), st.lists(st.integers(0, 120), max_size=6))
def test_cuts_do_not_matter(parts: list[str], cuts: list[int]) -> None:
    text = "".join(parts)
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[a:b] for a, b in pairwise(edges)]
    whole = Speech(["END"], json=False)
    reasoning, said = whole.whole(text)
    assert heard(pieces, ["END"]) == (reasoning, said, whole.pictures)
    assert heard(list(text), ["END"]) == (reasoning, said, whole.pictures)


@pytest.mark.parametrize(
    "text,reasoning,said",
    [
        ("plain", "", "plain"),
        ("<think>a</think>b", "a", "b"),
        (" <think>a</think> \n b ", "a", "b "),
        ("<think>never closed", "never closed", ""),
        ("<thin", "", "<thin"),
        (" \n", "", " \n"),
        ("b <think>a</think>", "", "b <think>a</think>"),
        ("<think></think>", "", ""),
    ],
)
def test_thinking(text: str, reasoning: str, said: str) -> None:
    assert heard([text], [])[:2] == (reasoning, said)


@pytest.mark.parametrize(
    "text,said,pictures",
    [
        (TAG, "", 1),
        (f"a {TAG}{TAG} b", "a  b", 2),
        ('<img fuse="true" src="12345678">', "", 1),
        ('<img src="a.png" fuse="true"/>', '<img src="a.png" fuse="true"/>', 0),
        ('<img src="12345678"/>', '<img src="12345678"/>', 0),
        ("a < b > c", "a < b > c", 0),
        ("<img " + "x" * 500, "<img " + "x" * 500, 0),
        ("half <img src=", "half <img src=", 0),
        (TAG * 11, TAG, 10),
    ],
)
def test_pictures(text: str, said: str, pictures: int) -> None:
    for pieces in ([text], list(text)):
        _, found, ids = heard(pieces, [])
        assert (found, len(ids)) == (said, pictures)


def test_a_stop_counts_in_the_text_alone() -> None:
    assert heard(["<think>END</think>one END two"], ["END"])[:2] == ("END", "one ")
