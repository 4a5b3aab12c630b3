"""The official client's Responses API, and the Agents SDK that is made on it."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel
from tests.clients.served import Product, SandboxControl, ask, eventually
from tests.clients.upstreams import EXACT, Upstream, everywhere

set_tracing_disabled(disabled=True)

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@everywhere
def test_a_text_is_answered(client: OpenAI, upstream: Upstream) -> None:
    answer = client.responses.create(model=upstream.model, input=f"Repeat: {EXACT}")
    assert EXACT in answer.output_text
    assert answer.status == "completed"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.id.startswith("resp_")


@everywhere
def test_the_streaming_helper_reads_to_the_end(client: OpenAI, upstream: Upstream) -> None:
    with client.responses.stream(model=upstream.model, input=f"Repeat: {EXACT}") as stream:
        events = list(stream)
        final = stream.get_final_response()
    pieces = [event.delta for event in events if isinstance(event, ResponseTextDeltaEvent)]
    assert EXACT in "".join(pieces)
    assert final.output_text == "".join(pieces)
    assert final.usage is not None
    assert final.usage.output_tokens > 0


@everywhere
def test_a_tool_is_called_and_its_output_goes_on(client: OpenAI, upstream: Upstream) -> None:
    first = client.responses.create(
        model=upstream.model,
        input="What is the weather in Kazan?",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "get_weather"},
    )
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather"
    second = client.responses.create(
        model=upstream.model,
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": '{"t": 21}'}],
        tools=[WEATHER],
    )
    assert second.status == "completed"
    assert second.previous_response_id == first.id
    assert second.output_text


def test_a_conversation_goes_on_by_id_and_can_be_forgotten(client: OpenAI) -> None:
    model = "openai/gpt-4o-mini"
    first = client.responses.create(model=model, input="My name is Ada.", instructions="Be kind.")
    second = client.responses.create(
        model=model, input="What is my name?", previous_response_id=first.id
    )
    assert client.responses.retrieve(second.id).output_text == second.output_text
    asked = client.responses.input_items.list(second.id).data
    assert len(asked) == 1
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as gone:
        client.responses.create(model=model, input="And?", previous_response_id=first.id)
    assert gone.value.code == "previous_response_not_found"
    third = client.responses.create(model=model, input="And?", previous_response_id=second.id)
    assert third.status == "completed"


def test_the_upstream_gets_the_whole_conversation(client: OpenAI, sandbox: SandboxControl) -> None:
    model = "openai/gpt-4o-mini"
    first = client.responses.create(model=model, input="One.")
    client.responses.create(model=model, input="Two.", previous_response_id=first.id)
    sent = sandbox.seen("/chat/completions")[-1]["body"]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[0]["content"] == "One."
    assert sent[1]["content"] == first.output_text


def test_what_is_not_to_be_stored_is_not(client: OpenAI) -> None:
    answer = client.responses.create(model="openai/gpt-4o-mini", input="Hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


def test_another_projects_responses_are_not_found(client: OpenAI, product: Product) -> None:
    answer = client.responses.create(model="openai/gpt-4o-mini", input="Hi")
    project = {"slug": "elsewhere", "name": "Elsewhere"}
    product.control("/organizations/default/projects", "POST", project)
    stranger = product.new_key("stranger", project="elsewhere")["key"]
    with OpenAI(base_url=f"{product.url}/v1", api_key=stranger) as other:
        with pytest.raises(openai.NotFoundError):
            other.responses.retrieve(answer.id)
        with pytest.raises(openai.NotFoundError):
            other.responses.delete(answer.id)


def test_without_a_key_nothing_is_found(product: Product) -> None:
    for path in ("/v1/responses/resp_x", "/v1/responses/resp_x/input_items"):
        assert ask(product.url + path).status == 401


class Person(BaseModel):
    name: str
    age: int


def test_structured_output_is_parsed(client: OpenAI) -> None:
    answer = client.responses.parse(
        model="openai/gpt-4o-mini", input="Ada, 36 years old", text_format=Person
    )
    assert isinstance(answer.output_parsed, Person)


def test_tokens_of_the_input_are_counted(client: OpenAI) -> None:
    counted = client.responses.input_tokens.count(model="yandex/yandexgpt", input="One two three")
    assert counted.input_tokens > 0


def test_errors_are_the_clients_exceptions(once: OpenAI, sandbox: SandboxControl) -> None:
    with pytest.raises(openai.NotFoundError):
        once.responses.create(model="openai/nothing", input="Hi")
    with pytest.raises(openai.BadRequestError) as refused:
        once.responses.create(model="openai/gpt-4o-mini", input="Hi", conversation="conv_1")
    assert refused.value.param == "conversation"
    sandbox.fault("server_error", "openai", times=None)
    with pytest.raises(openai.InternalServerError):
        once.responses.create(model="openai/gpt-4o-mini", input="Hi")


def test_a_stream_that_breaks_fails_in_the_stream(once: OpenAI, sandbox: SandboxControl) -> None:
    sandbox.fault("cut", "openai", after=3)
    events = list(once.responses.create(model="openai/gpt-4o-mini", input="Hi", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None


def test_a_client_that_leaves_ends_the_call(client: OpenAI, sandbox: SandboxControl) -> None:
    stream = client.responses.create(
        model="openai/gpt-4o-mini", input="[[words:1000]] [[pause:0.05]]", stream=True
    )
    next(iter(stream))
    stream.close()
    sandbox.saw_a_client_leave()
    eventually(lambda: sandbox.running() == 0, "the call ends")


def test_a_cancelled_response_can_be_gone_on_from(client: OpenAI, sandbox: SandboxControl) -> None:
    model = "openai/gpt-4o-mini"
    begun = client.responses.create(
        model=model, input="[[words:1000]] [[pause:0.05]]", background=True
    )
    with pytest.raises(openai.BadRequestError) as early:
        client.responses.create(model=model, input="And?", previous_response_id=begun.id)
    assert early.value.param == "previous_response_id"
    assert client.responses.cancel(begun.id).status == "cancelled"
    eventually(lambda: sandbox.running() == 0, "the call ends")
    assert client.responses.retrieve(begun.id).status == "cancelled"
    later = client.responses.create(model=model, input="And?", previous_response_id=begun.id)
    assert later.status == "completed"


def test_input_items_in_pages(client: OpenAI) -> None:
    asked = [{"role": "user", "content": f"Number {number}."} for number in range(5)]
    made = client.responses.create(model="openai/gpt-4o-mini", input=asked)  # type: ignore[arg-type]
    pages = client.responses.input_items.list(made.id, limit=2, order="asc")
    assert len(pages.data) == 2
    told = [item.to_dict()["content"][0]["text"] for item in pages]  # type: ignore[index]
    assert told == [f"Number {number}." for number in range(5)]


def test_reasoning_is_shown_when_it_is_asked_for(client: OpenAI) -> None:
    made = client.responses.create(model="llamacpp/qwen3-8b", input="[[think:3]] Hello")
    (thinking,) = [item for item in made.output if item.type == "reasoning"]
    assert thinking.encrypted_content is None
    got = client.responses.retrieve(made.id, include=["reasoning.encrypted_content"])
    (again,) = [item for item in got.output if item.type == "reasoning"]
    assert again.encrypted_content


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: sunny, 21 degrees"


@everywhere
async def test_an_agent_uses_its_tool(asking: AsyncOpenAI, upstream: Upstream) -> None:
    agent = Agent(
        name="forecaster",
        instructions="Use the tool.",
        model=OpenAIResponsesModel(model=upstream.model, openai_client=asking),
        model_settings=ModelSettings(tool_choice="required"),
        tools=[weather],
    )
    result = await Runner.run(agent, "What is the weather in Kazan?", max_turns=4)
    assert isinstance(result.final_output, str)
    assert [item.type for item in result.new_items][:2] == [
        "tool_call_item",
        "tool_call_output_item",
    ]


async def test_an_agent_streams(asking: AsyncOpenAI) -> None:
    model = OpenAIResponsesModel(model="openai/gpt-4o-mini", openai_client=asking)
    agent = Agent(name="talker", instructions="Talk.", model=model)
    result = Runner.run_streamed(agent, "Hello")
    kinds = {event.type async for event in result.stream_events()}
    assert "raw_response_event" in kinds
    assert result.final_output
