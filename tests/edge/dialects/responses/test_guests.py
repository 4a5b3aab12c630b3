"""Clients that are known for their own ways: bodies of one API at the door of another."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.edge.harness import House, chat_body

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import UpstreamRateLimited
from xrouter.domain.ports import Reply

ITEMS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
]
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
GUEST: dict[str, Any] = {
    "model": "acme/one",
    "input": ITEMS,
    "tools": [TOOL],
    "tool_choice": "auto",
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"verbosity": "low"},
    "include": ["reasoning.encrypted_content"],
    "stream": True,
    "stream_options": {"include_usage": True},
}


async def test_a_body_of_responses_is_answered_as_a_chat(house: House) -> None:
    answer = await house.chat(GUEST)
    assert answer.status == 200, answer.body
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in answer.chunks[:-1])
    assert answer.chunks[-1]["usage"]["total_tokens"] == 5
    (request,) = house.flow.requests
    fields = {name: msgspec.json.decode(raw) for name, raw in request.fields.items()}
    assert [message["role"] for message in fields["messages"]] == ["system", "user"]
    assert fields["tools"][0]["function"]["name"] == "f"
    assert (fields["reasoning_effort"], fields["verbosity"]) == ("low", "low")
    assert answer.headers["x-xrouter-dropped"] == "include.reasoning.encrypted_content"


async def test_a_whole_one(house: House) -> None:
    more = {"stream": False, "stream_options": None, "include": None, "store": True}
    custom = {"type": "custom", "name": "patch"}
    answer = await house.chat(GUEST | more | {"tools": [TOOL, custom]})
    assert answer.json["object"] == "chat.completion"
    assert answer.headers["x-xrouter-dropped"] == "store, tools.custom"


@pytest.mark.parametrize(
    "more,param",
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"input": [{"type": "computer_call"}]}, "input[0]"),
    ],
)
async def test_what_only_the_other_door_has(house: House, more: dict[str, Any], param: str) -> None:
    answer = await house.chat(GUEST | more)
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_messages_come_first(house: House) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    answer = await house.chat({"model": "acme/one", "messages": messages, "input": ITEMS})
    assert answer.status == 200
    assert len(house.flow.requests[0].messages) == 1
    neither = await house.chat({"model": "acme/one"})
    assert (neither.status, neither.error["param"]) == (400, "messages")


async def test_what_a_coding_agent_sends(house: House) -> None:
    """It speaks the Responses API alone, lists tools that only OpenAI runs, and keeps nothing."""
    body = {
        "model": "acme/one",
        "instructions": "You are an agent.",
        "input": [{"type": "message", "role": "user", "content": ITEMS[1]["content"]}],
        "tools": [TOOL, {"type": "local_shell"}, {"type": "web_search"}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0198",
        "text": {"verbosity": "medium"},
    }
    answer = await house.call("POST", "/v1/responses", body, {"accept": "text/event-stream"})
    assert answer.status == 200, answer.body
    events = [msgspec.json.decode(frame.partition("data: ")[2]) for frame in answer.frames]
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["usage"]["total_tokens"] == 5
    assert answer.headers["x-xrouter-dropped"] == "tools[1].local_shell, tools[2].web_search"


async def test_a_client_that_wants_its_own_list_of_models(house: House) -> None:
    """An empty one lets it use the model it is configured for; without one it logs an error."""
    told = (await house.call("GET", "/v1/models?client_version=0.155.1")).json
    assert told["models"] == []
    assert [model["id"] for model in told["data"]] == ["acme/one", "acme/deep/two:free"]
    assert "models" not in (await house.call("GET", "/v1/models")).json


async def test_a_long_wait_is_told_as_it_is(house: House) -> None:
    """Then the official client, from 2.x on, tells its user at once."""

    async def refuse(_request: ChatRequest, reply: Reply) -> None:
        await reply.refuse(UpstreamRateLimited("Later.", retry_after=130.0))

    house.flow.script = refuse
    answer = await house.chat(chat_body())
    assert answer.status == 429
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("130", "130000")
