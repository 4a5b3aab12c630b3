from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xrouter.domain.errors import UpstreamMalformed
from xrouter.wire import inflate
from xrouter.wire.inflate import Inflater


def take_all(inflater: Inflater) -> bytes:
    got = b""
    while piece := inflater.take():
        assert len(piece) <= inflate.PIECE
        got += piece
    return got


@given(st.text("ab", max_size=2000), st.integers(1, 9))
def test_no_byte_is_held_back_however_small_the_pieces(text: str, level: int) -> None:
    body = zlib.compress(text.encode(), level, wbits=31)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inflate, "PIECE", 7)
        inflater = Inflater("gzip", 1 << 20)
        plain = zlib.decompressobj(wbits=31)
        for i in range(len(body)):
            inflater.feed(body[i : i + 1])
            assert take_all(inflater) == plain.decompress(body[i : i + 1])
        inflater.end()


@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=5))
def test_anything_that_claims_to_be_compressed(body: bytes, cuts: list[int]) -> None:
    for encoding in ("gzip", "deflate"):
        inflater = Inflater(encoding, 1 << 16)
        borders = [0, *sorted(cuts), len(body)]
        try:
            for a, b in itertools.pairwise(borders):
                inflater.feed(body[a:b])
                assert len(take_all(inflater)) <= 1 << 16
            inflater.end()
        except UpstreamMalformed:
            continue
        assert body == b"" or take_all(inflater) == b""


def test_an_empty_body_is_whole() -> None:
    inflater = Inflater("gzip", 1)
    assert inflater.take() == b""
    inflater.end()
