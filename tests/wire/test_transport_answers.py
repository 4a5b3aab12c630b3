"""What any transport must keep: what is sent, and answers that are odd, broken or too large."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from tests.wire.rawserver import CHUNKED, Conn, RawServer, assert_no_secret, head, piece
from tests.wire.talk import MAX_BODY, ROUTE, begin, cancel, drain, opened, post

from xrouter.domain.errors import UpstreamError, UpstreamMalformed, UpstreamUnreachable
from xrouter.wire.client import Client, Exchange
from xrouter.wire.sse import SseParser
from xrouter.wire.types import Event, WireRequest

# --- what is sent


async def test_the_request_arrives_as_it_was_made(client: Client, server: RawServer) -> None:
    task, conn, request = await begin(client, server)
    assert (request.method, request.target) == ("POST", "/v1/chat?key=s3cret")
    assert request.body == b'{"a":1}'
    assert request.headers["authorization"] == "Bearer s3cret"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert "cookie" not in request.headers
    await conn.reply(b"{}", "Set-Cookie: a=b", "X-Twice: 1", "X-Twice: 2")
    exchange = await task
    assert exchange.headers["x-twice"] == "2"
    assert await exchange.read() == b"{}"
    second = asyncio.create_task(client.open(post(server.url), ROUTE))
    assert "cookie" not in (await conn.request()).headers
    await cancel(second)


async def test_what_the_adapter_sets_is_kept_and_not_touched(
    client: Client, server: RawServer
) -> None:
    request = post(server.url)
    request.headers |= {"accept-encoding": "gzip", "user-agent": "other"}
    before = dict(request.headers)
    task = asyncio.create_task(client.open(request, ROUTE))
    conn = await server.accept()
    sent = await conn.request()
    assert (sent.headers["accept-encoding"], sent.headers["user-agent"]) == ("gzip", "other")
    assert request.headers == before
    await cancel(task)


@pytest.mark.parametrize("size", [0, 1, 70_000, 5 << 20])
async def test_bodies_of_any_size_are_sent(client: Client, server: RawServer, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    task = asyncio.create_task(
        client.fetch(WireRequest("POST", server.url, {}, body), ROUTE, timeout=20)
    )
    conn = await server.accept()
    assert (await conn.request()).body == body
    await conn.reply(b"ok")
    reply = await task
    assert (reply.status, reply.body) == (200, b"ok")


async def test_get_has_no_body(client: Client, server: RawServer) -> None:
    task = asyncio.create_task(client.fetch(WireRequest("GET", server.url), ROUTE, timeout=20))
    conn = await server.accept()
    request = await conn.request()
    assert request.method == "GET"
    assert "content-length" not in request.headers
    await conn.reply(b"[]", status="404 Not Found")
    reply = await task
    assert (reply.status, reply.body) == (404, b"[]")


# --- ordinary answers, cut anyhow


SSE = "data: Привет\r\n\r\ndata: 😀\r\n\r\ndata: [DONE]\r\n\r\n".encode()
EVENTS = [("", "Привет".encode()), ("", "😀".encode()), ("", b"[DONE]")]


async def events_of(exchange: Exchange) -> list[Event]:
    parser = SseParser()
    events: list[Event] = []
    while chunk := await exchange.chunk():
        events += parser.feed(chunk)
    return events + parser.end()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_stream_in_chunks_of_any_size(client: Client, server: RawServer, size: int) -> None:
    parts = [SSE[i : i + size] for i in range(0, len(SSE), size)]
    exchange, conn = await opened(client, server, head(CHUNKED))
    task = asyncio.create_task(events_of(exchange))
    for part in parts:
        await conn.send(piece(part))
        await asyncio.sleep(0)
    await conn.send(piece(b""))
    assert await task == EVENTS


async def test_a_stream_whose_packets_cut_the_chunk_framing(
    client: Client, server: RawServer
) -> None:
    wire = head(CHUNKED) + piece(SSE[:20]) + piece(SSE[20:]) + piece(b"")
    task, conn, _ = await begin(client, server)
    for i in range(len(wire)):
        await conn.send(wire[i : i + 1])
        await asyncio.sleep(0)
    assert await events_of(await task) == EVENTS


@pytest.mark.parametrize("status", ["100 Continue", "103 Early Hints", "102 Processing"])
async def test_interim_answers_are_skipped(client: Client, server: RawServer, status: str) -> None:
    interim = head("Link: </x>", status=status)
    task, conn, _ = await begin(client, server)
    await conn.send(interim)
    await asyncio.sleep(0.01)
    await conn.send(interim, head("content-length: 2", "X-Final: 1") + b"ok")
    exchange = await task
    assert (exchange.status, exchange.headers["x-final"]) == (200, "1")
    assert "link" not in exchange.headers
    assert await exchange.read() == b"ok"


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_a_body_that_ends_with_the_connection(
    client: Client, server: RawServer, version: bytes
) -> None:
    exchange, conn = await opened(client, server, version + b" 200 OK\r\n\r\nab")
    assert await exchange.chunk() == b"ab"
    await conn.send(b"cd")
    conn.finish()
    assert await exchange.chunk() == b"cd"
    assert await exchange.chunk() == b""
    assert await exchange.chunk() == b""


@pytest.mark.parametrize("status", ["204 No Content", "200 OK"])
async def test_an_empty_body(client: Client, server: RawServer, status: str) -> None:
    fields = [] if status.startswith("204") else ["content-length: 0"]
    exchange, _ = await opened(client, server, head(*fields, status=status))
    assert await exchange.chunk() == b""
    assert await exchange.read() == b""


# --- broken answers


BROKEN = {
    "chunked, cut between chunks": (head(CHUNKED), piece(b"ab")),
    "chunked, cut in a chunk": (head(CHUNKED), b"5\r\nab"),
    "chunked, without the last line": (head(CHUNKED), piece(b"ab") + b"0\r\n"),
    "too short for its length": (head("content-length: 5"), b"ab"),
}


@pytest.mark.parametrize("start, body", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("together", [True, False])
async def test_a_body_that_breaks_off(
    client: Client, server: RawServer, start: bytes, body: bytes, together: bool
) -> None:
    exchange, conn = await opened(client, server, start)
    if together:
        await conn.send(body)
        conn.finish()
        await asyncio.sleep(0.05)  # all of it lies there before the first read
    else:
        task = asyncio.create_task(exchange.chunk())
        await conn.send(body)
        assert await task == b"ab"
        conn.finish()
    got: list[bytes] = []
    with pytest.raises(UpstreamMalformed) as caught:
        await drain(exchange, got)
    assert got == ([b"ab"] if together else [])
    assert_no_secret(caught.value)
    with pytest.raises(UpstreamMalformed):
        await exchange.chunk()
    exchange.close()


async def test_a_whole_read_of_a_body_that_breaks_off(client: Client, server: RawServer) -> None:
    exchange, conn = await opened(client, server, head("content-length: 5") + b"ab")
    conn.finish()
    with pytest.raises(UpstreamMalformed):
        await exchange.read()


@pytest.mark.parametrize("framing", [CHUNKED, "content-length: 9", "connection: close"])
@pytest.mark.parametrize("waiting", [True, False])
async def test_a_reset_in_the_body_is_no_end(
    client: Client, server: RawServer, framing: str, waiting: bool
) -> None:
    body = piece(b"ab") if framing == CHUNKED else b"ab"
    exchange, conn = await opened(client, server, head(framing) + body)
    assert await exchange.chunk() == b"ab"
    if waiting:
        task = asyncio.create_task(exchange.chunk())
        await asyncio.sleep(0)
        conn.reset()
    else:
        conn.reset()
        await asyncio.sleep(0.05)
        task = asyncio.create_task(exchange.chunk())
    with pytest.raises(UpstreamUnreachable) as caught:
        await task
    assert_no_secret(caught.value)
    exchange.close()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\ncontent-"])
async def test_a_connection_that_ends_before_the_headers_do(
    client: Client, server: RawServer, sent: bytes
) -> None:
    task, conn, _ = await begin(client, server)
    await conn.send(sent)
    conn.finish()
    with pytest.raises(UpstreamError) as caught:
        await task
    assert_no_secret(caught.value)
    assert len(server.conns) == 1  # never sent twice


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("way", ["finish", "reset"])
async def test_a_fresh_connection_that_is_dropped_is_not_tried_again(
    client: Client, server: RawServer, method: str, way: str
) -> None:
    task = asyncio.create_task(client.open(WireRequest(method, server.url), ROUTE))
    conn = await server.accept()
    await conn.request()
    conn.finish() if way == "finish" else conn.reset()
    with pytest.raises(UpstreamUnreachable) as caught:
        await task
    assert_no_secret(caught.value)
    assert len(server.conns) == 1


NOT_HTTP = {
    "not http": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "bad status": b"HTTP/1.1 abc OK\r\n\r\n",
    "both lengths": head("content-length: 5", CHUNKED) + b"0\r\n\r\n",
    "two lengths": head("content-length: 5", "content-length: 6") + b"abcdef",
    "huge header": head("X-Big: " + "x" * 200_000),
    "many headers": head(*(f"X-{i}: 1" for i in range(10_000))),
    "endless header": b"HTTP/1.1 200 OK\r\nX-Big: " + b"x" * 2_000_000,
    "switching": head("Upgrade: x", "Connection: upgrade", status="101 Switching Protocols"),
}


@pytest.mark.parametrize("sent", NOT_HTTP.values(), ids=NOT_HTTP.keys())
async def test_an_answer_that_is_not_http(client: Client, server: RawServer, sent: bytes) -> None:
    task, conn, _ = await begin(client, server)
    sending = asyncio.create_task(conn.send(sent))
    with pytest.raises(UpstreamMalformed) as caught:
        await (await task).read()
    assert_no_secret(caught.value)
    await conn.gone()
    await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize("together", [True, False])
async def test_a_bad_chunk_size(client: Client, server: RawServer, together: bool) -> None:
    task, conn, _ = await begin(client, server)
    await conn.send(head(CHUNKED) + piece(b"ab") + b"zz\r\n" * together)
    with pytest.raises(UpstreamMalformed) as caught:
        await read_after(task, conn, b"" if together else b"zz\r\n")
    assert_no_secret(caught.value)
    await conn.gone()


async def read_after(task: asyncio.Task[Exchange], conn: Conn, sent: bytes) -> bytes:
    exchange = await task
    await conn.send(sent)
    return await exchange.read()


async def test_trailers_without_end(client: Client, server: RawServer) -> None:
    exchange, conn = await opened(client, server, head(CHUNKED) + piece(b"ab") + b"0\r\n")

    async def endless() -> None:
        for i in itertools.count():
            await conn.send(b"X-%d: %b\r\n" % (i, b"x" * 1000))

    task = asyncio.create_task(endless())
    with pytest.raises(UpstreamMalformed):
        await exchange.read()
    exchange.close()
    await conn.gone()
    await asyncio.gather(task, return_exceptions=True)


# --- redirects


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
async def test_redirects_are_refused(client: Client, server: RawServer, status: int) -> None:
    async with RawServer().listening() as other:
        task, conn, _ = await begin(client, server)
        place = f"Location: {other.url}/steal?key=s3cret"
        await conn.send(head(place, "content-length: 0", status=f"{status} Elsewhere"))
        with pytest.raises(UpstreamMalformed) as caught:
            await task
        assert str(status) in caught.value.message
        assert "base_url" in (caught.value.hint or "")
        assert_no_secret(caught.value)
        await asyncio.sleep(0.02)
        assert other.conns == []


# --- answers that are too large


@pytest.mark.parametrize("announced", [True, False])
async def test_a_whole_read_has_a_limit(client: Client, server: RawServer, announced: bool) -> None:
    framing = f"content-length: {MAX_BODY + 1}" if announced else "connection: close"
    exchange, conn = await opened(client, server, head(framing))
    sending = asyncio.create_task(conn.send(b"x" * (0 if announced else 8 << 20)))
    with pytest.raises(UpstreamMalformed, match=str(MAX_BODY)):
        await exchange.read()
    await conn.gone()
    await asyncio.gather(sending, return_exceptions=True)


async def test_a_whole_read_at_the_limit(client: Client, server: RawServer) -> None:
    exchange, conn = await opened(client, server, head(f"content-length: {MAX_BODY}"))
    sending = asyncio.create_task(conn.send(b"x" * MAX_BODY))
    assert len(await exchange.read()) == MAX_BODY
    await sending


async def test_a_second_answer_in_the_same_read_is_nobodys(
    client: Client, server: RawServer
) -> None:
    task, conn, _ = await begin(client, server)
    second = head("content-encoding: gzip", "content-length: 4", status="503 Service Unavailable")
    await conn.send(head("content-length: 2", "x-a: 1") + b"ok" + second + b"evil")
    exchange = await task
    assert (exchange.status, exchange.headers.get("x-a")) == (200, "1")
    assert await exchange.read() == b"ok"
    exchange.close()
