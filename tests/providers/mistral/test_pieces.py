"""The parts of Mistral's adapter one by one: ids, schemas, reading answers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.providers.mistral.conftest import Aim, Ask

from xrouter.domain.errors import InvalidRequest, UpstreamError
from xrouter.providers.mistral import ids
from xrouter.providers.mistral.adapter import MistralAdapter
from xrouter.providers.mistral.ids import CallIds, hashed
from xrouter.providers.mistral.outward import input_of
from xrouter.providers.mistral.schema import inlined
from xrouter.wire.types import WireReply

CALL = {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize("given", ["call_abc1", "", "x" * 1000, "привет", "a-b_c:d/e", "\ud800"])
def test_ids_become_nine_letters_and_digits(given: str) -> None:
    found = CallIds([given]).of(given)
    assert re.fullmatch(r"[a-zA-Z0-9]{9}", found)
    assert CallIds([]).of(given) == found == hashed(given)


def test_an_id_that_fits_is_kept() -> None:
    assert CallIds(["D681PevKs"]).of("D681PevKs") == "D681PevKs"


def test_alike_ids_do_not_become_one() -> None:
    """Cutting would make one of `call_abc…1` and `call_abc…2`."""
    given = [f"call_abcdefghijklmnop{n}" for n in range(500)]
    known = CallIds(given)
    assert len({known.of(one) for one in given}) == 500


def test_hashes_that_meet_are_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "hashed", lambda _text, salt=0: f"AAAAAAAA{salt}")
    known = CallIds(["one", "two", "AAAAAAAA0"])
    assert known.of("AAAAAAAA0") == "AAAAAAAA0"
    assert [known.of("one"), known.of("two"), known.of("one")] == [
        "AAAAAAAA1",
        "AAAAAAAA2",
        "AAAAAAAA1",
    ]


A: dict[str, Any] = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}


@pytest.mark.parametrize(
    "definitions",
    [
        {"A": {"properties": {"x": {"$ref": "#/$defs/A"}}}},
        {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
        {"A": {"$ref": "https://example.com/schema"}},
        {"A": {"$ref": "#"}},
        {"B": {}},
        {"A": 5},
        {f"{n}": {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}] * 9} for n in range(20)}
        | {"A": {"$ref": "#/$defs/0"}, "20": {}},
    ],
)
def test_a_schema_that_cannot_be_written_out_stays(definitions: dict[str, Any]) -> None:
    schema = A | {"$defs": definitions}
    assert inlined(schema) is schema


def test_a_schema_is_written_out() -> None:
    schema = {
        "type": "object",
        "properties": {
            "$ref": {"type": "string"},
            "a": {"$ref": "#/definitions/x~1y", "description": "d"},
            "list": [{"$ref": "#/definitions/x~1y"}],
        },
        "definitions": {"x/y": {"type": "integer", "enum": [1]}},
    }
    assert inlined(schema) == {
        "type": "object",
        "properties": {
            "$ref": {"type": "string"},
            "a": {"type": "integer", "enum": [1], "description": "d"},
            "list": [{"type": "integer", "enum": [1]}],
        },
    }
    assert "$ref" not in json.dumps(inlined(A | {"$defs": {"A": {"type": "null"}}}))


@pytest.mark.parametrize(
    "arguments, text",
    [
        ('{"input":"ls"}', "ls"),
        ('{"input":5}', '{"input":5}'),
        ('{"x":"ls"}', '{"x":"ls"}'),
        ("ls", "ls"),
        ("", ""),
        ("[]", "[]"),
    ],
)
def test_the_text_of_a_custom_call(arguments: str, text: str) -> None:
    assert input_of(arguments) == text


def messages_of(adapter: MistralAdapter, ask: Ask, aim: Aim, *given: Any) -> Any:
    exchange = adapter.encode_chat(ask(list(given)), aim())
    return json.loads(exchange.wire.body)["messages"]


def test_ids_that_repeat_in_later_turns(adapter: MistralAdapter, ask: Ask, aim: Aim) -> None:
    """Some clients count their calls from 0 in each turn."""
    turn = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "call_0", "function": CALL}]},
        {"role": "tool", "tool_call_id": "call_0", "content": "1"},
        {"role": "assistant", "content": "y"},
    ]
    found = messages_of(adapter, ask, aim, *turn, *turn[:3])
    assert found[1]["tool_calls"][0]["id"] == found[2]["tool_call_id"] == found[6]["tool_call_id"]


def test_a_result_without_id_belongs_to_the_only_call(
    adapter: MistralAdapter, ask: Ask, aim: Aim
) -> None:
    found = messages_of(
        adapter,
        ask,
        aim,
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"function": CALL}]},
        {"role": "tool", "content": "1"},
    )
    assert found[2]["tool_call_id"] == found[1]["tool_calls"][0]["id"]


@pytest.mark.parametrize(
    "messages, param",
    [
        (
            [{"role": "assistant", "tool_calls": [{"id": "a", "function": CALL}] * 2}],
            "messages[0].tool_calls",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]}],
            "messages[0].tool_calls[0].function.name",
        ),
        ([{"role": "user", "content": [{"text": "a"}]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "messages[0].content[0].image_url.url",
        ),
        (
            [{"role": "user", "content": [{"type": "file", "file": {"filename": "a"}}]}],
            "messages[0].content[0].file.file_data",
        ),
        (
            [{"role": "user", "content": [{"type": "document_url"}]}],
            "messages[0].content[0].document_url",
        ),
        (
            [{"role": "assistant", "content": [{"type": "thinking"}]}],
            "messages[0].content[0].thinking",
        ),
        (
            [{"role": "system", "content": [{"type": "image_url", "image_url": "x"}]}],
            "messages[0].content[0]",
        ),
        (
            [
                {"role": "assistant", "function_call": CALL},
                {"role": "function", "name": "g", "content": "1"},
            ],
            "messages[1].name",
        ),
    ],
)
def test_refused_messages(
    adapter: MistralAdapter, ask: Ask, aim: Aim, messages: list[Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        adapter.encode_chat(ask(messages), aim())
    assert raised.value.param == param


def test_thoughts_of_a_message_to_be_continued_are_listed(
    adapter: MistralAdapter, ask: Ask, aim: Aim
) -> None:
    last = {"role": "assistant", "content": "a", "reasoning_content": "hm"}
    exchange = adapter.encode_chat(
        ask([{"role": "user", "content": "x"}, last]), aim("magistral-small")
    )
    assert json.loads(exchange.wire.body)["messages"][-1] == {
        "role": "assistant",
        "content": "a",
        "prefix": True,
    }
    assert exchange.dropped == ("messages.reasoning_content",)


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":[5]}',
        b'{"choices":5}',
        b'{"choices":[{"message":5}]}',
        b'{"choices":[{"message":{"content":[5,{"type":"thinking"}],"tool_calls":[5]}}]}',
        b'{"detail":"Unauthorized"}',
    ],
)
def test_odd_answers_are_the_providers_fault(
    adapter: MistralAdapter, ask: Ask, aim: Aim, body: bytes
) -> None:
    exchange = adapter.encode_chat(ask(), aim())
    with pytest.raises(UpstreamError):
        exchange.answer(WireReply(200, {}, body))


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b'{"choices":[5]}',
        b'{"choices":[{"index":"x","delta":{"content":[]}}]}',
        b'{"choices":[{"index":-1,"delta":{"content":[]}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"x"}}]}}]}',
        b'{"detail":"x"}',
    ],
)
def test_odd_chunks_are_the_providers_fault(
    adapter: MistralAdapter, ask: Ask, aim: Aim, data: bytes
) -> None:
    exchange = adapter.encode_chat(ask(stream=True), aim())
    with pytest.raises(UpstreamError):
        exchange.feed("", data)


def test_an_odd_choices_field_in_a_whole_answer(
    adapter: MistralAdapter, ask: Ask, aim: Aim
) -> None:
    exchange = adapter.encode_chat(ask(), aim())
    body = {"choices": [{"message": {"content": [5, {"type": "thinking", "thinking": "hm"}]}}]}
    answer = exchange.answer(WireReply(200, {}, json.dumps(body).encode()))
    assert answer.choices[0].message.reasoning == "hm"


def test_cached_tokens_are_counted_in_a_stream_too(
    adapter: MistralAdapter, ask: Ask, aim: Aim
) -> None:
    exchange = adapter.encode_chat(ask(stream=True), aim())
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "num_cached_tokens": 4}
    chunk = {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}], "usage": usage}
    (delta,) = exchange.feed("", json.dumps(chunk).encode())
    assert delta.usage is not None
    assert delta.usage.cached_tokens == 4
