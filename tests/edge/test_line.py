"""The short way out, and what it must not get wrong."""

from __future__ import annotations

import pytest
from tests.edge.harness import SERVED, House, chat_body, open_house, request, text_answer

from xrouter.domain.answer import ChatDelta
from xrouter.domain.chat import ChatRequest
from xrouter.domain.ports import Reply
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
