from __future__ import annotations

from typing import Any

import pytest

from xrouter.domain.errors import UpstreamMalformed
from xrouter.providers.yandexgpt.payload import arguments_text, as_count, read_object


@pytest.mark.parametrize(
    "value,count",
    [
        ("28", 28),
        (28, 28),
        (28.0, 28),
        ("", 0),
        ("-3", 0),
        (-3, 0),
        (None, 0),
        (True, 0),
        ("many", 0),
        ("٣", 0),
        ([], 0),
        (float("inf"), 10**12),
        ("9" * 30, 0),
    ],
)
def test_counts_come_as_strings_and_in_worse_ways(value: Any, count: int) -> None:
    assert as_count(value) == count


@pytest.mark.parametrize(
    "raw,text",
    [
        (b'{"t":"a\\ud83d"}', "a\ufffd"),
        (b'{"t":"a\\ude00 b"}', "a\ufffd b"),
        (b'{"t":"a\xf0\x9f"}', "a\ufffd"),
        ('{"t":"😀"}'.encode(), "😀"),
        (b'{"t":"\\ud83d\\ude00"}', "😀"),
    ],
)
def test_half_characters_become_replacement_characters(raw: bytes, text: str) -> None:
    assert read_object(raw) == {"t": text}


@pytest.mark.parametrize("raw", [b"", b"[]", b"7", b"{", b'{"a":NaN}', b"[" * 100_000])
def test_what_is_no_object_is_malformed(raw: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        read_object(raw)


@pytest.mark.parametrize(
    "arguments,text",
    [
        ({"a": 5.0, "b": 5.5, "c": "5.0"}, '{"a":5,"b":5.5,"c":"5.0"}'),
        ({"a": [1.0, {"b": -2.0}]}, '{"a":[1,{"b":-2}]}'),
        ({"big": 1e300}, '{"big":1e300}'),
        (None, "{}"),
        ('{"a": 5.0}', '{"a": 5.0}'),
    ],
)
def test_doubles_that_were_integers_are_integers_again(arguments: Any, text: str) -> None:
    assert arguments_text(arguments) == text


def test_arguments_that_cannot_be_followed_are_malformed() -> None:
    deep: Any = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(UpstreamMalformed):
        arguments_text(deep)
