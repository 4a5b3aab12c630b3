"""What any transport must keep: who leaves is gone, what has come is not withheld."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.wire.rawserver import (
    CHUNKED,
    Conn,
    RawServer,
    head,
    piece,
    settles,
    sockets_to,
    until,
)
from tests.wire.talk import ROUTE, cancel, opened, post

from xrouter.domain.errors import UpstreamTimeout, XRouterError
from xrouter.wire.client import Client
from xrouter.wire.types import Route

# --- who leaves is gone


@pytest.fixture
async def black_hole() -> AsyncIterator[int]:
    """A port where a connect neither succeeds nor fails."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        yield port
        for filler in fillers:
            filler.close()


async def test_cancelled_while_connecting(client: Client, black_hole: int) -> None:
    before = sockets_to(black_hole)
    task = asyncio.create_task(client.open(post(f"http://127.0.0.1:{black_hole}"), ROUTE))
    await until(lambda: sockets_to(black_hole) == before + 1)
    await cancel(task)
    await until(lambda: sockets_to(black_hole) == before)


async def test_connecting_has_its_own_timeout(client: Client, black_hole: int) -> None:
    before = sockets_to(black_hole)
    with pytest.raises(UpstreamTimeout) as caught:
        await client.open(post(f"http://127.0.0.1:{black_hole}"), Route(connect=0.1))
    assert "connect" in caught.value.message
    await until(lambda: sockets_to(black_hole) == before)


async def test_cancelled_in_the_tls_handshake(client: Client, server: RawServer) -> None:
    url = server.url.replace("http:", "https:")
    task = asyncio.create_task(client.open(post(url), ROUTE))
    conn = await server.accept()
    assert await conn.reader.readexactly(1) == b"\x16"  # the client's hello has begun
    await cancel(task)
    await conn.gone()


async def test_cancelled_while_sending_a_body_nobody_reads(
    client: Client, server: RawServer
) -> None:
    task = asyncio.create_task(client.open(post(server.url, b"x" * (32 << 20)), ROUTE))
    conn = await server.accept()
    await conn.head()
    await asyncio.sleep(0.05)  # let it get stuck
    assert not conn.is_gone()
    await cancel(task)
    await conn.gone()


async def test_cancelled_while_waiting_for_headers(client: Client, server: RawServer) -> None:
    task = asyncio.create_task(client.open(post(server.url), ROUTE))
    conn = await server.accept()
    await conn.request()
    assert not conn.is_gone()
    await cancel(task)
    await conn.gone()


async def test_cancelled_in_the_middle_of_the_headers(client: Client, server: RawServer) -> None:
    task = asyncio.create_task(client.open(post(server.url), ROUTE))
    conn = await server.accept()
    await conn.request()
    await conn.send(b"HTTP/1.1 200 OK\r\ncontent-")
    await asyncio.sleep(0.01)
    await cancel(task)
    await conn.gone()


@pytest.mark.parametrize(
    "sent", [piece(b"a"), piece(b"a") + b"5\r\nab"], ids=["between chunks", "in a chunk"]
)
@pytest.mark.parametrize("way", ["chunk", "read"])
async def test_cancelled_in_the_body(
    client: Client, server: RawServer, sent: bytes, way: str
) -> None:
    exchange, conn = await opened(client, server, head(CHUNKED))

    async def take() -> bytes:
        while True:
            await (exchange.chunk() if way == "chunk" else exchange.read())

    task = asyncio.create_task(take())
    await conn.send(sent)
    await asyncio.sleep(0.01)
    assert not conn.is_gone()
    await cancel(task)
    await conn.gone()
    exchange.close()


async def test_closed_in_the_body(client: Client, server: RawServer) -> None:
    exchange, conn = await opened(client, server, head(CHUNKED) + piece(b"a"))
    assert await exchange.chunk() == b"a"
    assert not conn.is_gone()
    exchange.close()
    exchange.close()
    await conn.gone()


async def test_a_timeout_around_a_read_leaves_nothing_behind(
    client: Client, server: RawServer
) -> None:
    tasks = asyncio.all_tasks()
    exchange, conn = await opened(client, server, head(CHUNKED) + piece(b"a"))
    assert await exchange.chunk() == b"a"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await exchange.chunk()
    exchange.close()
    await conn.gone()
    await until(lambda: asyncio.all_tasks() == tasks)
    await until(lambda: sockets_to(server.port) == 0)


