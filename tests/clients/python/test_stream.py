from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import BaseModel
from tests.clients.served import SandboxControl
from tests.clients.upstreams import EXACT, OPENAI, REASONING, Upstream, everywhere


def say(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def joined(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    return "".join(
        choice.delta.content or ""
        for chunk in chunks
        for choice in chunk.choices
        if choice.index == index
    )


def check_the_rules(chunks: list[ChatCompletionChunk]) -> None:
    """What accumulating clients rely on, for one answer in a stream."""
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert choices[0].delta.role == "assistant"
    assert [choice.delta.role for choice in choices[1:]] == [None] * (len(choices) - 1)
    assert [choice.finish_reason is not None for choice in choices] == [False] * (
        len(choices) - 1
    ) + [True]
    assert choices[-1].delta.content is None


@everywhere
def test_chunks_by_the_rules(client: OpenAI, upstream: Upstream) -> None:
    chunks = list(
        client.chat.completions.create(model=upstream.model, messages=say(EXACT), stream=True)
    )
    check_the_rules(chunks)
    assert joined(chunks).endswith(f"You said: {EXACT}")
    assert chunks[0].model == upstream.model
    assert chunks[0].object == "chat.completion.chunk"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)


@everywhere
async def test_chunks_without_blocking(asking: AsyncOpenAI, upstream: Upstream) -> None:
    stream = await asking.chat.completions.create(
        model=upstream.model, messages=say(EXACT), stream=True
    )
    chunks = [chunk async for chunk in stream]
    check_the_rules(chunks)
    assert joined(chunks).endswith(f"You said: {EXACT}")


@everywhere
def test_usage_comes_last_when_it_is_asked_for(
    client: OpenAI, upstream: Upstream, sandbox: SandboxControl
) -> None:
    chunks = list(
        client.chat.completions.create(
            model=upstream.model,
            messages=say("[[words:50]]"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    check_the_rules(chunks[:-1])
    assert chunks[-1].choices == []
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    usage = chunks[-1].usage
    [charge] = sandbox.charges()
    assert usage is not None
    assert usage.prompt_tokens == charge["tokens_in"] > 0
    assert usage.completion_tokens == charge["tokens_out"] == 50
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@everywhere
def test_chunks_come_while_the_provider_still_speaks(
    client: OpenAI, upstream: Upstream, sandbox: SandboxControl
) -> None:
    with client.chat.completions.create(
        model=upstream.model, messages=say("[[words:60]] [[pause:0.03]]"), stream=True
    ) as stream:
        texts = (chunk.choices[0].delta.content for chunk in stream)
        first = next(text for text in texts if text)
        assert sandbox.running() == 1
        assert first.startswith("one")
        pieces = [first, *(text for text in texts if text)]
    assert len("".join(pieces).split()) == 60
    assert len(pieces) >= 10


@everywhere
def test_the_helper_accumulates(client: OpenAI, upstream: Upstream) -> None:
    with client.chat.completions.stream(
        model=upstream.model, messages=say(EXACT), stream_options={"include_usage": True}
    ) as stream:
        told = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    [choice] = final.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == told
    assert told.endswith(f"You said: {EXACT}")
    assert choice.finish_reason == "stop"
    assert final.usage is not None
    assert final.usage.completion_tokens > 0


@everywhere
async def test_the_helper_accumulates_without_blocking(
    asking: AsyncOpenAI, upstream: Upstream
) -> None:
    async with asking.chat.completions.stream(model=upstream.model, messages=say(EXACT)) as stream:
        events = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert "content.delta" in events
    assert events[-1] == "content.done"
    message = final.choices[0].message
    assert message.role == "assistant"
    assert message.content is not None
    assert message.content.endswith(f"You said: {EXACT}")


class Town(BaseModel):
    name: str
    people: int


@everywhere
def test_the_helper_parses(client: OpenAI, upstream: Upstream) -> None:
    with client.chat.completions.stream(
        model=upstream.model, messages=say("A town, please"), response_format=Town
    ) as stream:
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(parsed, Town)


@everywhere
def test_stop_and_limit_hold_in_streams(client: OpenAI, upstream: Upstream) -> None:
    def ends(**how: Any) -> tuple[str, str | None]:
        chunks: list[ChatCompletionChunk] = list(
            client.chat.completions.create(
                model=upstream.model, messages=say("[[words:50]]"), stream=True, **how
            )
        )
        check_the_rules(chunks)
        return joined(chunks).rstrip(), chunks[-1].choices[0].finish_reason

    assert ends(stop=["the long"]) == ("one step more on", "stop")
    assert ends(max_tokens=5) == ("one step more on the", "length")


@everywhere
def test_several_answers_in_a_stream(client: OpenAI, upstream: Upstream) -> None:
    def three() -> list[ChatCompletionChunk]:
        return list(
            client.chat.completions.create(
                model=upstream.model, messages=say("Hello"), n=3, stream=True
            )
        )

    if not upstream.can("n"):
        with pytest.raises(openai.BadRequestError, match="n"):
            three()
        return
    chunks = three()
    texts = [joined(chunks, index) for index in range(3)]
    assert len(set(texts)) == (3 if upstream.degree("n") == "native" else 1)
    assert all(text.endswith("Hello") for text in texts)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    for index in range(3):
        own = [choice for choice in choices if choice.index == index]
        assert [choice.delta.role for choice in own].count("assistant") == 1
        assert [choice.finish_reason for choice in own if choice.finish_reason] == ["stop"]


def test_reasoning_streams_under_both_names(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=REASONING, messages=say("[[think:5]] Hello"), stream=True
        )
    )
    check_the_rules(chunks)
    extras = [choice.delta.model_extra or {} for chunk in chunks for choice in chunk.choices]
    thoughts = ["".join(extra.get(name, "") for extra in extras) for name in _THOUGHTS]
    assert thoughts == ["one step more on the"] * 2
    assert joined(chunks).endswith("Hello")


_THOUGHTS = ("reasoning_content", "reasoning")


def test_raw_bytes_of_a_stream(client: OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model=OPENAI.model, messages=say("Hello"), stream=True
    ) as reply:
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reply.headers["cache-control"] == "no-cache"
        assert reply.headers["x-accel-buffering"] == "no"
        assert reply.headers["x-request-id"].startswith("req_")
        assert reply.headers["x-xrouter-provider"] == "openai"
        assert "content-encoding" not in reply.headers
        lines = list(reply.iter_lines())
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(line == "" or line.startswith("data: ") for line in lines)


def test_a_long_stream_is_whole(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=OPENAI.model, messages=say("[[words:5000]]"), stream=True
        )
    )
    check_the_rules(chunks)
    assert len(joined(chunks).split()) == 5000
