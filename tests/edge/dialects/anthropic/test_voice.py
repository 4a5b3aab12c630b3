from __future__ import annotations

from typing import Any

import msgspec
import pytest

from xrouter.domain.answer import (
    AnswerMessage,
    ChatAnswer,
    ChatDelta,
    Choice,
    ToolCallDelta,
    Usage,
)
from xrouter.domain.chat import FunctionCall, ToolCall
from xrouter.domain.errors import UpstreamFailed, XRouterError
from xrouter.domain.ports import Served
from xrouter.edge.dialects.anthropic.thoughts import detail_of
from xrouter.edge.dialects.anthropic.voice import Manner, StreamVoice, WholeVoice
from xrouter.telemetry.logs import log
from xrouter.wire.sse import SseParser

SERVED = Served("acme/one", "1", "acme", "primary", 1)
USAGE = Usage(10, 5, cached_tokens=4, reasoning_tokens=2, cache_write_tokens=3)
FORMAT = "anthropic-claude-v1"


def told(
    *deltas: ChatDelta, error: XRouterError | None = None, stops: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """The events of a stream; checks what holds for every stream."""
    voice = StreamVoice(Manner("1", "req_1", stops=stops))
    raw = voice.start(SERVED)
    for delta in deltas:
        raw += voice.deltas([delta])
    raw += voice.end(USAGE) if error is None else voice.fail(error)
    parser = SseParser()
    pairs = [*parser.feed(raw), *parser.end()]
    events = [msgspec.json.decode(data) for _, data in pairs]
    assert [name for name, _ in pairs] == [event["type"] for event in events]
    assert [event["type"] for event in events[:2]] == ["message_start", "ping"]
    check_blocks(events)
    return events


def check_blocks(events: list[dict[str, Any]]) -> None:
    """Blocks are numbered from 0 and never interleave."""
    current: int | None = None
    count = 0
    for event in events:
        if event["type"] == "content_block_start":
            assert current is None
            assert event["index"] == count
            current, count = count, count + 1
        elif event["type"] == "content_block_delta":
            assert event["index"] == current
        elif event["type"] == "content_block_stop":
            assert event["index"] == current
            current = None


def blocks(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The content as a client puts it together."""
    content: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            content.append({**event["content_block"], "pieces": []})
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], content[-1]
            match delta["type"]:
                case "input_json_delta":
                    block["pieces"].append(delta["partial_json"])
                case "signature_delta":
                    block["signature"] = delta["signature"]
                case kind:
                    name = kind.removesuffix("_delta")
                    block[name] += delta[name]
    for block in content:
        pieces = block.pop("pieces")
        if block["type"] == "tool_use" and pieces:
            block["input"] = msgspec.json.decode("".join(pieces))
    return content


def whole(answer: ChatAnswer, stops: tuple[str, ...] = ()) -> dict[str, Any]:
    voice = WholeVoice(Manner("1", "req_1", stops=stops))
    said: dict[str, Any] = msgspec.json.decode(voice.answer(answer, SERVED))
    return said


def one(message: AnswerMessage, finish: str = "stop", **more: Any) -> ChatAnswer:
    return ChatAnswer([Choice(message, finish, **more)], USAGE)


def details(*given: dict[str, Any]) -> dict[str, Any]:
    return {"reasoning_details": list(given)}


def signed(text: str, signature: str | None = "sig") -> dict[str, Any]:
    return {"type": "reasoning.text", "text": text, "signature": signature, "format": FORMAT}


def thinking(text: str, signature: str = "sig") -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def test_text_comes_in_its_order() -> None:
    events = told(ChatDelta(text="Hel"), ChatDelta(text="lo"), ChatDelta(finish_reason="stop"))
    assert events == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "acme/one",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 0,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0,
                    "output_tokens": 1,
                },
            },
        },
        {"type": "ping"},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hel"},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {
                "input_tokens": 3,
                "cache_creation_input_tokens": 3,
                "cache_read_input_tokens": 4,
                "output_tokens": 5,
                "output_tokens_details": {"thinking_tokens": 2},
            },
        },
        {"type": "message_stop"},
    ]


def test_an_answer_without_content() -> None:
    events = told(ChatDelta(finish_reason="stop"))
    assert [event["type"] for event in events[2:]] == ["message_delta", "message_stop"]
    assert whole(one(AnswerMessage()))["content"] == []


def test_a_whole_answer() -> None:
    calls = [
        ToolCall("a", function=FunctionCall("f", '{"x":1}')),
        ToolCall("b", function=FunctionCall("g", "")),
    ]
    message = AnswerMessage(content="Hello", reasoning="hm", tool_calls=calls)
    assert whole(one(message, "tool_calls")) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "acme/one",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 4,
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 2},
        },
    }


def test_only_one_alternative_is_told() -> None:
    events = told(ChatDelta(text="A"), ChatDelta(choice=1, text="B", finish_reason="length"))
    assert blocks(events) == [{"type": "text", "text": "A"}]
    assert events[-2]["delta"]["stop_reason"] == "end_turn"


def test_calls_side_by_side_wait_for_their_turn() -> None:
    events = told(
        ChatDelta(text="I look."),
        ChatDelta(tool_calls=[ToolCallDelta(0, "a", "f", '{"x"')]),
        ChatDelta(tool_calls=[ToolCallDelta(1, "b", "g", '{"y"')]),
        ChatDelta(tool_calls=[ToolCallDelta(0, arguments=":1}")]),
        ChatDelta(tool_calls=[ToolCallDelta(1, arguments=":2"), ToolCallDelta(2, "c", "h")]),
        ChatDelta(tool_calls=[ToolCallDelta(1, arguments="}")]),
        ChatDelta(finish_reason="tool_calls"),
    )
    assert blocks(events) == [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {"y": 2}},
        {"type": "tool_use", "id": "c", "name": "h", "input": {}},
    ]
    pieces = [
        (event["index"], event["delta"]["partial_json"])
        for event in events
        if event.get("delta", {}).get("type") == "input_json_delta"
    ]
    assert pieces == [(1, '{"x"'), (1, ":1}"), (2, '{"y":2'), (2, "}")]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_calls_one_after_the_other_are_told_at_once() -> None:
    voice = StreamVoice(Manner("1", "req_1"))
    voice.start(SERVED)
    voice.deltas([ChatDelta(tool_calls=[ToolCallDelta(0, "a", "f", '{"x":1}')])])
    frames = voice.deltas([ChatDelta(tool_calls=[ToolCallDelta(1, "b", "g")])])
    assert b'"content_block_stop","index":0' in frames
    assert b'"name":"g"' in frames


def test_text_between_calls_waits_for_them() -> None:
    events = told(
        ChatDelta(tool_calls=[ToolCallDelta(0, "a", "f", '{"x"')]),
        ChatDelta(text="Well"),
        ChatDelta(tool_calls=[ToolCallDelta(0, arguments=":1}")]),
        ChatDelta(text=" done", finish_reason="stop"),
    )
    assert blocks(events) == [
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "text", "text": "Well done"},
    ]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_text_after_a_whole_call_is_told_at_once() -> None:
    voice = StreamVoice(Manner("1", "req_1"))
    voice.start(SERVED)
    voice.deltas([ChatDelta(tool_calls=[ToolCallDelta(0, "a", "f", '{"x":1}')])])
    assert b'"text":"So"' in voice.deltas([ChatDelta(text="So")])


def test_a_call_without_an_id_gets_one() -> None:
    [call] = blocks(told(ChatDelta(tool_calls=[ToolCallDelta(0, None, "f", "{}")])))
    assert call["id"].startswith("toolu_")


@pytest.mark.parametrize("arguments", ['{"x":', "[1]", "nonsense", '"x"'])
def test_input_that_is_no_object_is_empty_and_logged(arguments: str) -> None:
    call = ToolCall("a", function=FunctionCall("f", arguments))
    with log.captured() as events:
        said = whole(one(AnswerMessage(tool_calls=[call]), "length"))
    assert said["content"][0]["input"] == {}
    assert len(events) == 1
    assert arguments not in str(events)


def test_thinking_is_signed_at_its_end() -> None:
    events = told(
        ChatDelta(reasoning="h"),
        ChatDelta(reasoning="m"),
        ChatDelta(extra=details(signed("hm"))),
        ChatDelta(reasoning="more"),
        ChatDelta(text="Yes", extra=details(signed("more", "two"))),
    )
    assert [event["type"] for event in events[2:8]] == [
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
    ]
    assert events[5]["delta"] == {"type": "signature_delta", "signature": "sig"}
    assert blocks(events) == [
        thinking("hm"),
        thinking("more", "two"),
        {"type": "text", "text": "Yes"},
    ]


def test_thinking_in_a_whole_answer_keeps_its_parts() -> None:
    sealed = {"type": "reasoning.encrypted", "data": "xyz", "format": FORMAT}
    message = AnswerMessage(
        content="Yes", reasoning="onetwo", extra=details(signed("one"), sealed, signed("two", "s2"))
    )
    assert whole(one(message))["content"] == [
        thinking("one"),
        {"type": "redacted_thinking", "data": "xyz"},
        thinking("two", "s2"),
        {"type": "text", "text": "Yes"},
    ]


def test_objects_that_only_repeat_the_thinking_do_not_double_it() -> None:
    plain = {"type": "reasoning.text", "text": "hm"}
    for deltas in (
        [ChatDelta(reasoning="hm"), ChatDelta(text="Yes", extra=details(plain))],
        [ChatDelta(reasoning="hm"), ChatDelta(text="Yes"), ChatDelta(extra=details(plain))],
        [ChatDelta(reasoning="hm", extra=details(plain)), ChatDelta(text="Yes")],
    ):
        content = blocks(told(*deltas))
        assert content == [thinking("hm", ""), {"type": "text", "text": "Yes"}]
    message = AnswerMessage(content="Yes", reasoning="hm", extra=details(plain))
    assert whole(one(message))["content"] == [thinking("hm", ""), {"type": "text", "text": "Yes"}]


def test_a_late_signature_has_a_block_of_its_own() -> None:
    content = blocks(
        told(ChatDelta(reasoning="hm"), ChatDelta(text="Yes"), ChatDelta(extra=details(signed(""))))
    )
    assert content == [thinking("hm", ""), {"type": "text", "text": "Yes"}, thinking("")]


def test_another_providers_objects_come_back_as_they_were() -> None:
    foreign = {"format": "openai-responses-v1", "index": 0, "id": "rs_1"}
    pieces = [
        {"type": "reasoning.summary", "summary": "one ", **foreign},
        {"type": "reasoning.summary", "summary": "two", **foreign},
    ]
    sealed = {"type": "reasoning.encrypted", "data": "xyz", **foreign}
    content = blocks(
        told(
            ChatDelta(reasoning="one ", extra=details(pieces[0])),
            ChatDelta(reasoning="two", extra=details(pieces[1])),
            ChatDelta(extra=details(sealed)),
            ChatDelta(text="Yes"),
        )
    )
    assert [block["type"] for block in content] == ["thinking", "redacted_thinking", "text"]
    assert content[0]["thinking"] == "one two"
    assert detail_of(content[0]) == {
        "type": "reasoning.summary",
        "summary": "one two",
        **foreign,
    }
    assert detail_of(content[1]) == sealed
    odd = {"type": "reasoning.server_tool_call", "tool_name": "x"}
    assert detail_of(blocks(told(ChatDelta(extra=details(odd))))[0]) == odd


@pytest.mark.parametrize("given", ["xr1.", "xr1.%%", "xr1.aGk=", "xr1.W10=", "other"])
def test_a_seal_that_is_not_ours_is_passed_on(given: str) -> None:
    sealed = detail_of({"type": "redacted_thinking", "data": given})
    assert sealed == {"type": "reasoning.encrypted", "data": given, "format": FORMAT}
    text = detail_of(thinking("hm", given))
    assert text == signed("hm", given)


def test_objects_that_are_none_are_passed_over() -> None:
    for odd in (None, "x", [5, None]):
        assert blocks(told(ChatDelta(text="A", extra={"reasoning_details": odd}))) == [
            {"type": "text", "text": "A"}
        ]


@pytest.mark.parametrize(
    "finish,extra,stops,reason,sequence",
    [
        ("stop", None, (), "end_turn", None),
        ("stop", None, ("X",), "end_turn", None),
        ("length", None, (), "max_tokens", None),
        ("content_filter", None, (), "refusal", None),
        ("stop", {"stop_reason": "X"}, ("X", "Y"), "stop_sequence", "X"),
        ("stop", {"stop_reason": 128001}, ("X",), "end_turn", None),
        ("stop", {"stop_reason": "Z"}, ("X",), "end_turn", None),
        ("length", {"stop_reason": "X"}, ("X",), "max_tokens", None),
        ("stop", {"native_finish_reason": "stop_sequence"}, ("X",), "stop_sequence", "X"),
        ("stop", {"native_finish_reason": "stop_sequence"}, ("X", "Y"), "stop_sequence", None),
        ("stop", {"native_finish_reason": "pause_turn"}, (), "pause_turn", None),
        ("stop", {"native_finish_reason": "STOP"}, (), "end_turn", None),
        ("stop", {"native_finish_reason": 5}, (), "end_turn", None),
        (
            "length",
            {"native_finish_reason": "model_context_window_exceeded"},
            (),
            "model_context_window_exceeded",
            None,
        ),
    ],
)
def test_reasons_to_stop(
    finish: str,
    extra: dict[str, Any] | None,
    stops: tuple[str, ...],
    reason: str,
    sequence: str | None,
) -> None:
    last = ChatDelta(finish_reason=finish, choice_extra=extra)
    end = told(ChatDelta(text="A"), last, stops=stops)[-2]["delta"]
    assert (end["stop_reason"], end["stop_sequence"]) == (reason, sequence)
    said = whole(one(AnswerMessage(content="A"), finish, extra=extra), stops)
    assert (said["stop_reason"], said["stop_sequence"]) == (reason, sequence)
    nothing = {"type": "refusal", "category": None, "explanation": None}
    assert end.get("stop_details") == said.get("stop_details")
    assert end.get("stop_details") == (nothing if reason == "refusal" else None)


def test_a_forced_call_ends_with_its_reason() -> None:
    """OpenAI says `stop` there."""
    call = ToolCall("a", function=FunctionCall("f", "{}"))
    assert whole(one(AnswerMessage(tool_calls=[call]), "stop"))["stop_reason"] == "tool_use"


def test_a_refusal_is_text_and_a_reason() -> None:
    said = whole(one(AnswerMessage(refusal="No.")))
    assert said["content"] == [{"type": "text", "text": "No."}]
    assert said["stop_reason"] == "refusal"


def test_a_break_is_an_error_event() -> None:
    events = told(ChatDelta(text="Hel"), error=UpstreamFailed("It broke."))
    assert events[-1] == {
        "type": "error",
        "error": {
            "type": "api_error",
            "message": "It broke.",
            "param": None,
            "code": "upstream_error",
            "details": {"error_code": "upstream_error"},
        },
        "request_id": "req_1",
    }
    assert events[-2]["type"] == "content_block_delta"


def test_the_end_has_a_usage_where_none_was_told() -> None:
    voice = StreamVoice(Manner("1", "req_1"))
    voice.start(SERVED)
    name, _, data = voice.end(None).decode().partition("\n")
    assert name == "event: message_delta"
    told = msgspec.json.decode(data.removeprefix("data: ").partition("\n")[0])
    assert told["usage"].items() >= {"input_tokens": 0, "output_tokens": 0}.items()


def test_usage_never_falls_below_nothing() -> None:
    said = whole(ChatAnswer([Choice(AnswerMessage(content="A"), "stop")], Usage(3, 1, 5)))
    assert said["usage"]["input_tokens"] == 0
    assert whole(ChatAnswer([Choice(AnswerMessage(), "stop")]))["usage"]["output_tokens"] == 0
