"""GigaChat's own client against the simulator: the second chat contract."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from typing import Any

import pytest
from gigachat import GigaChat
from gigachat import exceptions as refused
from tests.clients.python.gigachat_client import SPECIFICATION, ULTRA, Town, settings
from tests.clients.served import SandboxControl
from tests.clients.upstreams import EXACT

TIME = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}
TOOLS = [{"functions": {"specifications": [SPECIFICATION, TIME]}}]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads variables; those of this machine are not meant."""
    for name in list(os.environ):
        if name.startswith("GIGACHAT_"):
            monkeypatch.delenv(name)


@pytest.fixture
def giga(sandbox: SandboxControl) -> Iterator[GigaChat]:
    """The client of the newest host, which is its default."""
    with GigaChat(**settings(sandbox.origin)) as made:
        yield made


@pytest.fixture
def old(sandbox: SandboxControl) -> Iterator[GigaChat]:
    """The client of the old host."""
    with GigaChat(**settings(sandbox.origin, old=True)) as made:
        yield made


def test_second_chat(giga: GigaChat, sandbox: SandboxControl) -> None:
    answer = giga.chat.create({"model": ULTRA, "messages": [{"role": "user", "content": EXACT}]})
    (message,) = answer.messages
    assert message.content is not None
    assert message.content[0].text == f"This is {answer.model}. You said: {EXACT}"
    assert answer.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.input_tokens_details is not None
    assert answer.usage.input_tokens_details.prompt_tokens == answer.usage.input_tokens
    assert sandbox.seen("/v2/chat/completions")


def test_the_old_host_has_no_second_contract(old: GigaChat) -> None:
    with pytest.raises(refused.NotFoundError):
        old.chat.create("Hello")


def test_second_stream(giga: GigaChat) -> None:
    *deltas, done = giga.chat.stream(
        {"model": ULTRA, "messages": [{"role": "user", "content": EXACT}]}
    )
    assert {delta.event for delta in deltas} == {"response.message.delta"}
    text = "".join(
        part.text or ""
        for delta in deltas
        for message in delta.messages or []
        for part in message.content or []
    )
    assert text == f"This is {done.model}. You said: {EXACT}"
    assert (done.event, done.finish_reason) == ("response.message.done", "stop")
    assert done.usage is not None


def second(text: str, **more: Any) -> dict[str, Any]:
    return {"model": ULTRA, "messages": [{"role": "user", "content": text}], "tools": TOOLS} | more


def test_a_second_function_there_and_back(giga: GigaChat) -> None:
    config = {"mode": "forced", "function_name": "get_weather"}
    asked_first = second("How is it in Perm?", tool_config=config)
    (message,) = giga.chat.create(asked_first).messages
    assert message.content is not None
    call = message.content[0].function_call
    assert call is not None
    assert (call.name, call.arguments) == ("get_weather", {"city": "sample"})
    assert message.tools_state_id
    result = {"function_result": {"name": call.name, "result": {"degrees": 5}}}
    back = {"role": "tool", "tools_state_id": message.tools_state_id, "content": [result]}
    history = [*asked_first["messages"], message, back]
    answer = giga.chat.create(second("", messages=history))
    assert answer.messages[0].content is not None
    assert '{"degrees":5}' in (answer.messages[0].content[0].text or "")


def test_several_functions_at_once(giga: GigaChat) -> None:
    options = {"parallel_tool_calls": True}
    answer = giga.chat.create(second("use get_weather and get_time", model_options=options))
    parts = answer.messages[0].content or []
    names = [part.function_call.name for part in parts if part.function_call is not None]
    assert names == ["get_weather", "get_time"]


def test_second_structured_output(giga: GigaChat) -> None:
    _, town = giga.chat.parse(
        {"model": ULTRA, "messages": [{"role": "user", "content": "a"}]}, response_format=Town
    )
    assert town == Town(name="sample", people=1)


def test_a_second_drawing(giga: GigaChat) -> None:
    config = {"mode": "forced", "tool_name": "image_generate"}
    request = second("A cat", tools=["image_generate"], tool_config=config)
    parts = giga.chat.create(request).messages[0].content or []
    (file,) = parts[0].files or []
    assert (file.mime, file.target) == ("image/jpeg", "image")
    assert base64.b64decode(giga.get_image(file.id_).content).startswith(b"\xff\xd8\xff")
    events = [chunk.event for chunk in giga.chat.stream(request)]
    assert events[:2] == ["response.tool.in_progress", "response.tool.completed"]


def test_a_search(giga: GigaChat) -> None:
    config = {"mode": "forced", "tool_name": "web_search"}
    request = second("Rivers", tools=["web_search"], tool_config=config)
    (part,) = giga.chat.create(request).messages[0].content or []
    assert part.inline_data is not None
    assert part.inline_data.sources is not None
    assert part.inline_data.sources["1"].url


def test_second_refusals(giga: GigaChat) -> None:
    with pytest.raises(refused.UnprocessableEntityError):
        giga.chat.create(second("a", tool_config={"mode": "required"}))
    with pytest.raises(refused.NotFoundError):
        giga.chat.create(second("a", model="gpt"))
    with pytest.raises(refused.UnprocessableEntityError):
        list(giga.chat.stream(second("a", temperature=1)))
