from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import (
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionMessageParam,
    ParsedChatCompletion,
)
from openai.types.chat.chat_completion_tool_union_param import ChatCompletionToolUnionParam
from pydantic import BaseModel
from tests.clients.upstreams import GIGACHAT, Upstream, everywhere


def tool(name: str, **properties: Any) -> ChatCompletionToolUnionParam:
    parameters: dict[str, object] = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }
    return {
        "type": "function",
        "function": {"name": name, "description": f"Do {name}", "parameters": parameters},
    }


WEATHER = tool("get_weather", town={"type": "string"}, days={"type": "integer"})
CLOCK = tool("get_time", zone={"type": "string", "enum": ["Europe/Moscow", "UTC"]})
ASKED = "Первым делом get_weather, then get_time, please"
RESULTS = {"get_weather": '{"sky": "ясно ☀️"}', "get_time": '{"hour": 17}'}

Messages = list[ChatCompletionMessageParam]


def converse(client: OpenAI, model: str, *, streamed: bool) -> tuple[Messages, list[list[str]]]:
    """Answer calls until there are none: the conversation, and the calls by turn."""
    messages: Messages = [{"role": "user", "content": ASKED}]
    turns: list[list[str]] = []
    for _ in range(5):
        message, finish = turn(client, model, messages, streamed=streamed)
        calls = message.tool_calls or []
        messages.append(message.to_dict(exclude_none=True))
        if not calls:
            assert finish == "stop"
            return messages, turns
        assert finish == "tool_calls"
        assert message.content in (None, "")
        turns.append([])
        for call in calls:
            assert isinstance(call, ChatCompletionMessageFunctionToolCall)
            turns[-1].append(call.function.name)
            check_arguments(call)
            result = RESULTS[call.function.name]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    raise AssertionError(f"no end of calls: {turns}")


def turn(client: OpenAI, model: str, messages: Messages, *, streamed: bool) -> tuple[Any, str]:
    tools = [WEATHER, CLOCK]
    if not streamed:
        answer = client.chat.completions.create(model=model, messages=messages, tools=tools)
        return answer.choices[0].message, answer.choices[0].finish_reason
    with client.chat.completions.stream(model=model, messages=messages, tools=tools) as stream:
        final: ParsedChatCompletion[None] = stream.get_final_completion()
    return final.choices[0].message, final.choices[0].finish_reason


def check_arguments(call: ChatCompletionMessageFunctionToolCall) -> None:
    assert call.type == "function"
    assert call.id
    given = json.loads(call.function.arguments)
    if call.function.name == "get_weather":
        assert set(given) == {"town", "days"}
        assert type(given["days"]) is int
    else:
        assert given == {"zone": "Europe/Moscow"}


@everywhere
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_calls_results_answer(client: OpenAI, upstream: Upstream, streamed: bool) -> None:
    messages, turns = converse(client, upstream.model, streamed=streamed)
    assert turns == upstream.turns
    ids = [call["id"] for m in messages for call in m.get("tool_calls") or ()]  # type: ignore[attr-defined]  # as sent
    assert len(set(ids)) == len(ids) == sum(map(len, turns))
    last = str(messages[-1].get("content"))
    assert "ясно ☀️" in last
    assert ('"hour"' in last) == (upstream.calls != "first")


@everywhere
def test_streamed_calls_by_the_rules(client: OpenAI, upstream: Upstream) -> None:
    chunks = list(
        client.chat.completions.create(
            model=upstream.model,
            messages=[{"role": "user", "content": ASKED}],
            tools=[WEATHER, CLOCK],
            stream=True,
        )
    )
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    pieces = [piece for delta in deltas for piece in delta.tool_calls or []]
    count = len(upstream.turns[0])
    assert sorted({piece.index for piece in pieces}) == list(range(count))
    for index in range(count):
        own = [piece for piece in pieces if piece.index == index]
        for piece in own:
            assert piece.function is not None
            assert piece.function.arguments is not None
        first, *rest = own
        assert first.id
        assert first.type == "function"
        assert first.function is not None
        assert first.function.name in RESULTS
        assert [(piece.id, piece.type) for piece in rest] == [(None, None)] * len(rest)
        assert {piece.function and piece.function.name for piece in rest} <= {None}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@everywhere
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_time"}}], ids=str
)
def test_a_call_that_is_demanded(client: OpenAI, upstream: Upstream, choice: Any) -> None:
    tools = [CLOCK] if choice == "required" else [WEATHER, CLOCK]
    answer = client.chat.completions.create(
        model=upstream.model,
        messages=[{"role": "user", "content": "Hello"}],
        tools=tools,
        tool_choice=choice,
    )
    [call] = answer.choices[0].message.tool_calls or []
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert call.function.name == "get_time"
    check_arguments(call)


@everywhere
def test_a_call_that_is_forbidden(client: OpenAI, upstream: Upstream) -> None:
    answer = client.chat.completions.create(
        model=upstream.model,
        messages=[{"role": "user", "content": "Hello get_time"}],
        tools=[CLOCK],
        tool_choice="none",
    )
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"


@everywhere
def test_one_call_at_a_time(client: OpenAI, upstream: Upstream) -> None:
    answer = client.chat.completions.create(
        model=upstream.model,
        messages=[{"role": "user", "content": ASKED}],
        tools=[WEATHER, CLOCK],
        parallel_tool_calls=False,
    )
    assert len(answer.choices[0].message.tool_calls or []) == 1


class GetWeather(BaseModel):
    town: str
    days: int


@everywhere
async def test_parsed_arguments(asking: AsyncOpenAI, upstream: Upstream) -> None:
    answer = await asking.chat.completions.parse(
        model=upstream.model,
        messages=[{"role": "user", "content": "GetWeather now"}],
        tools=[openai.pydantic_function_tool(GetWeather)],
    )
    [call] = answer.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, GetWeather)


@everywhere
def test_the_old_functions(client: OpenAI, upstream: Upstream) -> None:
    function: Any = dict(WEATHER)["function"]
    messages: Messages = [{"role": "user", "content": "Hello get_weather"}]
    if not upstream.functions:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model=upstream.model, messages=messages, functions=[function]
            )
        assert caught.value.param == "functions"
        return
    answer = client.chat.completions.create(
        model=upstream.model, messages=messages, functions=[function], function_call="auto"
    )
    [choice] = answer.choices
    assert choice.finish_reason == "function_call"
    call = choice.message.function_call
    assert call is not None
    assert call.name == "get_weather"
    assert set(json.loads(call.arguments)) == {"town", "days"}
    messages += [
        {
            "role": "assistant",
            "content": None,
            "function_call": {"name": call.name, "arguments": call.arguments},
        },
        {"role": "function", "name": call.name, "content": RESULTS["get_weather"]},
    ]
    answer = client.chat.completions.create(
        model=upstream.model, messages=messages, functions=[function]
    )
    assert "ясно ☀️" in str(answer.choices[0].message.content)


def test_text_before_a_call_is_kept(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=GIGACHAT.model,
        messages=[{"role": "user", "content": "[[preface]] get_time"}],
        tools=[CLOCK],
    )
    message = answer.choices[0].message
    assert message.content == "One moment, let me look."
    assert len(message.tool_calls or []) == 1
