"""Forms of an answer: how they are asked for, and in which other way."""

import json
from typing import Any

import pytest
from tests.providers.gigachat.asking import adapter_of, ask, reply, said, sent

from xrouter.domain.errors import InvalidRequest, UpstreamMalformed, XRouterError
from xrouter.providers.gigachat.adapter import GigaChatAdapter

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
UNKNOWN = "response_format: unknown field"


def form(schema: Any = SCHEMA, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "out", "schema": schema, **more}}


def refusal(adapter: GigaChatAdapter, status: int = 422, text: str = UNKNOWN) -> XRouterError:
    return adapter.decode_error(reply(status, {"status": status, "message": text}))


def test_a_model_without_schemas_is_asked_by_a_function_from_then_on() -> None:
    adapter = adapter_of()
    first = ask(adapter, response_format=form())
    assert "response_format" in sent(first)
    assert first.instead(refusal(adapter)) is not None
    second = sent(ask(adapter, response_format=form()))
    assert "response_format" not in second
    assert second["function_call"] == {"name": "out"}


def test_a_model_that_ignores_schemas_is_asked_by_a_function_from_then_on() -> None:
    adapter = adapter_of()
    with pytest.raises(UpstreamMalformed):
        ask(adapter, response_format=form()).answer(said("One."))
    assert "functions" in sent(ask(adapter, response_format=form()))


@pytest.mark.parametrize(
    "status,text",
    [(422, "temperature is wrong"), (500, "response_format"), (429, "response_format"), (404, "")],
)
def test_other_errors_are_not_about_the_form(status: int, text: str) -> None:
    adapter = adapter_of()
    assert ask(adapter, response_format=form()).instead(refusal(adapter, status, text)) is None


def test_there_is_one_other_way() -> None:
    adapter = adapter_of()
    other = ask(adapter, response_format=form()).instead(refusal(adapter))
    assert other is not None
    assert other.instead(refusal(adapter)) is None
    assert ask(adapter).instead(refusal(adapter)) is None


def test_a_schema_that_no_function_can_have_stays_refused() -> None:
    adapter = adapter_of()
    exchange = ask(adapter, response_format=form({"type": "array", "items": {}}))
    assert exchange.instead(refusal(adapter)) is None
    assert exchange.answer(said("[1]")).choices[0].message.content == "[1]"


def test_what_the_function_loses_is_named() -> None:
    adapter = adapter_of()
    lossy = {
        "type": "object",
        "properties": {"a": {"oneOf": [{"type": "string"}, {"type": "integer"}]}},
        "not": {"type": "null"},
    }
    other = ask(adapter, response_format=form(lossy, strict=True)).instead(refusal(adapter))
    assert other is not None
    assert other.dropped == (
        "response_format.schema.not",
        "response_format.schema.oneOf",
        "response_format.strict",
    )


@pytest.mark.parametrize("name,used", [("web_search", "caller_web_search"), ("a b", "answer")])
def test_names_of_forms_become_names_of_functions(name: str, used: str) -> None:
    adapter = adapter_of()
    asked = {"type": "json_schema", "json_schema": {"name": name, "schema": SCHEMA}}
    other = ask(adapter, response_format=asked).instead(refusal(adapter))
    assert other is not None
    assert sent(other)["function_call"] == {"name": used}


def forced(stream: bool) -> Any:
    adapter = adapter_of()
    return ask(adapter, response_format=form(), stream=stream).instead(refusal(adapter))


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    choice = {"delta": delta, "index": 0, "finish_reason": finish}
    return json.dumps({"choices": [choice]}).encode()


def test_text_in_place_of_the_forced_call_may_be_the_object_itself() -> None:
    answer = forced(stream=False).answer(said('```{"a": 1}```'))
    assert answer.choices[0].message.content == '{"a": 1}'
    exchange = forced(stream=True)
    assert exchange.feed("", chunk(content='```{"a"')) == []
    assert exchange.feed("", chunk(content=": 1}```")) == []
    last = exchange.feed("", chunk("stop", content=""))
    assert [delta.text for delta in last] == ['{"a": 1}', None]
    with pytest.raises(UpstreamMalformed):
        forced(stream=False).answer(said("One."))


def test_text_beside_the_forced_call_is_not_the_answer() -> None:
    call = {"name": "out", "arguments": {"a": 1}}
    answer = forced(stream=False).answer(said("Here:", "function_call", function_call=call))
    assert answer.choices[0].message.content == '{"a":1}'
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.tool_calls is None
    exchange = forced(stream=True)
    exchange.feed("", chunk(content='Here: {"b": '))
    deltas = exchange.feed("", chunk("function_call", content="", function_call=call))
    assert [delta.text for delta in deltas] == ['{"a":1}', None]
    assert deltas[-1].finish_reason == "stop"


def test_arguments_that_are_broken_are_no_answer() -> None:
    call = {"name": "out", "arguments": '{"a": '}
    with pytest.raises(UpstreamMalformed):
        forced(stream=False).answer(said("", "function_call", function_call=call))
    with pytest.raises(UpstreamMalformed):
        forced(stream=True).feed("", chunk(content="", function_call=call))


def test_a_call_of_a_tool_is_no_json_answer() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    exchange = ask(adapter_of(), response_format={"type": "json_object"}, tools=tools)
    answer = exchange.answer(
        said("", "function_call", function_call={"name": "f", "arguments": {}})
    )
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_stop_may_cut_json() -> None:
    exchange = ask(adapter_of(), response_format={"type": "json_object"}, stop="1")
    assert exchange.answer(said('{"a": 1}')).choices[0].message.content == '{"a": '


def test_several_answers_are_several_calls() -> None:
    assert ask(adapter_of()).copies == 1
    assert ask(adapter_of(), n=8).copies == 8
    assert "n" not in sent(ask(adapter_of(), n=8))
    with pytest.raises(InvalidRequest):
        ask(adapter_of(), n=9)
