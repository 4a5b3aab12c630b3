"""What any transport must keep: the pool of connections."""

from __future__ import annotations

import asyncio

import pytest
from tests.wire.rawserver import (
    CHUNKED,
    Conn,
    RawServer,
    assert_no_secret,
    head,
    piece,
    sockets_to,
    until,
)
from tests.wire.talk import ROUTE, fetch, polite, post

from xrouter.domain.errors import UpstreamError, UpstreamUnreachable
from xrouter.wire import pool
from xrouter.wire.client import Client
from xrouter.wire.types import WireReply, WireRequest


async def test_connections_are_used_again(client: Client) -> None:
    async with RawServer(polite).listening() as server:
        for number in range(1, 6):
            assert (await fetch(client, server.url)).body == b"%d" % number
        assert len(server.conns) == 1


async def test_a_streamed_answer_read_to_its_end_keeps_its_connection(client: Client) -> None:
    async def stream(conn: Conn) -> None:
        while True:
            await conn.request()
            await conn.send(head(CHUNKED), piece(b"a"), piece(b"b"), piece(b""))

    async with RawServer(stream).listening() as server:
        for _ in range(3):
            exchange = await client.open(post(server.url), ROUTE)
            body = b""
            while chunk := await exchange.chunk():
                body += chunk
            assert body == b"ab"
            exchange.close()
        assert len(server.conns) == 1


async def test_finishing_early_keeps_the_connection_when_the_body_ends_soon(
    client: Client, server: RawServer
) -> None:
    task = asyncio.create_task(client.open(post(server.url), ROUTE))
    conn = await server.accept()
    for _ in range(3):
        await conn.request()
        await conn.send(head(CHUNKED), piece(b"data: [DONE]"))
        exchange = await task
        assert await exchange.chunk() == b"data: [DONE]"
        exchange.finish()
        await conn.send(piece(b""))
        await until(lambda: not client._finishing)
        task = asyncio.create_task(client.open(post(server.url), ROUTE))
    task.cancel()
    await asyncio.wait([task])
    assert len(server.conns) == 1


async def test_finishing_early_gives_up_on_a_body_without_end(
    client: Client, server: RawServer
) -> None:
    task = asyncio.create_task(client.open(post(server.url), ROUTE))
    conn = await server.accept()
    await conn.request()
    await conn.send(head(CHUNKED), piece(b"data: [DONE]"))
    exchange = await task
    await exchange.chunk()
    exchange.finish()
    await conn.gone()
    await until(lambda: not client._finishing)


async def test_closing_the_client_ends_what_is_finishing(client: Client, server: RawServer) -> None:
    task = asyncio.create_task(client.open(post(server.url), ROUTE))
    conn = await server.accept()
    await conn.request()
    await conn.send(head(CHUNKED), piece(b"data: [DONE]"))
    exchange = await task
    await exchange.chunk()
    exchange.finish()
    await client.close()
    await conn.gone()
    assert not client._finishing


async def test_a_connection_closed_while_idle_is_not_used(
    client: Client, server: RawServer
) -> None:
    for _ in range(2):
        task = asyncio.create_task(fetch(client, server.url))
        conn = await server.accept()
        await conn.request()
        await conn.reply(b"ok")
        assert (await task).body == b"ok"
        conn.finish()
        await until(lambda: sockets_to(server.port) == 0)


async def once_reused(client: Client, server: RawServer) -> tuple[asyncio.Task[WireReply], Conn]:
    """A second request on a kept connection, that has arrived and is not answered."""
    first = asyncio.create_task(fetch(client, server.url))
    conn = await server.accept()
    await conn.request()
    await conn.reply(b"one")
    assert (await first).body == b"one"
    second = asyncio.create_task(fetch(client, server.url))
    await conn.request()
    return second, conn


@pytest.mark.parametrize("way", ["finish", "reset"])
async def test_a_kept_connection_that_was_just_dropped_is_replaced_once(
    client: Client, server: RawServer, way: str
) -> None:
    task, conn = await once_reused(client, server)
    conn.finish() if way == "finish" else conn.reset()
    fresh = await server.accept()
    assert (await fresh.request()).body == b'{"a":1}'
    await fresh.reply(b"two")
    assert (await task).body == b"two"


