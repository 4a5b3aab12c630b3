"""The official Python client works against the simulated OpenAI."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionToolParam

TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
async def client(sandbox_url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        api_key="sk-sandbox", base_url=f"{sandbox_url}/openai/v1", max_retries=0
    ) as client:
        yield client


async def test_chat(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Привет"}]
    )
    assert answer.choices[0].message.content == "This is gpt-4o-mini. You said: Привет"
    assert answer.usage is not None
    assert answer._request_id is not None


async def test_stream_helper(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="gpt-4o",
        messages=[{"role": "user", "content": "раз два три 👋"}],
        stream_options={"include_usage": True},
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "This is gpt-4o. You said: раз два три 👋"
    assert final.choices[0].message.role == "assistant"
    assert final.usage is not None
    assert final.usage.completion_tokens > 0


async def test_streamed_tool_call(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="gpt-4o", messages=[{"role": "user", "content": "get_weather!"}], tools=[TOOL]
    ) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.name == "get_weather"
    assert calls[0].function.arguments == '{"city":"sample"}'
    assert final.choices[0].finish_reason == "tool_calls"


async def test_embeddings(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(
        model="text-embedding-3-small", input=["a", "b"], dimensions=16
    )
    assert [len(entry.embedding) for entry in answer.data] == [16, 16]


async def test_models(client: AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert "gpt-4o" in names
    assert (await client.models.retrieve("gpt-4o")).object == "model"
    with pytest.raises(openai.NotFoundError, match="vendor/model"):
        await client.models.retrieve("vendor/model")


async def test_errors_become_the_right_exceptions(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        await client.chat.completions.create(model="gpt-4o", messages=[])
    assert bad.value.code == "empty_array"
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-wrong").models.list()
