from __future__ import annotations

import json
from typing import Any

from xrouter.domain.answer import AnswerMessage, AnswerMeta, ChatAnswer, Choice, Usage
from xrouter.domain.chat import ChatRequest, FunctionCall, Message, ToolCall
from xrouter.domain.ports import Served
from xrouter.edge.dialects.openai.codec import chat_voice

SERVED = Served("acme/one", "1", "acme", "primary", 1)
REQUEST = ChatRequest(model="asked", messages=[Message("user", "Hi")])


def told(answer: ChatAnswer) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(chat_voice(REQUEST, "01X").answer(answer, SERVED))
    assert isinstance(body.pop("created"), int)
    return body


def test_a_text() -> None:
    answer = ChatAnswer(
        [Choice(AnswerMessage(content="Hi"), "stop")],
        Usage(3, 4),
        AnswerMeta(model="one-0613", fingerprint="fp"),
    )
    assert told(answer) == {
        "id": "chatcmpl-01X",
        "object": "chat.completion",
        "model": "acme/one",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hi",
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        "system_fingerprint": "fp",
    }


def test_tool_calls_and_no_text() -> None:
    calls = [
        ToolCall("c1", "function", FunctionCall("f", '{"a":1}')),
        ToolCall("c2", "custom", None, {"name": "g", "input": "x"}),
    ]
    body = told(ChatAnswer([Choice(AnswerMessage(tool_calls=calls), "tool_calls")]))
    assert "usage" not in body
    message = body["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}},
    ]


def test_no_empty_list_of_calls() -> None:
    body = told(ChatAnswer([Choice(AnswerMessage(content="x", tool_calls=[]), "stop")]))
    assert "tool_calls" not in body["choices"][0]["message"]


def test_reasoning_refusal_and_the_legacy_call() -> None:
    message = AnswerMessage(
        reasoning="hm", refusal="no", function_call=FunctionCall("f", "{}"), content=""
    )
    assert told(ChatAnswer([Choice(message, "function_call")]))["choices"][0]["message"] == {
        "role": "assistant",
        "content": "",
        "refusal": "no",
        "annotations": [],
        "reasoning_content": "hm",
        "reasoning": "hm",
        "function_call": {"name": "f", "arguments": "{}"},
    }


def test_several_choices_with_logprobs() -> None:
    answer = ChatAnswer(
        [
            Choice(AnswerMessage(content="a"), "stop", 0, {"content": []}),
            Choice(AnswerMessage(content="b"), "length", 1),
        ]
    )
    found = told(answer)["choices"]
    assert [c["index"] for c in found] == [0, 1]
    assert [c["finish_reason"] for c in found] == ["stop", "length"]
    assert [c["logprobs"] for c in found] == [{"content": []}, None]


def test_further_fields_stand_beside_ours_and_never_replace_them() -> None:
    message = AnswerMessage(
        content="a", extra={"annotations": [{"x": 1}], "audio": {"id": "1"}, "content": "b"}
    )
    extra = {"service_tier": "flex", "id": "x", "object": "y", "model": "z", "choices": []}
    body = told(ChatAnswer([Choice(message, "stop")], None, AnswerMeta(extra=extra)))
    assert body["service_tier"] == "flex"
    assert (body["id"], body["object"], body["model"]) == (
        "chatcmpl-01X",
        "chat.completion",
        "acme/one",
    )
    told_message = body["choices"][0]["message"]
    assert told_message["content"] == "a"
    assert told_message["annotations"] == [{"x": 1}]
    assert told_message["audio"] == {"id": "1"}


def test_further_fields_of_a_choice_stand_beside_ours_and_never_replace_them() -> None:
    extra = {"stop_reason": 7, "index": 9, "finish_reason": "odd", "message": None}
    choices = [
        Choice(AnswerMessage(content="a"), "stop", 0, extra=extra),
        Choice(AnswerMessage(content="b"), "length", 1),
    ]
    first, second = told(ChatAnswer(choices))["choices"]
    assert (first["stop_reason"], first["index"], first["finish_reason"]) == (7, 0, "stop")
    assert first["message"]["content"] == "a"
    assert second.keys() == {"index", "message", "logprobs", "finish_reason"}
