"""Every kind of fault, against simulators and over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import aiohttp
import pytest

from xrouter.sandbox.faults import KINDS

CHAT = "/openai/v1/chat/completions"
LLAMA = "/llamacpp/v1/chat/completions"
KEY = {"authorization": "Bearer sk-sandbox"}
WAIT_S = 0.3


def body(*, stream: bool = False, text: str = "one two three", model: str = "gpt-4o") -> Any:
    return {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}


async def plan(http: aiohttp.ClientSession, **fault: Any) -> dict[str, Any]:
    async with http.post("/_sandbox/faults", json=fault) as reply:
        assert reply.status == 201, await reply.text()
        answer: dict[str, Any] = await reply.json()
        return answer


async def status_of(http: aiohttp.ClientSession, path: str = CHAT, **more: Any) -> int:
    async with http.post(path, json=body(**more), headers=KEY) as reply:
        await reply.read()
        return reply.status


async def says_nothing(http: aiohttp.ClientSession) -> None:
    """A request that has come is not answered."""
    asking = asyncio.ensure_future(http.post(CHAT, json=body(), headers=KEY))
    running = 0
    while not running:
        async with http.get("/_sandbox/open") as reply:
            running = (await reply.json())["open"]
    await asyncio.wait([asking], timeout=WAIT_S)
    assert not asking.done()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def frames_of(http: aiohttp.ClientSession, path: str = CHAT) -> list[str]:
    async with http.post(path, json=body(stream=True), headers=KEY) as reply:
        assert reply.status == 200
        return (await reply.text()).split("\n\n")


async def read_raw(url: str, *, stream: bool) -> tuple[bytes, BaseException | None]:
    """All bytes that come over the socket, and how the reading ended."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    payload = json.dumps(body(stream=stream)).encode()
    writer.write(
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        f"authorization: Bearer sk-sandbox\r\ncontent-length: {len(payload)}\r\n\r\n".encode()
        + payload
    )
    got, outcome = b"", None
    try:
        while piece := await reader.read(65536):
            got += piece
    except ConnectionResetError as error:
        outcome = error
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return got, outcome


@pytest.mark.parametrize("stream", [False, True])
async def test_refuse(http: aiohttp.ClientSession, sandbox_url: str, stream: bool) -> None:
    await plan(http, kind="refuse", provider="openai")
    assert await read_raw(sandbox_url, stream=stream) == (b"", None)


@pytest.mark.parametrize("stream", [False, True])
async def test_reset_before_a_byte(
    http: aiohttp.ClientSession, sandbox_url: str, stream: bool
) -> None:
    await plan(http, kind="reset")
    got, outcome = await read_raw(sandbox_url, stream=stream)
    assert got == b""
    assert isinstance(outcome, ConnectionResetError)


async def test_reset_after_frames(http: aiohttp.ClientSession, sandbox_url: str) -> None:
    await plan(http, kind="reset", after=3)
    got, outcome = await read_raw(sandbox_url, stream=True)
    assert got.count(b"data: ") == 3
    assert isinstance(outcome, ConnectionResetError)


async def test_cut_a_stream(http: aiohttp.ClientSession, sandbox_url: str) -> None:
    await plan(http, kind="cut", after=2)
    got, outcome = await read_raw(sandbox_url, stream=True)
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert got.count(b"data: ") == 2
    assert not got.endswith(b"0\r\n\r\n")
    assert outcome is None


async def test_cut_after_the_last_frame(http: aiohttp.ClientSession, sandbox_url: str) -> None:
    await plan(http, kind="cut", after=10_000)
    got, _ = await read_raw(sandbox_url, stream=True)
    assert b"[DONE]" in got
    assert not got.endswith(b"0\r\n\r\n")


async def test_cut_a_body(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="cut")
    async with http.post(CHAT, json=body(), headers=KEY) as reply:
        assert reply.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()


async def test_hang_before_headers(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="hang_before_headers")
    await says_nothing(http)
    await plan(http, kind="hang_before_headers", delay_s=0.01)
    assert await status_of(http) == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_hang_mid_stream(http: aiohttp.ClientSession, stream: bool) -> None:
    await plan(http, kind="hang_mid_stream", after=2)
    reply = await http.post(CHAT, json=body(stream=stream), headers=KEY)
    assert reply.status == 200
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(WAIT_S):
            await reply.read()
    reply.close()
    await plan(http, kind="hang_mid_stream", after=2, delay_s=0.01)
    assert (await frames_of(http))[-2] == "data: [DONE]"


