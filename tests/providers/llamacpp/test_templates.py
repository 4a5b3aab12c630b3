"""What is asked of the server, remembered and learned of a model's chat template."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.errors import InvalidRequest, UpstreamOverloaded
from xrouter.domain.plan import Target
from xrouter.providers.base import ChatExchange
from xrouter.providers.llamacpp.adapter import LlamaCppAdapter
from xrouter.providers.llamacpp.template import MAX_MODELS, USES, Template, template_of
from xrouter.wire.types import WireReply

USER = {"role": "user", "content": "Hi"}
ASSISTANT = {"role": "assistant", "content": "yo"}
SYSTEM = {"role": "system", "content": "Be brief"}
TOOL = {"type": "function", "function": {"name": "wait"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
NINE = "Tool call IDs should be alphanumeric strings with length 9!"


def adapter_with(**options: str) -> LlamaCppAdapter:
    return LlamaCppAdapter(
        Endpoint(
            id=1,
            provider="llamacpp",
            name="primary",
            adapter_class="",
            base_url="http://h:8080",
            options=options,
        )
    )


def started(adapter: LlamaCppAdapter, model: str = "m", **fields: Any) -> ChatExchange:
    body = json.dumps({"model": "llamacpp/m", "messages": [USER], **fields}).encode()
    request = msgspec.json.decode(body, type=ChatRequest)
    request.fields = msgspec.json.decode(body, type=Fields)
    version = Version(label="latest", upstream=model)
    described = Model(
        model_id="llamacpp/m",
        provider="llamacpp",
        adapter_class="",
        display_name="M",
        versions=(version,),
    )
    return adapter.encode_chat(request, Target(adapter.endpoint, described, version))


def reply(body: Any, status: int = 200) -> WireReply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WireReply(status, {}, raw)


def told(exchange: ChatExchange, answer: WireReply) -> dict[str, Any]:
    """What is asked after the server has told of the template."""
    before = exchange.before()
    assert before is not None
    next(before)
    with pytest.raises(StopIteration):
        before.send(answer)
    return sent(exchange)


def sent(exchange: ChatExchange) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(exchange.wire.body)
    return body


def failure(message: str, status: int = 400) -> WireReply:
    return reply({"error": {"code": status, "message": message, "type": "x"}}, status)


def props(template: str = "", **given: Any) -> dict[str, Any]:
    return {"chat_template": template, **given}


def caps(**given: bool) -> dict[str, Any]:
    return {"chat_template_caps": given}


BLIND = {"modalities": {"vision": False, "audio": False}}


@pytest.mark.parametrize(
    "body,expected",
    [
        ({}, Template()),
        ({"role": "router", "models_autoload": True}, Template()),
        ([], Template()),
        (b"<html>", Template()),
        (props("tools", **caps(supports_tools=True, supports_tool_calls=True)), Template()),
        (
            props("tools", **caps(supports_tools=True, supports_tool_calls=False)),
            Template(tools=False),
        ),
        (props("x"), Template(tools=False)),
        (props("{%- if tools %}"), Template()),
        (props("x", chat_template_tool_use="y", **caps(supports_tools=False)), Template()),
        (
            props("tools System role not supported"),
            Template(system=False, late_system=False),
        ),
        (props("tools " + ALTERNATE), Template(late_system=False, turns=True)),
        (props("tools " + NINE), Template(nine=True)),
        (props("tools System message must be at the beginning."), Template(late_system=False)),
        (BLIND, Template(vision=False, audio=False)),
        ({"modalities": None, "chat_template": None, "chat_template_caps": 5}, Template()),
    ],
)
def test_what_the_server_tells(body: Any, expected: Template) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert template_of(raw) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"messages": [SYSTEM, USER, ASSISTANT, USER]},
        {"messages": [USER, ASSISTANT]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
        {"tools": [TOOL], "tool_choice": "none"},
    ],
)
def test_nothing_is_asked_where_it_does_not_matter(fields: dict[str, Any]) -> None:
    assert started(adapter_with(), **fields).before() is None


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [SYSTEM]},
        {"messages": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": "a"}]}]},
        {"messages": [ASSISTANT]},
        {"messages": [USER, USER]},
        {"messages": [USER, SYSTEM]},
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        {"tools": [TOOL]},
    ],
)
def test_it_is_asked_once_for_each_model(fields: dict[str, Any]) -> None:
    adapter = adapter_with()
    first = started(adapter, model="org/a:Q4", **fields)
    before = first.before()
    assert before is not None
    assert next(before).url == "http://h:8080/props?model=org%2Fa%3AQ4"
    before.close()
    told(started(adapter, model="org/a:Q4", **fields), reply(props("tools")))
    assert started(adapter, model="org/a:Q4", **fields).before() is None
    assert started(adapter, model="b", **fields).before() is not None


def test_what_was_told_is_kept_for_a_while_and_for_some_models() -> None:
    adapter = adapter_with()
    for number in range(MAX_MODELS + 1):
        told(started(adapter, model=f"m{number}", tools=[TOOL]), reply(props("tools")))
    assert started(adapter, model="m0", tools=[TOOL]).before() is not None
    for _ in range(USES):
        assert started(adapter, model="m1", tools=[TOOL]).before() is None
    assert started(adapter, model="m1", tools=[TOOL]).before() is not None


def test_a_server_that_loads_may_have_another_model_then() -> None:
    adapter = adapter_with()
    told(started(adapter, tools=[TOOL]), reply(props("tools")))
    adapter.decode_error(failure("Loading model", 503))
    again = started(adapter, tools=[TOOL])
    before = again.before()
    assert before is not None
    next(before)
    with pytest.raises(UpstreamOverloaded) as loading:
        before.send(failure("Loading model", 503))
    assert loading.value.retry_after


@pytest.mark.parametrize(
    "status,asked_again", [(404, False), (403, False), (401, True), (500, True)]
)
def test_where_it_cannot_be_asked_everything_is_tried(status: int, asked_again: bool) -> None:
    adapter = adapter_with()
    body = told(started(adapter, messages=[USER, USER], tools=[TOOL]), failure("no", status))
    assert body["messages"] == [USER, USER]
    assert body["tools"] == [TOOL]
    assert (started(adapter, tools=[TOOL]).before() is not None) is asked_again


# --- what errors tell


@pytest.mark.parametrize("status", [400, 500])
def test_an_error_tells_what_order_is_demanded(status: int) -> None:
    adapter = adapter_with()
    exchange = started(adapter, messages=[USER, ASSISTANT, SYSTEM, USER])
    told(exchange, failure("File Not Found", 404))
    error = adapter.decode_error(failure(f"... Error: Jinja Exception: {ALTERNATE}", status))
    other = exchange.instead(error)
    assert other is not None
    assert other.before() is None
    assert sent(other)["messages"] == [SYSTEM, USER, ASSISTANT, USER]
    assert other.instead(error) is None, "nothing new"
    assert sent(started(adapter, messages=[USER, USER]))["messages"] == [
        {"role": "user", "content": "Hi\n\nHi"}
    ]


def test_an_error_tells_of_ids_and_of_the_system() -> None:
    adapter = adapter_with()
    call = {"id": "c1", "type": "function", "function": {"name": "wait", "arguments": "{}"}}
    called = [USER, {"role": "assistant", "tool_calls": [call]}]
    result = {"role": "tool", "tool_call_id": "c1", "content": "done"}
    exchange = started(adapter, messages=[SYSTEM, *called, result])
    other = exchange.instead(adapter.decode_error(failure(f"Jinja Exception: {NINE}", 500)))
    assert other is not None
    messages = sent(other)["messages"]
    assert messages[2]["tool_calls"][0]["id"] == messages[3]["tool_call_id"]
    assert len(messages[3]["tool_call_id"]) == 9
    error = adapter.decode_error(failure("Jinja Exception: System role not supported"))
    third = other.instead(error)
    assert third is not None
    assert sent(third)["messages"][0] == {"role": "user", "content": "Be brief\n\nHi"}
    assert len(sent(third)["messages"][2]["tool_call_id"]) == 9


def test_what_the_operator_says_counts() -> None:
    adapter = adapter_with(strict_roles="false")
    told_body = told(started(adapter, messages=[USER, USER]), reply(props("tools " + ALTERNATE)))
    assert told_body["messages"] == [USER, USER]
    exchange = started(adapter, messages=[USER, USER])
    assert exchange.instead(adapter.decode_error(failure(ALTERNATE))) is None
    plain = adapter_with(strict_roles="plain", tools="native")
    body = told(started(plain, messages=[USER, USER], tools=[TOOL]), reply(props("tools")))
    assert body["messages"] == [{"role": "user", "content": "Hi\n\nHi"}]
    assert body["tools"] == [TOOL]


# --- what is refused


def test_tools_are_refused_where_the_operator_wants_it() -> None:
    adapter = adapter_with(tools="refuse")
    no_tools = reply(props("x"))
    with pytest.raises(InvalidRequest) as refused:
        told(started(adapter, tools=[TOOL]), no_tools)
    assert (refused.value.param, refused.value.status) == ("tools", 400)
    assert "tools" not in sent(started(adapter, tools=[TOOL], tool_choice="none"))
    native = adapter_with(tools="native")
    assert told(started(native, tools=[TOOL]), no_tools)["tools"] == [TOOL]


@pytest.mark.parametrize("part,able", [(IMAGE, "audio"), (SOUND, "vision")])
def test_a_model_is_not_shown_what_it_does_not_take(part: dict[str, Any], able: str) -> None:
    one_sided = {"modalities": {"vision": False, "audio": False} | {able: True}}
    content = [{"type": "text", "text": "a"}, part]
    exchange = started(adapter_with(), messages=[{"role": "user", "content": content}])
    with pytest.raises(InvalidRequest) as refused:
        told(exchange, reply(one_sided))
    assert refused.value.param == "messages[0].content[1]"


def test_a_grammar_cannot_be_had_with_emulated_tools() -> None:
    exchange = started(adapter_with(), tools=[TOOL], grammar='root ::= "a"')
    with pytest.raises(InvalidRequest) as refused:
        told(exchange, reply(props("x")))
    assert refused.value.param == "grammar"
