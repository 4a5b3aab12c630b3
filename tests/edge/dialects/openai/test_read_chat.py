from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xrouter.domain.errors import InvalidRequest
from xrouter.edge.dialects.openai.chat import read_chat
from xrouter.edge.dialects.openai.embeddings import read_embeddings

USER = {"role": "user", "content": "Hi"}


def body(**more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [USER], **more}).encode()


def refusal(data: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_chat(data)
    assert caught.value.status == 400
    assert caught.value.type == "invalid_request_error"
    return caught.value


def said(*messages: dict[str, Any]) -> bytes:
    return body(messages=list(messages))


def test_everything_is_kept_as_it_was_written() -> None:
    data = b'{"model":"m","messages":[{"role":"user","content":"\xd0\x9f"}],"top_k": 4.0,"x":1e999}'
    request = read_chat(data)
    assert bytes(request.fields["top_k"]) == b"4.0"
    assert bytes(request.fields["x"]) == b"1e999"
    assert bytes(request.fields["messages"]) == (b'[{"role":"user","content":"\xd0\x9f"}]')
    assert request.model == "m"


@pytest.mark.parametrize("name", ["temperature", "stop", "n", "tools", "stream", "stream_options"])
def test_null_is_absent(name: str) -> None:
    assert getattr(read_chat(body(**{name: None})), name) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"not json",
        b"\x00",
        b'{"model":"m","messages":[{"role":"user","content":"Hi"}]} x',
        b'\xef\xbb\xbf{"model":"m","messages":[]}',
        '{"model":"m"}'.encode("utf-16"),
        b'{"model":"\xff","messages":[]}',
        b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"unknown":"\xff"}',
        b'{"model":"m","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"temperature":NaN}',
        b'{"temperature":Infinity}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model":"m","messages":' + b"[" * 100_000,
        b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"x":' + b"[" * 100_000 + b"}",
    ],
    ids=lambda data: str(data[:24]),
)
def test_what_is_not_json_is_a_400_without_a_parameter(data: bytes) -> None:
    assert refusal(data).message


@pytest.mark.parametrize("data", [b"[]", b'"x"', b"null", b"5", b"true"])
def test_a_body_must_be_an_object(data: bytes) -> None:
    error = refusal(data)
    assert error.code == "invalid_type"
    assert "expected an object" in error.message


