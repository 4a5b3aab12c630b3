"""The adapter against a real server with the chat templates of Gemma, Mistral and others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.llamacpp import templates
from tests.llamacpp.asking import STEADY, WAIT, Caller, chat_of, said, text_of
from tests.llamacpp.server import LlamaServer
from tests.llamacpp.test_real_server import COLOURS, PAINT, joined

from xrouter.domain.errors import InvalidRequest
from xrouter.wire.client import Client

pytestmark = [pytest.mark.real_llamacpp, pytest.mark.timeout(120, func_only=True)]

Started = Callable[[str], LlamaServer]

TEMPLATES = {
    "gemma 2": templates.GEMMA_2,
    "gemma 3": templates.GEMMA_3,
    "mistral": templates.MISTRAL,
    "no tools": templates.NO_TOOLS,
}
KNOW_NO_TOOLS = ["gemma 2", "gemma 3", "no tools"]


def user(content: Any = "hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = "yo") -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


CALL = {"id": "call_1", "type": "function", "function": {"name": "wait", "arguments": ""}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "It is later now."}

HISTORIES: dict[str, list[dict[str, Any]]] = {
    "system": [system("Alpha"), user()],
    "lone system": [system("Alpha")],
    "late system": [system("Alpha"), user(), assistant(), system("Beta"), user()],
    "system after the user": [user(), system("Alpha")],
    "users": [user(), user("Alpha"), user([{"type": "text", "text": "Beta"}])],
    "assistant first": [assistant("Alpha"), user()],
    "assistants": [user(), assistant("Alpha"), assistant("Beta"), user()],
    "prefill": [user(), assistant("Alpha")],
    "call": [user("Alpha"), CALLED, RESULT],
    "call, then the user": [user(), CALLED, RESULT, user("Alpha")],
    "call after text": [user(), assistant("so"), CALLED, RESULT, assistant("Alpha"), user()],
}


@pytest.fixture(params=TEMPLATES)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("tools", [[], [WAIT]], ids=["no tools", "tools"])
async def test_every_history_is_taken_and_nothing_is_lost(
    client: Client, templated: Started, name: str, history: str, tools: list[Any]
) -> None:
    caller = Caller(client, templated(TEMPLATES[name]).url)
    exchange = await caller.exchange(messages=HISTORIES[history], tools=tools or None, max_tokens=2)
    await caller.ask(exchange.wire)
    wire = exchange.wire
    wire.url = wire.url.replace("/v1/chat/completions", "/apply-template")
    prompt = json.loads((await caller.ask(wire)).body)["prompt"]
    told = json.dumps(HISTORIES[history])
    words = [word for word in ("Alpha", "Beta", "later now") if word in told]
    assert [word for word in words if word not in prompt] == []
    assert ("wait" in prompt) == bool(tools or "call_1" in told)


async def test_calls_of_models_whose_template_knows_no_tools(
    client: Client, templated: Started
) -> None:
    for name in KNOW_NO_TOOLS:
        caller = Caller(client, templated(TEMPLATES[name]).url)
        asked = {"tools": [WAIT, PAINT], "tool_choice": "required", "temperature": 1, "seed": 5}
        answer = await caller.chat(**asked)
        (choice,) = answer.choices
        assert choice.finish_reason == "tool_calls"
        calls = choice.message.tool_calls or []
        assert calls
        for call in calls:
            assert call.function is not None
            arguments = json.loads(call.function.arguments)
            wanted: dict[str, list[Any]] = {"wait": [None], "paint": list(COLOURS["enum"])}
            assert arguments.get("colour") in wanted[call.function.name]
        streamed = joined(await caller.stream(**asked))
        assert [(first.name, given) for first, given in streamed.values()] == [
            (call.function.name, call.function.arguments) for call in calls if call.function
        ]


@pytest.mark.parametrize("seed", range(6))
async def test_text_or_calls_whole_and_streamed(
    client: Client, templated: Started, seed: int
) -> None:
    """What is said by chance is read in the same way."""
    caller = Caller(client, templated(TEMPLATES["gemma 3"]).url)
    asked = {"tools": [WAIT], "temperature": 1, "seed": seed, "max_tokens": 300}
    (choice,) = (await caller.chat(**asked)).choices
    deltas = await caller.stream(**asked)
    assert text_of(deltas) == (choice.message.content or "")
    assert [d.finish_reason for d in deltas if d.finish_reason] == [choice.finish_reason]
    assert len(joined(deltas)) == len(choice.message.tool_calls or ())
    assert "response" not in (choice.message.content or "")


async def test_an_answer_of_a_schema_beside_tools(client: Client, templated: Started) -> None:
    caller = Caller(client, templated(TEMPLATES["gemma 3"]).url)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"c": {"$ref": "#/$defs/c"}},
        "required": ["c"],
    }
    schema |= {"$defs": {"c": COLOURS}, "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "wall", "schema": schema}}
    texts = []
    for seed in range(20):
        answer = await caller.chat(tools=[WAIT], response_format=form, temperature=1, seed=seed)
        message = answer.choices[0].message
        texts += [] if message.tool_calls else [message.content or ""]
    assert texts
    assert {json.loads(text)["c"] for text in texts} <= set(COLOURS["enum"])


async def test_tools_are_refused_where_the_operator_wants_it(
    client: Client, templated: Started
) -> None:
    url = templated(TEMPLATES["gemma 3"]).url
    with pytest.raises(InvalidRequest) as refused:
        await Caller(client, url, options={"tools": "refuse"}).chat(tools=[WAIT])
    assert refused.value.param == "tools"


async def test_an_error_tells_what_the_template_demands(client: Client, templated: Started) -> None:
    """Where nothing was asked before."""
    for name, template in TEMPLATES.items():
        caller = Caller(client, templated(template).url)
        exchange = caller.adapter.encode_chat(
            chat_of({"messages": HISTORIES["late system"], "max_tokens": 1}), caller.target
        )
        _, reply = await caller.sent(exchange)
        assert reply.status == 200, name


async def test_a_chat_is_counted_as_the_prompt_it_makes(
    client: Client, templated: Started, name: str
) -> None:
    caller = Caller(client, templated(TEMPLATES[name]).url)
    for asked in ({"messages": HISTORIES["late system"]}, {"tools": [WAIT]}):
        answer = await caller.chat(max_tokens=1, **STEADY, **asked)
        assert answer.usage is not None
        assert await caller.count_chat(**asked) == answer.usage.prompt_tokens


@pytest.mark.parametrize(
    "schema", [{"properties": {"a": True}}, {"items": False}, {"oneOf": [True]}]
)
async def test_schemas_that_are_true_or_false(
    client: Client, templated: Started, schema: dict[str, Any]
) -> None:
    caller = Caller(client, templated(TEMPLATES["mistral"]).url)
    form = {"type": "json_schema", "json_schema": {"name": "one", "schema": schema}}
    answer = await caller.chat(response_format=form, max_tokens=20, **STEADY)
    assert said(answer)
