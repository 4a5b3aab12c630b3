"""Agents of Pydantic AI on both of OpenAI's APIs: tools, structured output, streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    BinaryContent,
    ModelHTTPError,
    ModelRetry,
    NativeOutput,
    PromptedOutput,
    RunContext,
    ToolOutput,
)
from pydantic_ai.messages import ModelResponse, ThinkingPart, ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.models.openai import (
    OpenAIChatModel,
    OpenAIResponsesModel,
    OpenAIResponsesModelSettings,
)
from pydantic_ai.providers.openai import OpenAIProvider
from tests.clients.served import SandboxControl
from tests.clients.upstreams import EXACT, OPENAI, REASONING, Upstream, everywhere

Make = Callable[[str], Model]
ASKED = "First get_weather, then get_time, please"
SUMMARIES = OpenAIResponsesModelSettings(openai_reasoning_summary="auto")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32


class Town(BaseModel):
    """A town."""

    name: str
    people: int | None
    rivers: list[str]


class Said(BaseModel):
    """What a simulated model says in JSON without a schema."""

    said: str


@pytest.fixture(params=["chat", "responses"])
async def make(request: pytest.FixtureRequest, asking: AsyncOpenAI) -> Make:
    """A model as its users make it, by either API; it does not try again."""
    provider = OpenAIProvider(openai_client=asking.with_options(max_retries=0))
    if request.param == "chat":
        return lambda name: OpenAIChatModel(name, provider=provider)
    return lambda name: OpenAIResponsesModel(name, provider=provider)


def said(text: str) -> str:
    return text.rpartition("You said: ")[2]


def calls(messages: list[Any]) -> list[list[str]]:
    """The names of tools by turn."""
    turns = [
        [part.tool_name for part in message.parts if isinstance(part, ToolCallPart)]
        for message in messages
        if isinstance(message, ModelResponse)
    ]
    return [turn for turn in turns if turn]


def forecaster(model: Model) -> Agent[str, str]:
    """An agent with two tools, of which one reads what the run depends on."""
    agent = Agent(model, deps_type=str, instructions="Use the tools.")

    @agent.tool
    def get_weather(context: RunContext[str], town: str, days: int) -> dict[str, Any]:
        """The weather of a town."""
        return {"sky": context.deps, "town": town, "days": days}

    @agent.tool_plain
    def get_time(zone: str) -> str:
        """The time in a zone."""
        return f"17:00 in {zone}"

    return agent


@everywhere
async def test_an_answer(make: Make, upstream: Upstream) -> None:
    agent = Agent(make(upstream.model), instructions="Be brief.", system_prompt="And exact.")
    first = await agent.run(EXACT)
    assert first.output.endswith(EXACT)  # some templates put instructions before it
    usage = first.usage
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0
    second = await agent.run("And now?", message_history=first.all_messages())
    assert second.output.endswith("And now?")


@everywhere
async def test_a_stream(make: Make, upstream: Upstream) -> None:
    async with Agent(make(upstream.model)).run_stream(EXACT) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 1
    assert said("".join(pieces)) == EXACT


@everywhere
async def test_tools(make: Make, upstream: Upstream) -> None:
    result = await forecaster(make(upstream.model)).run(ASKED, deps="ясно ☀️")
    assert calls(result.all_messages()) == upstream.turns
    assert "ясно ☀️" in result.output


@everywhere
async def test_tools_in_a_stream(make: Make, upstream: Upstream) -> None:
    agent = forecaster(make(upstream.model))
    async with agent.run_stream(ASKED, deps="ясно ☀️") as result:
        output = await result.get_output()
    assert calls(result.all_messages()) == upstream.turns
    assert "ясно ☀️" in output


@everywhere
async def test_a_tool_that_asks_for_another_try(make: Make, upstream: Upstream) -> None:
    agent = Agent(make(upstream.model), retries=2)
    tries: list[str] = []

    @agent.tool_plain
    def get_time(zone: str) -> str:
        """The time in a zone."""
        tries.append(zone)
        raise ModelRetry("Not now: answer without me.")

    result = await agent.run("get_time, please")
    assert tries == ["sample"]
    assert "Not now" in result.output


@everywhere
@pytest.mark.parametrize("kind", [ToolOutput, NativeOutput])
async def test_structured_output(make: Make, upstream: Upstream, kind: Any) -> None:
    agent = Agent(make(upstream.model), output_type=kind(Town))
    result = await agent.run("A town, please")
    assert result.output == Town(name="sample", people=1, rivers=["sample"])


@everywhere
async def test_prompted_output(make: Make, upstream: Upstream) -> None:
    """JSON without a schema on the wire: a simulated model says always the same field."""
    agent = Agent(make(upstream.model), output_type=PromptedOutput(Said))
    result = await agent.run("Something in JSON")
    assert "Something in JSON" in result.output.said


@everywhere
async def test_one_of_several_outputs(make: Make, upstream: Upstream) -> None:
    """Without a text among them, one of the output tools is demanded."""

    class Number(BaseModel):
        number: int

    agent: Agent[None, Town | Number] = Agent(make(upstream.model), output_type=[Town, Number])
    result = await agent.run("final_result_Number, please")
    assert result.output == Number(number=1)


@everywhere
@pytest.mark.parametrize("kind", [ToolOutput, NativeOutput])
async def test_streamed_structured_output(make: Make, upstream: Upstream, kind: Any) -> None:
    agent = Agent(make(upstream.model), output_type=kind(Town))
    async with agent.run_stream("A town, please") as result:
        seen = [town async for town in result.stream_output(debounce_by=None)]
    assert seen[-1] == Town(name="sample", people=1, rivers=["sample"])


@everywhere
async def test_settings(make: Make, upstream: Upstream) -> None:
    agent = Agent(make(upstream.model), model_settings={"max_tokens": 20, "temperature": 0.0})
    result = await agent.run("[[words:50]]")
    assert len(result.output.split()) == 20


async def test_thoughts(make: Make) -> None:
    agent = Agent(make(REASONING), model_settings=SUMMARIES)
    result = await agent.run("[[think:3]] Hello")
    assert said(result.output) == "Hello"
    thoughts = [
        part.content
        for message in result.all_messages()
        for part in message.parts
        if isinstance(part, ThinkingPart)
    ]
    assert thoughts == ["one step more"]
    more = await agent.run("Again", message_history=result.all_messages())
    assert said(more.output) == "Again"


async def test_a_picture(make: Make, sandbox: SandboxControl) -> None:
    agent = Agent(make(OPENAI.model))
    await agent.run(["What is it?", BinaryContent(PNG, media_type="image/png")])
    [sent] = sandbox.seen("ompletion")[-1]["body"]["messages"]
    assert sent["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")


async def test_errors(make: Make, sandbox: SandboxControl) -> None:
    with pytest.raises(ModelHTTPError) as unknown:
        await Agent(make("no/such")).run("Hello")
    assert unknown.value.status_code == 404
    sandbox.fault("rate_limited", OPENAI.simulator, times=None)
    with pytest.raises(ModelHTTPError) as limited:
        await Agent(make(OPENAI.model)).run("Hello")
    assert limited.value.status_code == 429
    assert isinstance(limited.value.body, dict)
    assert limited.value.body["code"] == "rate_limit_exceeded"
