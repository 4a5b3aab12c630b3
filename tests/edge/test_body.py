from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from xrouter.domain.errors import (
    ClientGone,
    InvalidRequest,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMedia,
)
from xrouter.edge.asgi import Receive
from xrouter.edge.body import read_body
from xrouter.edge.limits import DoorLimits

LIMITS = DoorLimits(max_body=1000, body_timeout=20)


def coming(*pieces: bytes, more: bool = False) -> Receive:
    """A caller that sends these pieces, then (more) nothing for ever."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left) or more}

    return receive


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


async def test_pieces_are_joined() -> None:
    assert await read_body(coming(b"ab", b"", b"c"), {}, LIMITS) == b"abc"
    assert await read_body(coming(b""), {}, LIMITS) == b""


async def test_a_declared_length_over_the_cap_is_refused_before_reading() -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing may be read")

    with pytest.raises(PayloadTooLarge):
        await read_body(receive, {b"content-length": b"1001"}, LIMITS)


async def test_the_cap_counts_what_comes() -> None:
    assert len(await read_body(coming(b"x" * 1000), {}, LIMITS)) == 1000
    with pytest.raises(PayloadTooLarge):
        await read_body(coming(b"x" * 600, b"x" * 401, more=True), {}, LIMITS)


async def test_a_body_that_stops_is_a_timeout() -> None:
    limits = DoorLimits(max_body=1000, body_timeout=0.05)
    with pytest.raises(RequestTimeout):
        await read_body(coming(b"half", more=True), {}, limits)


async def test_a_caller_that_leaves() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await read_body(receive, {}, LIMITS)


@pytest.mark.parametrize("length", [b"x", b"-1", b"+5", b"0x10", b""])
async def test_a_length_that_is_no_number(length: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await read_body(coming(b""), {b"content-length": length}, LIMITS)


@pytest.mark.parametrize(
    "encoding,pack",
    [
        (b"gzip", gzip.compress),
        (b"GZIP ", gzip.compress),
        (b"x-gzip", gzip.compress),
        (b"zstd", zstandard.compress),
        (b"deflate", zlib.compress),
        (b"deflate", raw_deflate),
        (b"identity", bytes),
    ],
)
async def test_encodings(encoding: bytes, pack: Any) -> None:
    packed = pack(b'{"a":1}' * 20)
    assert await read_body(coming(packed), {b"content-encoding": encoding}, LIMITS) == (
        b'{"a":1}' * 20
    )


@pytest.mark.parametrize("size,fits", [(1000, True), (1001, False), (10_000_000, False)])
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_what_it_inflates_to_is_capped(size: int, fits: bool, encoding: str) -> None:
    limits = DoorLimits(max_body=1000 if size <= 1001 else 100_000)
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    packed = pack(b"a" * size)
    body = read_body(coming(packed), {b"content-encoding": encoding.encode()}, limits)
    if fits:
        assert len(await body) == size
    else:
        with pytest.raises(PayloadTooLarge):
            await body


@pytest.mark.parametrize("encoding", [b"br", b"gzip, gzip", b"chunked", b"\xff"])
async def test_unknown_encodings(encoding: bytes) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        await read_body(coming(b"x"), {b"content-encoding": encoding}, LIMITS)
    assert caught.value.code == "unsupported_content_encoding"


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"gzip", b"deflate", b"zstd"]))
def test_garbage_is_a_400(garbage: bytes, encoding: bytes) -> None:
    codes: set[str | None] = set()

    async def read() -> None:
        try:
            await read_body(coming(garbage), {b"content-encoding": encoding}, LIMITS)
        except InvalidRequest as error:
            codes.add(error.code)

    asyncio.run(read())
    assert codes <= {"invalid_encoding"}


@pytest.mark.parametrize("cut", [1, 8, 15])
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_a_cut_encoding_is_a_400(cut: int, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    packed = pack(b"hello hello")[:-cut]
    with pytest.raises(InvalidRequest) as caught:
        await read_body(coming(packed), {b"content-encoding": encoding.encode()}, LIMITS)
    assert caught.value.code == "invalid_encoding"
