"""Calls in JSON, read whole and in pieces of any size."""

from __future__ import annotations

import json

import pytest

from xrouter.domain.answer import AnswerMessage, ChatAnswer, ChatDelta, Choice
from xrouter.providers.llamacpp.emulated import Emulated, Reading

CALLS = '{"tool_calls": [{"name": "f", "arguments": {"a": "}\\""}}, {"name": "g"}]}'
ODD = 'Hi "you" \\ / \n \t \u0007 Привет 👋'


def read(text: str, size: int) -> tuple[str, list[tuple[str, str]]]:
    reading = Reading()
    said = [reading.feed(text[place : place + size]) for place in range(0, len(text), size)]
    said.append(reading.close())
    assert len({call.id for call in reading.calls}) == len(reading.calls)
    return "".join(said), [(call.name, call.arguments) for call in reading.calls]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "text,said",
    [
        (json.dumps({"response": ODD}), ODD),
        (json.dumps({"response": ODD}, ensure_ascii=False), ODD),
        ('\n{ "response" :  "a"\n}\n', "a"),
        ('{"response":""}', ""),
        ('{"response":"cut', "cut"),
        ('{"response":"cut \\u00', "cut "),
        ('{"response":"half \\ud83d"}', "half \ufffd"),
        ('{"response":"odd \\x and long enough"}', 'odd \\x and long enough"}'),
        ('{"response":{"a":[1,"b"]}}', '{"a":[1,"b"]}'),
        ('{"response":5}', "5"),
        ('{"response":{"a"', '{"response":{"a"'),
        ("Plain text", "Plain text"),
        ('{"other": 1}', '{"other": 1}'),
        ("{}", "{}"),
        ("", ""),
        ("  ", "  "),
        ('{"tool_calls": []}', '{"tool_calls": []}'),
        ('{"tool_calls": [5]}', '{"tool_calls": [5]}'),
        ('{"tool_calls": "f"}', '{"tool_calls": "f"}'),
        ('{"tool_calls": [{"name', '{"tool_calls": [{"name'),
        ('{"tool', '{"tool'),
    ],
)
def test_text(text: str, said: str, size: int) -> None:
    assert read(text, size) == (said, [])


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_calls(size: int) -> None:
    assert read(CALLS, size) == ("", [("f", '{"a":"}\\""}'), ("g", "{}")])


def test_a_head_that_does_not_come_is_not_waited_for() -> None:
    assert read(" " * 300 + '{"response":"late"}', 1)[0].endswith('{"response":"late"}')


def test_text_is_told_as_it_comes() -> None:
    reading = Reading()
    assert [reading.feed(piece) for piece in ('{"response": "o', "ne tw", 'o"', "}")] == [
        "o", "ne tw", "o", "",
    ]  # fmt: skip


@pytest.mark.parametrize("finish,expected", [("stop", "tool_calls"), ("length", "length")])
def test_each_alternative_is_read_by_itself(finish: str, expected: str) -> None:
    answer = ChatAnswer(
        [
            Choice(AnswerMessage('{"response":"a"}'), "stop"),
            Choice(AnswerMessage(CALLS), finish, 1),
            Choice(AnswerMessage(None, "thought"), "stop", 2),
        ]
    )
    first, second, third = Emulated().whole(answer).choices
    assert (first.message.content, first.finish_reason) == ("a", "stop")
    assert (second.message.content, second.finish_reason) == (None, expected)
    assert len(second.message.tool_calls or ()) == 2
    assert (third.message.content, third.message.reasoning) == ("", "thought")
    emulated = Emulated()
    deltas = [ChatDelta(0, text='{"resp'), ChatDelta(1, text=CALLS), ChatDelta(0, text='onse":"a')]
    deltas += [ChatDelta(0, finish_reason="stop"), ChatDelta(1, finish_reason=finish)]
    told = emulated.pieces(deltas)
    assert told[:2] == [ChatDelta(0, text="a"), ChatDelta(0, finish_reason="stop")]
    (last,) = told[2:]
    assert last.finish_reason == expected
    assert [(call.index, call.name) for call in last.tool_calls or ()] == [(0, "f"), (1, "g")]
