"""The short way out, and what it must not get wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
from types import SimpleNamespace
from typing import Any

import pytest
from tests.edge.harness import KEY, SERVED, House, chat_body, open_house, request, text_answer
from typing_extensions import override
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from xrouter.domain.answer import ChatDelta
from xrouter.domain.chat import ChatRequest
from xrouter.domain.ports import Reply
from xrouter.edge.guard import GuardedConfig, GuardProtocol
from xrouter.edge.line import LINE, Line
from xrouter.edge.reply import HttpReply

CHAT = request("POST", "/v1/chat/completions", chat_body())


def answers(house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.answer(text_answer("Hello"), SERVED)

    house.flow.script = script


async def test_an_idle_connection_is_closed_in_time() -> None:
    async with open_house(keep_alive=1) as house:
        answers(house)
        wire = await house.connect()
        await wire.send(CHAT)
        assert (await wire.answer()).status == 200
        assert await wire.rest() == b""
        wire.close()


async def test_a_connection_serves_one_request_after_another() -> None:
    async with open_house() as house:
        answers(house)
        wire = await house.connect()
        for _ in range(3):
            await wire.send(CHAT)
            answer = await wire.answer()
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
            assert "date" in answer.headers
        await wire.send(CHAT + CHAT)
        assert [(await wire.answer()).status for _ in range(2)] == [200, 200]
        wire.close()


async def test_a_server_that_leaves_says_close_and_closes() -> None:
    async with open_house() as house:
        answers(house)
        close = (b"connection", b"close")
        house.server.config.encoded_headers.append(close)  # for when the date is set anew
        state = house.server.server_state
        state.default_headers = [*state.default_headers, close]
        wire = await house.connect()
        await wire.send(CHAT)
        said = await wire.rest()
        assert said.count(b"connection: close") == 1
        assert b"Hello" in said
        wire.close()


async def test_the_answer_to_a_head_request_has_no_body() -> None:
    async with open_house() as house:
        wire = await house.connect()
        await wire.send(request("HEAD", "/health/live", headers={"connection": "close"}))
        head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"content-length" in head.lower()
        assert body == b""
        wire.close()


@pytest.mark.parametrize("value", [b"b\r\nset-cookie: c", b"b\nset-cookie: c", b"b\0c"])
async def test_a_header_never_becomes_two(value: bytes) -> None:
    async with open_house() as house:

        async def script(_request: ChatRequest, reply: Reply) -> None:
            assert isinstance(reply, HttpReply)
            reply._out.headers.append((b"x-odd", value))
            await reply.answer(text_answer("Hello"), SERVED)

        house.flow.script = script
        wire = await house.connect()
        await wire.send(CHAT)
        said = await wire.rest()
        assert b"set-cookie" not in said
        assert b"Hello" not in said
        wire.close()


async def test_pieces_of_a_stream_are_chunks() -> None:
    async with open_house() as house:

        async def script(_request: ChatRequest, reply: Reply) -> None:
            await reply.start(SERVED)
            for word in ("one", "two"):
                await reply.deltas([ChatDelta(text=word)])
            await reply.end(None)

        house.flow.script = script
        reply = await house.chat(chat_body(stream=True))
        assert reply.status == 200
        assert reply.body.count(b"data: ") == 4
        assert reply.body.endswith(b"data: [DONE]\n\n")


class Still(asyncio.Transport):
    """Notes whether it is read from."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = True

    @override
    def pause_reading(self) -> None:
        self.reads = False

    @override
    def resume_reading(self) -> None:
        self.reads = True


def line_with(body: bytes, **headers: str) -> Line:
    """A request whose body has come as a whole."""
    connection: Any = SimpleNamespace(
        transport=Still(),
        server_state=ServerState(),
        on_response_complete=lambda: None,
    )
    connection.flow = FlowControl(connection.transport)
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    line = Line(connection, {"method": "POST"}, named)
    line.body += body
    line.more_body = False
    return line


def test_a_line_begins_as_uvicorns_cycle_does() -> None:
    line = line_with(b"")
    line.more_body = True
    theirs = RequestResponseCycle(
        scope=line.scope,
        transport=line.transport,
        flow=line.flow,
        logger=line.logger,
        access_logger=line.access_logger,
        access_log=line.access_log,
        default_headers=line.default_headers,
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=line.on_response,
    )
    begins = vars(theirs)
    assert not begins.pop("message_event").is_set()
    assert not line.message_event.is_set()
    assert begins == {name: getattr(line, name) for name in begins}


HEADS = (
    "GET /a%20b?c=d HTTP/1.1\r\nX-A: 1\r\nx-a: 2",
    "POST /a%20b?c=e HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 0",
    "POST /a%20b?c=e HTTP/1.1\r\nExpect: 100-continue\r\nExpect: more",
    "GET /%ff HTTP/1.1\r\nExpect: more",
    "GET / HTTP/1.0\r\nConnection: keep-alive",
)