@pytest.mark.parametrize(
    "more,param,code",
    [
        ({"model": None}, "model", "invalid_type"),
        ({"model": 5}, "model", "invalid_type"),
        ({"model": ""}, "model", "empty_string"),
        ({"model": "x" * 10_000}, "model", "string_above_max_length"),
        ({"messages": None}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": {}}, "messages", "invalid_type"),
        ({"messages": ["x"]}, "messages[0]", "invalid_type"),
        ({"messages": [USER, {}]}, "messages[1].role", "missing_required_parameter"),
        ({"messages": [{"role": 5}]}, "messages[0].role", "invalid_type"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": {}}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "empty_array"),
        (
            {"messages": [{"role": "user", "content": ["x"]}]},
            "messages[0].content[0]",
            "invalid_type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
            "messages[0].content[0].type",
            "missing_required_parameter",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": 5}]}]},
            "messages[0].content[0].type",
            "invalid_type",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": 1}}]}]},
            "messages[0].tool_calls[0].function.name",
            "invalid_type",
        ),
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"temperature": 1e308}, "temperature", "decimal_above_max_value"),
        ({"temperature": -0.1}, "temperature", "decimal_below_min_value"),
        ({"temperature": "1"}, "temperature", "invalid_type"),
        ({"top_p": 1.1}, "top_p", "decimal_above_max_value"),
        ({"presence_penalty": -3}, "presence_penalty", "decimal_below_min_value"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
        ({"max_tokens": 10**30}, "max_tokens", "integer_above_max_value"),
        ({"max_tokens": "5"}, "max_tokens", "invalid_type"),
        ({"max_tokens": 5.5}, "max_tokens", "invalid_type"),
        ({"max_completion_tokens": 2**63}, "max_completion_tokens", "integer_above_max_value"),
        ({"seed": 2**64}, "seed", "integer_above_max_value"),
        ({"seed": -(2**64)}, "seed", "integer_below_min_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 10**6}, "n", "integer_above_max_value"),
        ({"n": True}, "n", "invalid_type"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "array_above_max_length"),
        ({"stop": [1]}, "stop[0]", "invalid_type"),
        ({"stop": 5}, "stop", "invalid_type"),
        ({"stream": "true"}, "stream", "invalid_type"),
        ({"stream": 1}, "stream", "invalid_type"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"stream": True, "stream_options": []}, "stream_options", "invalid_type"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"tools": ["x"]}, "tools[0]", "invalid_type"),
        ({"tool_choice": 5}, "tool_choice", "invalid_type"),
        ({"logit_bias": {"50256": "x"}}, "logit_bias", "invalid_type"),
        ({"top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
        ({"response_format": "json"}, "response_format", "invalid_type"),
    ],
)
def test_the_parameter_at_fault_is_named(more: dict[str, Any], param: str, code: str) -> None:
    error = refusal(body(**more))
    assert (error.param, error.code) == (param, code)
    assert param in error.message or code == "invalid_value"


@pytest.mark.parametrize("name", ["model", "messages"])
def test_what_is_missing_is_named(name: str) -> None:
    whole = json.loads(body())
    del whole[name]
    error = refusal(json.dumps(whole).encode())
    assert (error.param, error.code) == (name, "missing_required_parameter")
    assert error.message == f"Missing required parameter: '{name}'."


def test_numbers_too_large_for_a_float() -> None:
    error = refusal(body().replace(b"{", b'{"temperature":1e999,', 1))
    assert error.param == "temperature"


def test_a_body_of_the_responses_api_is_recognised() -> None:
    error = refusal(b'{"model":"m","input":[{"role":"user","content":"Hi"}]}')
    assert (error.param, error.code) == ("messages", "missing_required_parameter")
    assert error.hint is not None
    assert "'input'" in error.hint


def test_the_last_of_two_equal_keys_wins_everywhere() -> None:
    data = (
        b'{"model":"a","stream":true,"model":"b","stream":false,'
        b'"messages":[{"role":"user","content":"x"}]}'
    )
    request = read_chat(data)
    assert request.model == "b"
    assert bytes(request.fields["model"]) == b'"b"'
    assert request.stream is False
    assert bytes(request.fields["stream"]) == b"false"


@pytest.mark.parametrize(
    "model",
    ["../x", "a\nb", "'; DROP TABLE keys", '{x="y"}', "\u0430cme/one", "\u202e", "a\u0000b"],
)
def test_odd_model_names_are_only_names(model: str) -> None:
    assert read_chat(body(model=model)).model == model


def test_odd_texts_are_kept_byte_for_byte() -> None:
    text = '"\\u0000 \\u200b \u202e \U0001f600 \\n"'
    data = f'{{"model":"m","messages":[{{"role":"user","content":{text}}}]}}'.encode()
    request = read_chat(data)
    assert text.encode() in bytes(request.fields["messages"])
    assert request.messages[0].content == json.loads(text)


def test_many_messages_and_keys() -> None:
    assert len(read_chat(body(messages=[USER] * 10_000)).messages) == 10_000
    keys = {f"key{number}": number for number in range(100_000)}
    assert len(read_chat(body(**keys)).fields) == 100_002


def test_a_number_of_many_digits_is_relayed_as_it_is() -> None:
    digits = b"9" * 1_000_000
    data = b'{"model":"m","messages":[{"role":"user","content":"x"}],"x":' + digits + b"}"
    assert bytes(read_chat(data).fields["x"]) == digits


@pytest.mark.parametrize("role", ["system", "developer", "assistant", "function"])
def test_other_roles_may_be_without_content(role: str) -> None:
    assert read_chat(said(USER, {"role": role, "content": None})).messages[1].role == role


def call(*ids: str) -> dict[str, Any]:
    calls = [
        {"id": one, "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}"}}
        for one in ids
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls, "x": {"kept": [1]}}


def test_a_tool_answer_without_id_belongs_to_the_only_open_call() -> None:
    request = read_chat(said(USER, call("c1"), {"role": "tool", "content": None}))
    assert request.messages[2].tool_call_id == "c1"
    raw = json.loads(bytes(request.fields["messages"]))
    assert raw[2] == {"role": "tool", "content": None, "tool_call_id": "c1"}
    assert raw[1] == call("c1")


def test_the_second_of_two_calls_may_be_left_open() -> None:
    request = read_chat(
        said(
            USER,
            call("c1", "c2"),
            {"role": "tool", "content": "1", "tool_call_id": "c1"},
            {"role": "tool", "content": "2"},
        )
    )
    assert [m.tool_call_id for m in request.messages[2:]] == ["c1", "c2"]


@pytest.mark.parametrize("history", [[], [call("c1", "c2")]])
def test_a_tool_answer_without_id_must_not_be_guessed(history: list[dict[str, Any]]) -> None:
    error = refusal(said(USER, *history, {"role": "tool", "content": "1"}))
    assert error.code == "missing_required_parameter"
    assert error.param == f"messages[{len(history) + 1}].tool_call_id"


def test_the_name_of_our_own_field_is_nothing_special() -> None:
    request = read_chat(body(**{"xrouter.fields": {"a": 1}}))
    assert bytes(request.fields["model"]) == b'"m"'


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        *msgspec.structs.fields(type(read_chat(body()))),
        *msgspec.structs.fields(type(read_chat(body()).messages[0])),
    ]
).map(lambda field: field.encode_name)


def written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(NAMES, JSON, max_size=5),
    st.lists(st.dictionaries(NAMES, JSON, max_size=4), max_size=3) | JSON,
)
def test_any_json_is_read_or_refused(more: dict[str, Any], messages: Any) -> None:
    for data in (
        written(more),
        written({"model": "m", "messages": [USER], **more}),
        written({"model": "m", "messages": messages}),
        written({"model": "m", "input": messages, **more}),
    ):
        for read in (read_chat, read_embeddings):
            try:
                read(data)
            except InvalidRequest as error:
                assert error.message  # noqa: PT017 - both ways out are right


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_chat, read_embeddings):
        with pytest.raises(InvalidRequest):
            read(data)
