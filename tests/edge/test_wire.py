"""Hostile and odd bytes on the wire: never a 5xx, never a hang, never another's answer."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator

import psutil
import pytest
from tests.edge.harness import KEY, PATIENCE, House, Wire, chat_body, open_house, request

from xrouter.domain.chat import ChatRequest
from xrouter.domain.ports import Reply
from xrouter.edge.limits import DoorLimits

BODY = json.dumps(chat_body()).encode()
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
AUTH = b"Authorization: Bearer " + KEY.encode()
POST = b"POST /v1/chat/completions HTTP/1.1"
MAX_BODY = 1 << 20


@pytest.fixture
async def house() -> AsyncIterator[House]:
    limits = DoorLimits(max_body=MAX_BODY, body_timeout=PATIENCE)
    async with open_house(limits=limits) as opened:
        yield opened


def raw(start: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([start, b"Host: x", AUTH, *headers, b"", body])


async def ask(house: House, data: bytes) -> tuple[int, bytes]:
    """Send, and read one answer: its status and body."""
    wire = await house.connect()
    try:
        await wire.send(data)
        answer = await wire.answer()
        return answer.status, answer.body
    finally:
        wire.close()


MALFORMED = {
    "A01 length and chunks": raw(POST, LENGTH, CHUNKED, body=b"0\r\n\r\n"),
    "A01 two lengths": raw(POST, LENGTH, b"Content-Length: 5", body=BODY),
    "A01 negative": raw(POST, b"Content-Length: -5", body=BODY),
    "A01 plus": raw(POST, b"Content-Length: +2", body=BODY),
    "A01 hex": raw(POST, b"Content-Length: 0x2", body=BODY),
    "A02 xchunked": raw(POST, b"Transfer-Encoding: xchunked", body=BODY),
    "A02 identity": raw(POST, b"Transfer-Encoding: chunked, identity", body=BODY),
    "A02 negative chunk": raw(POST, CHUNKED, body=b"-1\r\n"),
    "A02 long chunk size": raw(POST, CHUNKED, body=b"F" * 20 + b"\r\n"),
    "A02 no chunk": raw(POST, CHUNKED, body=BODY),
    "A03 bare LF": POST + b"\nHost: x\n" + LENGTH + b"\n\n" + BODY,
    "A03 fold": raw(POST, b"X: a\r\n b", LENGTH, body=BODY),
    "A03 space": raw(POST, b"X : a", LENGTH, body=BODY),
    "A03 NUL": raw(POST, b"X: a\x00b", LENGTH, body=BODY),
    "A03 CR": raw(POST, b"X: a\rb", LENGTH, body=BODY),
    "A07 two hosts": raw(POST, b"Host: y", LENGTH, body=BODY),
    "A07 not ASCII": raw(b"GET /v1/mod\xc3\xa9 HTTP/1.1"),
    "A07 no slash": raw(b"GET v1/models HTTP/1.1"),
    "A07 two keys": raw(POST, b"Authorization: Bearer other", LENGTH, body=BODY),
    "A08 unknown verb": raw(b"FROB /v1/models HTTP/1.1"),
    "A19 TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x00" * 100,
    "A19 HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version": raw(b"GET /v1/models HTTP/3.7"),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_requests_are_refused_and_closed(house: House, data: bytes) -> None:
    before = len(house.flow.requests)
    wire = await house.connect()
    await wire.send(data)
    answer = await wire.answer()
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert answer.headers["x-request-id"]
    if "sent twice" not in answer.error["message"]:
        assert answer.headers["connection"] == "close"
        assert await wire.rest() == b""
    wire.close()
    assert len(house.flow.requests) == before


@pytest.mark.parametrize(
    "data,status",
    [
        (raw(POST, b"X: " + b"a" * 100_000, LENGTH, body=BODY), 431),
        (raw(POST, b"X: " + b"a" * 1_000_000, LENGTH, body=BODY), 431),
        (raw(POST, *[b"X-%d: %b" % (n, b"a" * 40) for n in range(2000)], LENGTH, body=BODY), 431),
        (raw(b"GET /" + b"a" * 65_536 + b" HTTP/1.1"), 414),
        (raw(b"GET /" + b"a" * 20_000 + b" HTTP/1.1"), 414),
        (raw(b"GET /" + b"a" * 1_000_000), 414),
    ],
    ids=["100 kB", "1 MB", "2000 headers", "URL 64 kB", "URL 20 kB", "URL 1 MB"],
)
async def test_a04_large_heads(house: House, data: bytes, status: int) -> None:
    got, body = await ask(house, data)
    assert got == status
    assert json.loads(body)["error"]["code"]


async def test_a_head_just_below_the_limit_is_fine(house: House) -> None:
    got, _ = await ask(house, raw(POST, b"X: " + b"a" * 60_000, LENGTH, body=BODY))
    assert got == 200


async def test_a_large_head_behind_another_request(house: House) -> None:
    wire = await house.connect()
    first = raw(POST, LENGTH, body=BODY)
    await wire.send(first + raw(POST, b"X: " + b"a" * 100_000, LENGTH, body=BODY))
    data = await wire.rest()
    assert re.findall(rb"HTTP/1.1 (\d+)", data) in ([b"200"], [b"200", b"431"])
    wire.close()


async def test_a05_chunk_extensions(house: House) -> None:
    body = b"5;" + b"x" * 1_000_000 + b"\r\n12345\r\n0\r\n\r\n"
    got, _ = await ask(house, raw(POST, CHUNKED, body=body))
    assert got == 400


async def test_a05_chunks_of_one_byte(house: House) -> None:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"1\r\n \r\n" * 50_000
    got, _ = await ask(house, raw(POST, CHUNKED, body=body + b"0\r\n\r\n"))
    assert got == 200
    got, _ = await ask(house, raw(POST, CHUNKED, body=b"1\r\n \r\n" * (MAX_BODY + 100)))
    assert got == 413


async def test_a06_pipelined_requests_are_answered_in_order(house: House) -> None:
    wire = await house.connect()
    ids = [f"acme/{number}" for number in range(100)]
    await wire.send(b"".join(request("GET", f"/v1/models/{name}") for name in ids))
    for name in ids:
        assert name in (await wire.answer()).error["message"]
    wire.close()


async def test_a06_nothing_is_answered_after_the_last_request(house: House) -> None:
    wire = await house.connect()
    last = request("GET", "/v1/models", headers={"connection": "close"})
    await wire.send(last + request("GET", "/v1/models"))
    assert (await wire.rest()).count(b"HTTP/1.1 200") == 1
    wire.close()


async def test_a06_garbage_behind_a_request_does_not_get_into_its_answer(house: House) -> None:
    """The first request is being answered when the garbage comes."""
    go_on = asyncio.Event()

    async def script(request: ChatRequest, reply: Reply) -> None:
        await go_on.wait()
        await original(request, reply)

    original, house.flow.script = house.flow.script, script
    house.flow.entered.clear()
    wire = await house.connect()
    await wire.send(raw(POST, LENGTH, body=BODY))
    await house.flow.entered.wait()
    await wire.send(b"\x00garbage\r\n\r\n")
    for _ in range(5):
        await asyncio.sleep(0)
    go_on.set()
    answer = await wire.answer()
    house.flow.script = original
    assert answer.json["object"] == "chat.completion"
    assert await wire.rest() == b""
    wire.close()


PATHS = {
    "absolute form": (b"GET http://evil/v1/models HTTP/1.1", 200),
    "odd host": (b"GET /v1/models HTTP/1.1\r\nX-Forwarded-Host: a/b?#@", 200),
    "two slashes": (b"GET //v1/models HTTP/1.1", 404),
    "dots": (b"GET /v1/%2e%2e/v1/models HTTP/1.1", 404),
    "NUL": (b"GET /v1/models%00 HTTP/1.1", 404),
    "semicolon": (b"GET /v1/models;x HTTP/1.1", 404),
    "broken escapes": (b"GET /v1/models/%zz%ff%c3 HTTP/1.1", 404),
    "TRACE": (b"TRACE /v1/models HTTP/1.1", 405),
    "CONNECT": (b"CONNECT evil:443 HTTP/1.1", 405),
    "asterisk": (b"OPTIONS * HTTP/1.1", 404),
    "WebSocket": (
        b"GET /v1/chat/completions HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket", 405
    ),
}  # fmt: skip


@pytest.mark.parametrize("start,status", PATHS.values(), ids=PATHS.keys())
async def test_a07_a08_a19_only_the_path_decides(house: House, start: bytes, status: int) -> None:
    got, body = await ask(house, raw(start))
    assert got == status
    assert json.loads(body)


async def test_an_offer_of_http_2_is_left_alone_and_the_body_is_read(house: House) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ"
    wire = await house.connect()
    await wire.send(raw(POST, offer, LENGTH, body=BODY[:20]))
    await wire.send(BODY[20:] + raw(POST, LENGTH, body=BODY))
    for _ in range(2):
        assert (await wire.answer()).json["object"] == "chat.completion"
    wire.close()


async def test_a13_a_body_that_is_too_large_is_not_asked_for(house: House) -> None:
    wire = await house.connect()
    await wire.send(raw(POST, b"Expect: 100-continue", b"Content-Length: 99999999999"))
    status, _ = await wire.head()
    assert status == 413
    wire.close()


async def test_a_body_that_waits_for_a_word_gets_it(house: House) -> None:
    wire = await house.connect()
    await wire.send(raw(POST, b"Expect: 100-continue", LENGTH))
    assert (await wire.head())[0] == 100
    await wire.send(BODY)
    assert (await wire.answer()).status == 200
    wire.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a14_a_huge_body_is_refused_early(house: House, chunked: bool) -> None:
    """The caller goes on sending; it gets its answer, and the memory does not grow."""
    process = psutil.Process()
    wire = await house.connect()
    framing = CHUNKED if chunked else b"Content-Length: %d" % (1 << 30)
    await wire.send(raw(POST, framing))
    piece = b"%x\r\n%b\r\n" % (65_536, b" " * 65_536) if chunked else b" " * 65_536
    before = process.memory_info().rss

    async def flood() -> int:
        sent = 0
        try:
            while sent < 1 << 30:
                await wire.send(piece)
                sent += len(piece)
        except (ConnectionError, RuntimeError):
            pass
        return sent

    sending = asyncio.create_task(flood())
    answer = await wire.answer()
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    async with asyncio.timeout(PATIENCE):
        assert await sending < 64 << 20
    assert process.memory_info().rss - before < MAX_BODY + (32 << 20)
    wire.close()


async def test_strangers_may_not_send_large_bodies(house: House) -> None:
    wire = await house.connect()
    stranger = POST + b"\r\nHost: x\r\n" + CHUNKED + b"\r\nX-Api-Key: sk-no\r\n\r\n"
    await wire.send(stranger)
    answer = await wire.answer()
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    wire.close()


@pytest.mark.parametrize(
    "headers,body,status",
    [
        ({"content-encoding": "gzip"}, gzip.compress(BODY), 200),
        ({"content-encoding": "gzip"}, gzip.compress(b" " * (MAX_BODY + 1)), 413),
        ({"content-encoding": "gzip"}, b"no gzip", 400),
        ({"content-encoding": "br"}, BODY, 415),
        ({"content-encoding": "zstd"}, BODY, 400),
        ({"content-type": "text/plain"}, BODY, 200),
        ({"content-type": "application/json; charset=utf-8"}, BODY, 200),
    ],
    ids=["gzip", "bomb", "broken", "br", "zstd", "odd type", "charset"],
)
async def test_a20_encodings(
    house: House, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = await house.call("POST", "/v1/chat/completions", body, headers)
    assert answer.status == status
    if status != 200:
        assert answer.error["message"]


async def test_a_connection_serves_many_requests(house: House) -> None:
    wire = await house.connect()
    for path, status in (("/v1/models", 200), ("/v1/x", 404), ("/v1/models", 200)):
        await wire.send(request("GET", path))
        assert (await wire.answer()).status == status
    for body, status in ((chat_body(), 200), ({"model": 1}, 400), (chat_body(), 200)):
        await wire.send(request("POST", "/v1/chat/completions", body))
        assert (await wire.answer()).status == status
    wire.close()


async def test_an_early_answer_to_a_small_body_closes_in_order(house: House) -> None:
    """The body of an unknown URL is not read; the answer arrives all the same."""
    wire = await house.connect()
    await wire.send(raw(b"POST /v1/unknown HTTP/1.1", LENGTH, body=BODY))
    answer = await wire.answer()
    assert (answer.status, answer.headers["connection"]) == (404, "close")
    assert await wire.rest() == b""
    wire.close()


async def test_a_body_cut_by_the_caller_reaches_nobody(house: House) -> None:
    before = len(house.flow.requests)
    wire = await house.connect()
    await wire.send(raw(POST, LENGTH, body=BODY[:10]))
    await house.until(lambda: house.door.running == 1)
    wire.close()
    await house.until(lambda: house.door.running == 0)
    assert len(house.flow.requests) == before


async def test_old_http(house: House) -> None:
    wire: Wire = await house.connect()
    await wire.send(raw(b"POST /v1/chat/completions HTTP/1.0", LENGTH, body=BODY))
    answer = await wire.answer()
    assert answer.json["object"] == "chat.completion"
    assert await wire.rest() == b""
    wire.close()