async def test_fetch_has_a_timeout_and_closes(client: Client, server: RawServer) -> None:
    task = asyncio.create_task(client.fetch(post(server.url), ROUTE, timeout=1.0))
    conn = await server.accept()
    await conn.request()
    await conn.send(head("content-length: 5") + b"ab")
    with pytest.raises(UpstreamTimeout, match=r"within 1 s"):
        await task
    await conn.gone()


async def test_closing_the_client_closes_everything(
    make_client: Callable[..., Client], server: RawServer
) -> None:
    client = make_client()
    exchange, conn = await opened(client, server, head(CHUNKED) + piece(b"a"))
    await client.close()
    await conn.gone()
    exchange.close()
    with pytest.raises(XRouterError):
        await client.open(post(server.url), ROUTE)


async def test_closing_an_unused_client(make_client: Callable[..., Client]) -> None:
    await make_client().close()


# --- many who leave


def _paced(moments: random.Random) -> Callable[[Conn], Awaitable[None]]:
    async def script(conn: Conn) -> None:
        while True:
            await conn.request()
            await asyncio.sleep(moments.random() * 0.01)
            await conn.send(head(CHUNKED), piece(b"one"))
            await asyncio.sleep(moments.random() * 0.01)
            await conn.send(piece(b"two"), piece(b""))

    return script


async def test_after_many_random_cancels_all_is_well(client: Client) -> None:
    moments = random.Random(7)
    async with RawServer(_paced(moments)).listening() as server:

        async def once() -> bytes:
            exchange = await client.open(post(server.url), ROUTE)
            try:
                return await exchange.read()
            finally:
                exchange.close()

        for _ in range(10):
            tasks = [asyncio.create_task(once()) for _ in range(30)]
            loop = asyncio.get_running_loop()
            for task in tasks:
                loop.call_later(moments.random() * 0.03, task.cancel)
            await asyncio.gather(*tasks, return_exceptions=True)
        answers = await asyncio.gather(*(once() for _ in range(30)))
        assert answers == [b"onetwo"] * 30
        # What is left lies in the pool, and is closed with it.
        await until(lambda: sum(not c.is_gone() for c in server.conns) <= 30)
        await client.close()
        await until(lambda: sockets_to(server.port) == 0)


# --- what has come is not withheld, what has not been taken is not hoarded


async def test_headers_are_given_before_the_body_comes(client: Client, server: RawServer) -> None:
    exchange, conn = await opened(client, server, head(CHUNKED, "X-Request-Id: r1"))
    assert exchange.status == 200
    assert exchange.headers["x-request-id"] == "r1"
    await conn.send(piece(b"a"), piece(b""))
    assert await exchange.read() == b"a"


@pytest.mark.parametrize("framing", [CHUNKED, "content-length: 9", "connection: close"])
async def test_the_first_bytes_are_not_withheld(
    client: Client, server: RawServer, framing: str
) -> None:
    exchange, conn = await opened(client, server, head(framing))
    for part in (b"a", b"bc", b"def"):  # each only after the one before has been read
        await conn.send(piece(part) if framing == CHUNKED else part)
        async with asyncio.timeout(20):
            assert await exchange.chunk() == part
    exchange.close()


@pytest.mark.parametrize("many", [4095, 4096, 4097, 4098, 20_000])
async def test_nothing_is_withheld_after_many_small_chunks(
    client: Client, server: RawServer, many: int
) -> None:
    exchange, conn = await opened(client, server, head(CHUNKED))

    async def take(size: int) -> bytes:
        got = b""
        async with asyncio.timeout(20):
            while len(got) < size:
                got += await exchange.chunk()
        return got

    await conn.send(piece(b"x") * many)
    await asyncio.sleep(0.05)  # until the transport has had enough of them
    assert await take(many) == b"x" * many
    for _ in range(3):
        await conn.send(piece(b"a") + piece(b"b"))
        assert await take(2) == b"ab"
    exchange.close()


async def test_a_slow_reader_slows_the_provider(client: Client) -> None:
    async def flood(conn: Conn) -> None:
        await conn.request()
        await conn.send(head(CHUNKED))
        while True:
            await conn.send(piece(b"x" * 16384))

    async with RawServer(flood).listening() as server:
        exchange = await client.open(post(server.url), ROUTE)
        stuck_at = await settles(lambda: server.conns[0].written)
        # Socket buffers take a few megabytes, which is the kernel's affair.
        assert stuck_at < 32 << 20
        for _ in range(20):
            assert len(await exchange.chunk()) <= 1 << 20
        await until(lambda: server.conns[0].written > stuck_at)
        exchange.close()
        await server.conns[0].gone()
