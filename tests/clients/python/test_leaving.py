from __future__ import annotations

import asyncio

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from tests.clients.served import Product, SandboxControl, eventually
from tests.clients.upstreams import OPENAI, Upstream, everywhere

PATIENCE_S = (1.0, 5.0, 20.0)
"""The first is enough, unless the machine stands still before the provider is asked."""

LONG: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "[[words:2000]] [[pause:0.05]]"}
]
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


@everywhere
def test_breaking_out_of_the_loop(
    client: OpenAI, upstream: Upstream, sandbox: SandboxControl
) -> None:
    with client.chat.completions.create(model=upstream.model, messages=LONG, stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    sandbox.saw_a_client_leave()


@everywhere
async def test_closing_the_helper(
    asking: AsyncOpenAI, upstream: Upstream, sandbox: SandboxControl
) -> None:
    async with asking.chat.completions.stream(model=upstream.model, messages=LONG) as stream:
        async for event in stream:
            if event.type == "content.delta":
                break
    await asyncio.to_thread(sandbox.saw_a_client_leave)


@everywhere
async def test_cancelling_a_task(
    asking: AsyncOpenAI, upstream: Upstream, sandbox: SandboxControl
) -> None:
    """While a whole answer is being made, nothing has come yet."""
    sandbox.fault("hang_before_headers", upstream.simulator, match={"path": upstream.path})
    task = asyncio.create_task(asking.chat.completions.create(model=upstream.model, messages=HELLO))
    await asyncio.to_thread(eventually, lambda: sandbox.running() == 1, "it was asked")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(sandbox.saw_a_client_leave)


@everywhere
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_clients_patience_ends(
    once: OpenAI, upstream: Upstream, sandbox: SandboxControl, stream: bool
) -> None:
    match = {"path": upstream.path}
    sandbox.fault("hang_before_headers", upstream.simulator, match=match, times=None)
    for patience in PATIENCE_S:
        with pytest.raises(openai.APITimeoutError):
            once.with_options(timeout=patience).chat.completions.create(
                model=upstream.model, messages=HELLO, stream=stream
            )
        if sandbox.seen(upstream.path):
            break
    sandbox.saw_a_client_leave()


def test_patience_ends_in_the_middle_of_a_stream(once: OpenAI, sandbox: SandboxControl) -> None:
    sandbox.fault("hang_mid_stream", OPENAI.simulator, after=4, times=None)
    told: list[str] = []
    for patience in PATIENCE_S:
        with (
            pytest.raises(openai.APITimeoutError),
            once.with_options(timeout=patience).chat.completions.create(
                model=OPENAI.model, messages=LONG, stream=True
            ) as stream,
        ):
            told.extend(chunk.choices[0].delta.content or "" for chunk in stream)
        if told:
            break
    assert "".join(told).startswith("one")
    sandbox.saw_a_client_leave()


def test_what_was_said_until_then_is_accounted_for(
    client: OpenAI, product: Product, sandbox: SandboxControl
) -> None:
    with client.chat.completions.create(model=OPENAI.model, messages=LONG, stream=True) as stream:
        request_id = stream.response.headers["x-request-id"]
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    sandbox.saw_a_client_leave()

    def noted() -> bool:
        events = product.control("/usage?limit=100").json()["data"]
        [*found] = [event for event in events if event["request_id"] == request_id]
        if not found:
            return False
        [event] = found
        assert event["outcome"] == "cancelled"
        assert event["status"] == 499
        assert event["tokens_in"] > 0
        assert event["tokens_out"] > 0
        return True

    eventually(noted, "the usage event is in the database")


async def test_the_others_are_not_disturbed(asking: AsyncOpenAI, sandbox: SandboxControl) -> None:
    """Ten streams; every second caller leaves."""

    async def one(number: int) -> int:
        stream = await asking.chat.completions.create(
            model=OPENAI.model,
            messages=[{"role": "user", "content": "[[words:40]] [[pause:0.02]]"}],
            stream=True,
        )
        words = 0
        async with stream:
            async for chunk in stream:
                words += bool(chunk.choices[0].delta.content)
                if number % 2 and words == 3:
                    break
        return words

    assert await asyncio.gather(*map(one, range(10))) == [40, 3] * 5
    await asyncio.to_thread(eventually, lambda: sandbox.running() == 0, "all have ended")
