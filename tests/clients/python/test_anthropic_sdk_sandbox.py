"""The official client of Anthropic against the simulator, to keep the simulator honest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from tests.clients.served import Product

MODEL = "claude-sonnet-5-5"
TOOL: Any = {
    "name": "weather",
    "description": "The weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture
def direct(product: Product) -> Iterator[Anthropic]:
    """The client, past XRouter."""
    url = f"{product.sandbox.origin}/anthropic"
    with Anthropic(base_url=url, api_key="sk-ant-sandbox", max_retries=0) as client:
        yield client


def ask(client: Anthropic, text: str, **more: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    create: Any = client.messages.create
    return create(**{"model": MODEL, "max_tokens": 3000, "messages": messages} | more)


def test_a_message(direct: Anthropic) -> None:
    message = ask(direct, "Repeat: Привет 🦔")
    assert "Привет 🦔" in message.content[0].text
    assert message.stop_reason == "end_turn"
    assert message._request_id.startswith("req_")


def test_the_streaming_helper(direct: Anthropic) -> None:
    thinking: Any = {"type": "adaptive", "display": "summarized"}
    messages: Any = [{"role": "user", "content": "Repeat: Привет 🦔"}]
    with direct.messages.stream(
        model=MODEL, max_tokens=3000, messages=messages, thinking=thinking
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert "Привет 🦔" in text
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[0].signature  # type: ignore[union-attr] # it is a thinking block


def test_a_tool(direct: Anthropic) -> None:
    first = ask(direct, "weather in Kazan?", tools=[TOOL])
    call = first.content[-1]
    assert (first.stop_reason, call.name) == ("tool_use", "weather")
    history: Any = [
        {"role": "user", "content": "weather in Kazan?"},
        {"role": "assistant", "content": first.content},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}],
        },
    ]
    second = ask(direct, "", tools=[TOOL], messages=history)
    assert "sunny" in second.content[0].text


def test_counts_and_models(direct: Anthropic) -> None:
    messages: Any = [{"role": "user", "content": "one two three"}]
    assert direct.messages.count_tokens(model=MODEL, messages=messages).input_tokens >= 3
    assert MODEL in [model.id for model in direct.models.list()]


def test_an_older_model_has_a_budget(direct: Anthropic) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    message = ask(direct, "Hi", model="claude-haiku-4-5", thinking=thinking)
    assert [block.type for block in message.content] == ["thinking", "text"]
    with pytest.raises(anthropic.BadRequestError, match="adaptive"):
        ask(direct, "Hi", model="claude-opus-5-5", thinking=thinking)


def test_thinking_comes_back(direct: Anthropic) -> None:
    first = ask(direct, "weather in Kazan?", tools=[TOOL], thinking={"type": "adaptive"})
    call = first.content[-1]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    history: Any = [
        {"role": "user", "content": "weather in Kazan?"},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    second = ask(direct, "", tools=[TOOL], messages=history, thinking={"type": "adaptive"})
    assert [block.type for block in second.content] == ["thinking", "text"]


def test_an_answer_in_a_form(direct: Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "schema": schema}
    message = ask(direct, "Hi", output_config={"format": form})
    assert set(json.loads(message.content[0].text)) == {"city"}


def test_ends(direct: Anthropic) -> None:
    refused = ask(direct, "[[refuse]]")
    assert (refused.stop_reason, refused.stop_details.type) == ("refusal", "refusal")
    stopped = ask(direct, "one STOP two", stop_sequences=["STOP"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "STOP")
    assert ask(direct, "[[words:50]]", max_tokens=5).stop_reason == "max_tokens"


def test_a_streamed_call(direct: Anthropic) -> None:
    messages: Any = [{"role": "user", "content": "weather in Kazan?"}]
    with direct.messages.stream(
        model=MODEL, max_tokens=3000, messages=messages, tools=[TOOL]
    ) as stream:
        final = stream.get_final_message()
    whole = ask(direct, "weather in Kazan?", tools=[TOOL])
    assert final.content[-1].input == whole.content[-1].input  # type: ignore[union-attr] # a call
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_pages_of_models(direct: Anthropic) -> None:
    names = [model.id for model in direct.models.list()]
    assert [model.id for model in direct.models.list(limit=2)] == names
    model = direct.models.retrieve(MODEL)
    assert (model.id, model.lifecycle, model.max_tokens) == (MODEL, "active", 64_000)


def test_errors(direct: Anthropic, product: Product) -> None:
    with pytest.raises(anthropic.BadRequestError):
        ask(direct, "")
    with pytest.raises(anthropic.NotFoundError):
        ask(direct, "Hi", model="claude-none")
    stranger = direct.with_options(api_key="sk-other")
    with pytest.raises(anthropic.AuthenticationError):
        ask(stranger, "Hi")
    product.sandbox.fault("rate_limited", "anthropic")
    with pytest.raises(anthropic.RateLimitError):
        ask(direct, "Hi")
