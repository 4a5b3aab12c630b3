"""What simulated models say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrouter.sandbox.generate import cut, named_in, pieces, tokens_of, vector, wish_of, words
from xrouter.sandbox.kit import count_tokens
from xrouter.sandbox.openai import go_duration


@given(st.text())
def test_tokens_are_the_text_and_are_counted_alike(text: str) -> None:
    tokens = tokens_of(text)
    assert len(tokens) == count_tokens(text)
    if tokens:
        assert "".join(tokens) == text


@given(st.text(), st.integers(1, 9))
def test_pieces_are_the_text(text: str, count: int) -> None:
    cuts = pieces(text, count)
    assert "".join(cuts) == text
    assert 1 <= len(cuts) <= count


@pytest.mark.parametrize("count", [0, 1, 12, 13, 1000])
def test_words(count: int) -> None:
    assert len(words(count).split()) == count


def test_directives_are_read_and_taken_out() -> None:
    wish = wish_of("раз [[words:5]] два [[pause:0.5]] [[think:2]] [[cached:7]]")
    assert wish.text == "раз два"
    assert (wish.words, wish.pause, wish.think, wish.cached) == (5, 0.5, 2, 7)
    assert wish_of("[[unknown:1]]").text == "[[unknown:1]]"
    assert wish_of("[[pause:99999]]").pause == 60


def test_cut() -> None:
    assert cut("a b c", [], 2) == (["a", " b"], "length")
    assert cut("a b c", ["c", "b"], None) == (["a "], "stop")
    assert cut("a b c", [""], 3) == (["a", " b", " c"], "stop")


def test_names_in_the_order_of_their_mention() -> None:
    assert named_in("use beta, then alpha", ["alpha", "beta", "gamma"]) == ["beta", "alpha"]


def test_vectors_are_unit_and_prefixes() -> None:
    full, short = vector("x", 64, 64), vector("x", 8, 64)
    assert math.isclose(math.hypot(*full), 1, rel_tol=1e-6)
    assert math.isclose(math.hypot(*short), 1, rel_tol=1e-6)
    assert math.isclose(full[0] * short[1], full[1] * short[0], rel_tol=1e-4)
    assert vector("y", 8, 64) != short


@pytest.mark.parametrize(
    "seconds,text",
    [(0.012, "12ms"), (1, "1s"), (1.5, "1.5s"), (360, "6m0s"), (3723.5, "1h2m3.5s"), (0, "0ms")],
)
def test_go_durations(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
