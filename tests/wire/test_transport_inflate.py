"""What any transport must keep: compressed answers, which nobody asked for."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections import deque
from collections.abc import Callable

import pytest
from tests.wire.rawserver import CHUNKED, RawServer, head, piece
from tests.wire.talk import begin, drain, opened

from xrouter.domain.errors import UpstreamMalformed
from xrouter.wire.client import Client


def deflate(data: bytes, wbits: int) -> bytes:
    machine = zlib.compressobj(wbits=wbits)
    return machine.compress(data) + machine.flush()


TEXT = b"".join(b"data: %d\n\n" % i for i in range(1000))
COMPRESSED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("X-GZip", gzip.compress(TEXT)),
    "two members": ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    "zlib": ("deflate", zlib.compress(TEXT)),
    "raw deflate": ("deflate", deflate(TEXT, -15)),
}


@pytest.mark.parametrize("encoding, body", COMPRESSED.values(), ids=COMPRESSED.keys())
@pytest.mark.parametrize("size", [1, 10, 1 << 20])
async def test_compressed_answers_are_inflated(
    client: Client, server: RawServer, encoding: str, body: bytes, size: int
) -> None:
    parts = [piece(body[i : i + size]) for i in range(0, len(body), size)]
    exchange, conn = await opened(client, server, head(CHUNKED, f"Content-Encoding: {encoding}"))
    assert "content-encoding" not in exchange.headers
    task = asyncio.create_task(exchange.read())
    await conn.send(*parts, piece(b""))
    assert await task == TEXT


async def test_a_compressed_stream_is_not_withheld(client: Client, server: RawServer) -> None:
    machine = zlib.compressobj(wbits=31)
    exchange, conn = await opened(client, server, head(CHUNKED, "content-encoding: gzip"))
    for text in (b"data: a\n\n", b"data: b\n\n"):
        await conn.send(piece(machine.compress(text) + machine.flush(zlib.Z_SYNC_FLUSH)))
        async with asyncio.timeout(20):
            assert await exchange.chunk() == text
    exchange.close()


WRONG = {
    "brotli": ("br", b"\x0b\x02\x80hello\x03"),
    "zstd": ("zstd", b"\x28\xb5\x2f\xfd"),
    "twice": ("gzip, gzip", gzip.compress(gzip.compress(TEXT))),
    "not compressed at all": ("gzip", TEXT),
    "not deflated at all": ("deflate", b"\xff\xff\xff\xff"),
    "cut": ("gzip", gzip.compress(TEXT)[:-20]),
    "damaged": ("gzip", gzip.compress(TEXT)[:-8] + bytes(8)),
    "followed by garbage": ("gzip", gzip.compress(TEXT) + b"garbage"),
    "deflate, followed by more": ("deflate", zlib.compress(TEXT) + zlib.compress(TEXT)),
}


@pytest.mark.parametrize("encoding, body", WRONG.values(), ids=WRONG.keys())
async def test_wrongly_compressed_answers_are_refused(
    client: Client, server: RawServer, encoding: str, body: bytes
) -> None:
    task, conn, _ = await begin(client, server)
    await conn.reply(body, f"content-encoding: {encoding}")
    with pytest.raises(UpstreamMalformed):
        await (await task).read()


async def test_identity_is_no_encoding(client: Client, server: RawServer) -> None:
    exchange, _ = await opened(
        client, server, head("content-length: 2", "Content-Encoding: Identity") + b"ab"
    )
    assert await exchange.read() == b"ab"


async def test_a_decompression_bomb_is_refused_in_little_memory(
    make_client: Callable[..., Client], server: RawServer
) -> None:
    bomb = gzip.compress(bytes(256 << 20), 9)
    client = make_client(max_body=1 << 30)
    exchange, conn = await opened(client, server, head(CHUNKED, "content-encoding: gzip"))
    sending = asyncio.create_task(conn.send(piece(bomb), piece(b"")))
    held: deque[bytes] = deque(maxlen=1)
    tracemalloc.start()
    try:
        with pytest.raises(UpstreamMalformed, match="inflates"):
            await drain(exchange, held)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    await conn.gone()
    await asyncio.gather(sending, return_exceptions=True)
    await client.close()


async def test_an_inflated_stream_keeps_to_the_limit(client: Client, server: RawServer) -> None:
    body = gzip.compress(b"".join(b"%d" % i for i in range(400_000)))  # 2.3 MB, compresses 1:4
    exchange, _ = await opened(client, server, head(CHUNKED, "content-encoding: gzip"), piece(body))
    with pytest.raises(UpstreamMalformed, match="inflates"):
        await drain(exchange, [])