async def test_malformed_chunk(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="malformed_chunk", after=1, times=2)
    first, second, third, *_ = await frames_of(http)
    json.loads(first.removeprefix("data: "))
    with pytest.raises(ValueError, match="property name"):
        json.loads(second.removeprefix("data: "))
    json.loads(third.removeprefix("data: "))
    async with http.post(CHAT, json=body(), headers=KEY) as reply:
        assert reply.status == 200
        with pytest.raises(ValueError, match="property name"):
            json.loads(await reply.text())


async def test_error_in_200(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="error_in_200", times=2)
    async with http.post(CHAT, json=body(), headers=KEY) as reply:
        assert reply.status == 200
        assert (await reply.json())["error"]["type"] == "server_error"
    async with http.post(CHAT, json=body(stream=True), headers=KEY) as reply:
        assert reply.status == 200
        assert reply.content_type == "text/event-stream"
        assert "error" in json.loads((await reply.text()).removeprefix("data: "))


async def test_unauthorized_once(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="unauthorized_once", provider="openai")
    async with http.post(CHAT, json=body(), headers=KEY) as reply:
        assert reply.status == 401
        assert (await reply.json())["error"]["code"] == "invalid_api_key"
    assert await status_of(http) == 200


async def test_rate_limited_with_and_without_retry_after(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="rate_limited")
    await plan(http, kind="rate_limited", retry_after=1.5)
    for expected in (None, "1.5"):
        async with http.post(CHAT, json=body(), headers=KEY) as reply:
            assert reply.status == 429
            assert reply.headers.get("retry-after") == expected
            assert (await reply.json())["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("status,kind", [(500, "server_error"), (503, "unavailable_error")])
async def test_server_error_speaks_the_providers_language(
    http: aiohttp.ClientSession, status: int, kind: str
) -> None:
    await plan(http, kind="server_error", status=status)
    async with http.post(LLAMA, json=body()) as reply:
        assert reply.status == status
        error = (await reply.json())["error"]
        assert (error["code"], error["type"]) == (status, kind)


async def test_html_error(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="html_error")
    async with http.post(CHAT, json=body(stream=True), headers=KEY) as reply:
        assert reply.status == 502
        assert reply.content_type == "text/html"
        assert "<html>" in await reply.text()


@pytest.mark.parametrize("stream", [False, True])
async def test_slow_drip_changes_nothing_but_the_pieces(
    http: aiohttp.ClientSession, sandbox_url: str, stream: bool
) -> None:
    await plan(http, kind="slow_drip", delay_s=0)
    got, _ = await read_raw(sandbox_url, stream=stream)
    text = got.partition(b"\r\n\r\n")[2]
    if stream:
        assert text.startswith(b"1\r\nd\r\n1\r\na\r\n1\r\nt\r\n1\r\na\r\n")
        assert text.endswith(b"0\r\n\r\n")
    else:
        assert json.loads(text)["object"] == "chat.completion"


async def test_early_error_frame(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="early_error_frame", after=2)
    frames = await frames_of(http)
    assert len(frames) == 4
    assert "choices" in json.loads(frames[1].removeprefix("data: "))
    assert "error" in json.loads(frames[2].removeprefix("data: "))
    assert frames[3] == ""


async def test_truncated_json(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="truncated_json", times=2)
    async with http.post(CHAT, json=body(), headers=KEY) as reply:
        text = await reply.text()
        assert int(reply.headers["content-length"]) == len(text.encode())
        with pytest.raises(ValueError, match=r"(?i)unterminated|expecting"):
            json.loads(text)
    (frame,) = await frames_of(http)
    with pytest.raises(ValueError, match=r"(?i)unterminated|expecting"):
        json.loads(frame.removeprefix("data: "))


async def test_slow_headers(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="slow_headers", delay_s=60)
    await says_nothing(http)
    await plan(http, kind="slow_headers", delay_s=0.001)
    assert await status_of(http) == 200


def test_every_kind_is_tested() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert [kind for kind in KINDS if not any(name.startswith(kind) for name in tested)] == []


async def test_match_by_provider_path_and_model(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="html_error", provider="llamacpp", times=None)
    assert await status_of(http) == 200
    assert await status_of(http, LLAMA) == 502
    await clear(http)
    await plan(http, kind="html_error", match={"path": "embeddings"})
    await plan(http, kind="html_error", status=504, match={"model": "4o-mini"})
    assert await status_of(http) == 200
    assert await status_of(http, model="gpt-4o-mini") == 504
    (left,) = await waiting(http)
    assert left["match"] == {"path": "embeddings", "model": None}


async def test_times_count_down_and_null_is_for_ever(http: aiohttp.ClientSession) -> None:
    fault = await plan(http, kind="server_error", times=2)
    assert [await status_of(http) for _ in range(3)] == [500, 500, 200]
    fault = await plan(http, kind="server_error", times=None)
    assert [await status_of(http) for _ in range(3)] == [500] * 3
    async with http.delete(f"/_sandbox/faults/{fault['id']}") as reply:
        assert reply.status == 200
    assert await status_of(http) == 200
    async with http.delete(f"/_sandbox/faults/{fault['id']}") as reply:
        assert reply.status == 404


async def waiting(http: aiohttp.ClientSession) -> list[dict[str, Any]]:
    async with http.get("/_sandbox/faults") as reply:
        faults: list[dict[str, Any]] = (await reply.json())["faults"]
        return faults


async def clear(http: aiohttp.ClientSession) -> None:
    async with http.delete("/_sandbox/faults") as reply:
        assert reply.status == 200


async def test_a_loading_llamacpp_is_a_fault(http: aiohttp.ClientSession) -> None:
    await plan(http, kind="server_error", provider="llamacpp", status=503, times=None)
    async with http.get("/llamacpp/health") as reply:
        assert reply.status == 503
        assert (await reply.json())["error"]["message"] == "Loading model"
    await clear(http)
    async with http.get("/llamacpp/health") as reply:
        assert await reply.json() == {"status": "ok"}


@pytest.mark.parametrize(
    "fault,param,word",
    [
        ({"kind": "explode"}, "kind", "hang_mid_stream"),
        ({"kind": "cut", "provider": "nobody"}, "provider", "openai"),
        ({"kind": "cut", "whatever": 1}, None, "whatever"),
        ({"kind": "cut", "times": 0}, "times", "at least 1"),
        ({"kind": "cut", "after": -1}, "after", "negative"),
        ({"kind": "cut", "after": "two"}, None, "after"),
        ({"kind": "server_error", "status": 99}, "status", "200"),
        ({"kind": "cut", "match": {"host": "x"}}, None, "host"),
        ({}, None, "kind"),
    ],
)
async def test_wrong_faults_are_refused(
    http: aiohttp.ClientSession, fault: dict[str, Any], param: str | None, word: str
) -> None:
    async with http.post("/_sandbox/faults", json=fault) as reply:
        assert reply.status == 400
        error = (await reply.json())["error"]
    assert error["param"] == param
    assert word in error["message"]
    assert await waiting(http) == []


async def test_what_was_done_is_written_down(http: aiohttp.ClientSession, sandbox_url: str) -> None:
    await plan(http, kind="cut", after=4)
    await read_raw(sandbox_url, stream=True)
    async with http.get("/_sandbox/seen") as reply:
        (request,) = (await reply.json())["requests"]
    assert (request["fault"], request["frames"]) == ("cut", 4)
    assert request["closed_by_client"] is False
    assert request["finished"] is None
    async with http.get("/_sandbox/bill") as reply:
        (charge,) = (await reply.json())["charges"]
    assert charge["tokens_out"] == 3


async def test_errors_cost_nothing(http: aiohttp.ClientSession) -> None:
    for kind in ("refuse", "rate_limited", "server_error", "error_in_200", "unauthorized_once"):
        await plan(http, kind=kind)
        with contextlib.suppress(aiohttp.ClientError):
            await status_of(http)
    async with http.get("/_sandbox/bill") as reply:
        assert (await reply.json())["charges"] == []
