"""What the client wrote is what goes out, to the byte."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from msgspec import Raw

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest
from xrouter.providers.shapes.openai_body import Habits, chat_body, habits_of

Read = Callable[[bytes], ChatRequest]

ODD = {
    "big": b"123456789012345678901234567890",
    "float": b"1.10",
    "exponent": b"1E+2",
    "escaped": b'"\\u0041\\/ \\ud83d\\ude00"',
    "nested": b'{"b": 1,  "a":[ 1 , {"z":null} ]}',
    "seed": b"-0",
    "temperature": b"1.0",
    "messages": b'[ {"role":"user", "content":"\xd0\x9f\\u00e9", "x": 1.0} ]',
}


def sent(read: Read, body: bytes, habits: Habits | None = None) -> tuple[dict[str, Raw], list[str]]:
    fields, dropped = chat_body(read(body), "up-1", habits or Habits())
    return msgspec.json.decode(msgspec.json.encode(fields), type=dict[str, Raw]), dropped


def test_values_go_out_byte_for_byte(read_request: Read) -> None:
    members = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in ODD.items())
    fields, dropped = sent(read_request, b'{"model":"p/m",%b}' % members)
    assert bytes(fields.pop("model")) == b'"up-1"'
    assert {name: bytes(raw) for name, raw in fields.items()} == ODD
    assert list(fields) == list(ODD)
    assert dropped == []


def test_tools_that_need_no_repair_stay_as_they_are(read_request: Read) -> None:
    tools = b'[{"type": "function", "function": {"name":"f", "parameters":{"minimum":1.0}}}]'
    body = b'{"model":"m","messages":[{"role":"user"}],"tools":%b,"tool_choice": "auto"}' % tools
    fields, _ = sent(read_request, body)
    assert bytes(fields["tools"]) == tools
    assert bytes(fields["tool_choice"]) == b'"auto"'


def test_tools_filtered_for_a_choice_stay_as_they_are(read_request: Read) -> None:
    one = b'{"type":"function","function":{"name":"f", "parameters":{"minimum":1.0}}}'
    two = b'{"type":"function","function":{"name":"g"}}'
    body = (
        b'{"model":"m","messages":[{"role":"user"}],"tools":[%b,%b],'
        b'"tool_choice":{"type":"function","function":{"name":"f"}}}' % (one, two)
    )
    fields, dropped = sent(read_request, body, Habits(narrows_tools=True))
    assert bytes(fields["tools"]) == b"[%b]" % one
    assert dropped == ["tool_choice"]


@pytest.mark.parametrize(
    "given, expected",
    [
        (b"", b'{"include_usage":true}'),
        (b',"stream_options":null', b'{"include_usage":true}'),
        (
            b',"stream_options":{"include_usage":false,"x":1.0}',
            b'{"include_usage":true,"x":1.0}',
        ),
    ],
)
def test_usage_is_always_asked_for(read_request: Read, given: bytes, expected: bytes) -> None:
    body = b'{"model":"m","messages":[{"role":"user"}],"stream":true%b}' % given
    fields, _ = sent(read_request, body)
    assert bytes(fields["stream_options"]) == expected


def test_nothing_is_added_to_a_call_that_is_not_streamed(read_request: Read) -> None:
    body = b'{"model":"up-1","messages":[{"role":"user"}],"stream":false}'
    fields, _ = sent(read_request, body)
    assert msgspec.json.encode(fields) == body


def test_the_request_itself_is_not_changed(read_request: Read) -> None:
    """It may be encoded again for another target."""
    request = read_request(b'{"model":"p/m","messages":[{"role":"user"}],"stream":true,"n":2}')
    before = dict(request.fields)
    chat_body(request, "up-1", Habits(limit_field="max_tokens", ignored=frozenset({"n"})))
    assert request.fields == before


@pytest.mark.parametrize(
    "given, name, expected",
    [
        (b'"max_tokens":3', "max_completion_tokens", 3),
        (b'"max_tokens":3,"max_completion_tokens":4', "max_tokens", 4),
        (b'"max_tokens":null', "max_tokens", None),
    ],
)
def test_the_limit_has_one_name(
    read_request: Read, given: bytes, name: str, expected: int | None
) -> None:
    body = b'{"model":"m","messages":[{"role":"user"}],%b}' % given
    fields, _ = sent(read_request, body, Habits(limit_field=name))
    limits = {n: msgspec.json.decode(raw) for n, raw in fields.items() if n.startswith("max_")}
    assert limits == ({} if expected is None else {name: expected})


@pytest.mark.parametrize(
    "options, param",
    [
        ({"limit_field": "tokens"}, "options.limit_field"),
        ({"include_usage": "no"}, "options.include_usage"),
        ({"tool_choice": "x"}, "options.tool_choice"),
        ({"ignored": "n messages"}, "options.ignored"),
    ],
)
def test_wrong_options_are_named(options: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        habits_of(options)
    assert raised.value.param == param