async def test_a_connection_tells_asgi_what_uvicorn_tells_it() -> None:
    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError(scope)

    config = GuardedConfig(app, lifespan="off", ws="none", log_config=None, root_path="/under")
    config.load()
    told: list[list[Any]] = []
    for kind in (GuardProtocol, HttpToolsProtocol):
        protocol = kind(config, ServerState(), {"a": 1}, asyncio.get_running_loop())
        protocol.connection_made(Still())
        told.append([])
        for head in HEADS:
            protocol.data_received(f"{head}\r\n\r\n".encode())
            cycle = protocol.cycle
            scope = {name: said for name, said in cycle.scope.items() if name != LINE}
            told[-1].append((scope, cycle.keep_alive, cycle.waiting_for_100_continue))
        for task in protocol.tasks:
            task.cancel()
    assert told[0] == told[1]
    assert len({str(each) for each in told[0]}) == len(HEADS)


@pytest.mark.parametrize("length", ["2", "02", "0" * 30 + "2", "3", ""])
def test_only_a_body_as_it_was_declared_is_taken(length: str) -> None:
    line = line_with(b"{}", content_length=length)
    assert line.take(10) == (b"{}" if length == "2" else None)


@pytest.mark.parametrize("headers", [{}, {"content_length": "2", "content_encoding": "gzip"}])
def test_other_bodies_go_the_usual_way(headers: dict[str, str]) -> None:
    assert line_with(b"{}", **headers).take(10) is None


def test_a_body_is_not_taken_too_early_or_too_large_or_of_one_who_left() -> None:
    line = line_with(b"{}", content_length="2")
    assert line.take(1) is None
    line.more_body = True
    assert line.take(10) is None
    line.more_body = False
    line.waiting_for_100_continue = True
    assert line.take(10) is None
    line.waiting_for_100_continue = False
    line.gone()
    assert line.take(10) is None


async def test_after_a_body_was_taken_only_the_leaving_comes() -> None:
    line = line_with(b"{}", content_length="2")
    line.flow.pause_reading()
    assert line.take(10) == b"{}"
    assert not line.flow.read_paused
    assert line.take(10) is None
    waiting = asyncio.ensure_future(line.receive())
    await asyncio.sleep(0)
    assert not waiting.done()
    line.gone()
    assert (await waiting)["type"] == "http.disconnect"


async def test_a_body_that_was_not_taken_is_received() -> None:
    message = await line_with(b"{}").receive()
    assert message == {"type": "http.request", "body": b"{}", "more_body": False}


@pytest.mark.parametrize("pieces", [1, 2, 5])
@pytest.mark.parametrize("words", [1, 60_000])
@pytest.mark.parametrize("packed", [False, True])
async def test_a_body_is_the_same_however_it_comes(pieces: int, words: int, packed: bool) -> None:
    asked = chat_body(user="w " * words)
    body = json.dumps(asked).encode()
    body = gzip.compress(body) if packed else body
    data = request(
        "POST", "/v1/chat/completions", body, {"content-encoding": "gzip"} if packed else {}
    )
    async with open_house() as house:
        wire = await house.connect()
        step = len(data) // pieces + 1
        for _ in range(2):
            for at in range(0, len(data), step):
                await wire.send(data[at : at + step])
                await asyncio.sleep(0)
            assert (await wire.answer()).status == 200
        wire.close()
        assert [asked.user for asked in house.flow.requests] == ["w " * words] * 2


async def test_each_request_of_a_connection_has_its_own_url() -> None:
    async with open_house() as house:
        wire = await house.connect()
        for path in ("one", "deep/two:free", "one", "deep%2Ftwo:free?a=b"):
            await wire.send(request("GET", f"/v1/models/acme/{path}"))
            shown = json.loads((await wire.answer()).body)
            assert shown["id"] == f"acme/{path.replace('%2F', '/').removesuffix('?a=b')}"
        wire.close()


@pytest.mark.parametrize("key,status", [(KEY, 200), ("", 401)])
async def test_what_comes_behind_a_body_is_no_header(key: str, status: int) -> None:
    async with open_house() as house:

        async def script(_request: ChatRequest, reply: Reply) -> None:
            house.flow._check(house.flow.credentials[-1])
            await reply.answer(text_answer("Hello"), SERVED)

        house.flow.script = script
        body = json.dumps(chat_body()).encode()
        headers = {"transfer-encoding": "chunked", "content-type": "application/json"}
        data = (
            request("POST", "/v1/chat/completions", None, {**headers, "authorization": key})
            + b"%x\r\n%b\r\n0\r\n" % (len(body), body)
            + f"Authorization: Bearer {KEY}\r\nX-XRouter-Tags: late\r\n\r\n".encode()
        )
        wire = await house.connect()
        for _ in range(2 if key else 1):  # a stranger's connection is closed
            await wire.send(data)
            assert (await wire.answer()).status == status
        assert all(b"x-xrouter-tags" not in call.headers for call in house.flow.calls)
        wire.close()