async def test_the_second_try_is_the_last(client: Client, server: RawServer) -> None:
    task, conn = await once_reused(client, server)
    conn.finish()
    fresh = await server.accept()
    await fresh.request()
    fresh.finish()
    with pytest.raises(UpstreamUnreachable) as caught:
        await task
    assert_no_secret(caught.value)
    assert len(server.conns) == 2


async def test_the_second_try_is_on_a_fresh_connection(client: Client, server: RawServer) -> None:
    both = [asyncio.create_task(fetch(client, server.url)) for _ in range(2)]
    conns = [await server.accept(), await server.accept()]
    for conn in conns:
        await conn.request()
        await conn.reply(b"one")
    await asyncio.gather(*both)
    third = asyncio.create_task(fetch(client, server.url))
    used = [conn for conn in conns if await conn.has_request()]
    used[0].finish()
    next(conn for conn in conns if conn is not used[0]).finish()
    fresh = await server.accept()
    await fresh.request()
    await fresh.reply(b"two")
    assert (await third).body == b"two"


async def test_an_answer_that_says_close_is_the_connections_last(
    client: Client, server: RawServer
) -> None:
    for fields in (["connection: close"], []):
        task = asyncio.create_task(fetch(client, server.url))
        conn = await server.accept()
        await conn.request()
        await conn.send(
            b"HTTP/1.%d 200 OK\r\n" % bool(fields)
            + b"".join(b"%b\r\n" % field.encode() for field in fields)
            + b"content-length: 2\r\n\r\nok"
        )
        assert (await task).body == b"ok"
        await conn.gone()


async def test_idle_connections_are_closed_after_a_while(
    client: Client, server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "KEEP_ALIVE_S", 0.05)
    task = asyncio.create_task(fetch(client, server.url))
    conn = await server.accept()
    await conn.request()
    await conn.reply(b"ok")
    await task
    await conn.gone()
    assert not client._pool._idle


@pytest.mark.parametrize(
    "sent", [b"H", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", head(status="100 Continue")]
)
async def test_no_second_try_once_a_byte_has_come(
    client: Client, server: RawServer, sent: bytes
) -> None:
    task, conn = await once_reused(client, server)
    await conn.send(sent)
    await asyncio.sleep(0.02)
    conn.finish()
    with pytest.raises(UpstreamError) as caught:
        await task
    assert_no_secret(caught.value)
    assert len(server.conns) == 1


async def test_an_answer_nobody_asked_for_is_not_taken_for_the_next(
    client: Client, server: RawServer
) -> None:
    task, conn = await once_reused(client, server)
    await conn.reply(b"two")
    assert (await task).body == b"two"
    await conn.reply(b"for nobody")
    await asyncio.sleep(0.02)
    task = asyncio.create_task(fetch(client, server.url))
    fresh = await server.accept()
    await fresh.request()
    await fresh.reply(b"three")
    assert (await task).body == b"three"


async def test_an_answer_before_the_whole_request_was_sent(
    client: Client, server: RawServer
) -> None:
    request = WireRequest("POST", server.url, {}, b"x" * (32 << 20))
    task = asyncio.create_task(client.fetch(request, ROUTE, timeout=20))
    conn = await server.accept()
    await conn.head()
    await conn.reply(b"too large", status="413 Payload Too Large")
    assert (await task).status == 413
    await until(conn.is_gone)


async def test_a_kept_connection_that_dies_under_a_large_body_is_replaced(
    client: Client, server: RawServer
) -> None:
    first = asyncio.create_task(fetch(client, server.url))
    conn = await server.accept()
    await conn.request()
    await conn.reply(b"one")
    await first
    large = WireRequest("POST", server.url, {}, b"x" * (8 << 20))
    task = asyncio.create_task(client.fetch(large, ROUTE, timeout=60))
    await conn.head()
    conn.reset()
    fresh = await server.accept()
    assert len((await fresh.request()).body) == 8 << 20
    await fresh.reply(b"two")
    assert (await task).body == b"two"
