"""The official client of OpenAI against the door."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI
from tests.edge.harness import KEY, SERVED, House, say_hello

from xrouter.domain.answer import (
    AnswerMessage,
    ChatAnswer,
    ChatDelta,
    Choice,
    ToolCallDelta,
    Usage,
)
from xrouter.domain.chat import ChatRequest, FunctionCall, ToolCall
from xrouter.domain.errors import ContextLengthExceeded, UpstreamFailed
from xrouter.domain.ports import Reply

USER: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def client(house: House) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=KEY, base_url=house.url + "/v1", max_retries=0) as made:
        yield made


async def test_a_chat(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="acme/one", messages=USER)
    assert answer.choices[0].message.content == "Hello"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


async def test_a_streamed_chat_through_the_accumulating_helper(
    client: AsyncOpenAI, house: House
) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        await reply.deltas([ChatDelta(text="Hel"), ChatDelta(text="lo", reasoning="hm")])
        await reply.deltas(
            [
                ChatDelta(
                    tool_calls=[ToolCallDelta(0, "c0", "f", "{"), ToolCallDelta(1, "c1", "g", "")]
                )
            ]
        )
        await reply.deltas([ChatDelta(tool_calls=[ToolCallDelta(0, None, None, "}")])])
        await reply.deltas([ChatDelta(finish_reason="tool_calls")])
        await reply.end(Usage(3, 4))

    house.flow.script = script
    async with client.chat.completions.stream(
        model="acme/one", messages=USER, stream_options={"include_usage": True}
    ) as stream:
        answer = await stream.get_final_completion()
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content == "Hello"
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    assert [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls] == [
        ("c0", "f", "{}"),
        ("c1", "g", ""),
    ]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 7


async def test_several_streamed_choices(client: AsyncOpenAI, house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        await reply.deltas([ChatDelta(choice=n, text=f"t{n}") for n in (1, 0)])
        await reply.deltas([ChatDelta(choice=n, finish_reason="stop") for n in (0, 1)])
        await reply.end(None)

    house.flow.script = script
    async with client.chat.completions.stream(model="acme/one", messages=USER, n=2) as stream:
        answer = await stream.get_final_completion()
    assert [c.message.content for c in answer.choices] == ["t0", "t1"]
    assert [c.finish_reason for c in answer.choices] == ["stop", "stop"]


async def test_tool_calls(client: AsyncOpenAI, house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        message = AnswerMessage(tool_calls=[ToolCall("c", "function", FunctionCall("f", "{}"))])
        await reply.answer(ChatAnswer([Choice(message, "tool_calls")], Usage(1, 1)), SERVED)

    house.flow.script = script
    answer = await client.chat.completions.create(model="acme/one", messages=USER)
    message = answer.choices[0].message
    assert message.content is None
    assert message.tool_calls is not None
    assert message.tool_calls[0].id == "c"


async def test_errors_become_exceptions(client: AsyncOpenAI, house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.refuse(
            ContextLengthExceeded(
                "This model's maximum context length is 5 tokens.", param="messages"
            )
        )

    house.flow.script = script
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="acme/one", messages=USER)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    assert "maximum context length is" in str(caught.value)
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("acme/none")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="no").models.list()


async def test_a_broken_stream_raises(client: AsyncOpenAI, house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        await reply.deltas([ChatDelta(text="Hel")])
        await reply.fail(UpstreamFailed("The provider broke."))

    house.flow.script = script
    stream = await client.chat.completions.create(model="acme/one", messages=USER, stream=True)
    texts: list[str | None] = []

    async def read() -> None:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content)  # noqa: PERF401 - it raises on its way

    with pytest.raises(openai.APIError, match="The provider broke"):
        await read()
    assert texts == ["", "Hel"]


async def test_leaving_a_stream_cancels_the_flow(client: AsyncOpenAI, house: House) -> None:
    async def script(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        while True:
            await reply.deltas([ChatDelta(text="x" * 1000)])

    house.flow.script = script
    stream = await client.chat.completions.create(model="acme/one", messages=USER, stream=True)
    async for _ in stream:
        break
    await stream.close()
    await house.until(house.flow.cancelled.is_set)


async def test_models(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["acme/one", "acme/deep/two:free"]
    found = await client.models.retrieve("acme/deep/two:free")
    assert (found.id, found.owned_by) == ("acme/deep/two:free", "acme")


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
async def test_embeddings(client: AsyncOpenAI, house: House, encoding: str | None) -> None:
    chosen = {"encoding_format": encoding} if encoding else {}
    answer = await client.embeddings.create(model="acme/e", input=["a"], extra_body=chosen)
    assert house.flow.embedded[0].encoding_format == (encoding or "base64")
    if encoding != "base64":
        assert answer.data[0].embedding == [0.5, -1.0]
    assert answer.usage.prompt_tokens == 4


async def test_unknown_parameters_reach_the_flow_untouched(
    client: AsyncOpenAI, house: House
) -> None:
    house.flow.script = say_hello
    extra = {"top_k": 4, "provider": {"order": ["a"]}}
    await client.chat.completions.create(model="acme/one", messages=USER, extra_body=extra)
    fields = house.flow.requests[0].fields
    assert bytes(fields["top_k"]) == b"4"
    assert bytes(fields["provider"]) == b'{"order":["a"]}'
