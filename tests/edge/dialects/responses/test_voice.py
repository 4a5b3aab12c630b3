from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.answer import (
    AnswerMessage,
    ChatAnswer,
    ChatDelta,
    Choice,
    ToolCallDelta,
    Usage,
)
from xrouter.domain.chat import FunctionCall, ToolCall
from xrouter.domain.errors import ContextLengthExceeded, UpstreamFailed, XRouterError
from xrouter.domain.ports import Served
from xrouter.edge.dialects.responses.body import read_body
from xrouter.edge.dialects.responses.reasoning import Thought, unpacked
from xrouter.edge.dialects.responses.request import translate
from xrouter.edge.dialects.responses.voice import Ended, Manner, StreamVoice, WholeVoice
from xrouter.edge.voice import encode
from xrouter.wire.sse import SseParser

SERVED = Served("acme/one", "1", "acme", "primary", 1)
USAGE = Usage(10, 5, cached_tokens=4, reasoning_tokens=2)


def manner(kept: list[Ended], **body: Any) -> Manner:
    read = read_body(encode({"model": "one", "input": "Hi", **body}))
    return Manner("resp_1", read, translate(read, []), kept.append)


def told(
    deltas: list[ChatDelta], error: XRouterError | None = None, **body: Any
) -> list[dict[str, Any]]:
    """The events of a stream; checks what holds for every stream."""
    kept: list[Ended] = []
    voice = StreamVoice(manner(kept, **body))
    raw = voice.start(SERVED)
    for delta in deltas:
        raw += voice.deltas([delta])
    raw += voice.end(USAGE) if error is None else voice.fail(error)
    parser = SseParser()
    pairs = [*parser.feed(raw), *parser.end()]
    events = [msgspec.json.decode(data) for _, data in pairs]
    assert [name for name, _ in pairs] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert len(kept) == 1
    assert events[-1]["response"] == msgspec.json.decode(encode(kept[0].body))
    return events


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events[2:]]


def test_text_comes_in_its_order() -> None:
    events = told([ChatDelta(text="Hel"), ChatDelta(text="lo"), ChatDelta(finish_reason="stop")])
    assert types(events) == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    added, part, first = events[2:5]
    item_id = added["item"]["id"]
    assert added["item"]["status"] == "in_progress"
    assert added["item"]["content"] == []
    assert part["part"] == {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    assert (first["item_id"], first["output_index"], first["content_index"]) == (item_id, 0, 0)
    whole = events[-1]["response"]
    assert whole["status"] == "completed"
    assert whole["model"] == "acme/one"
    (message,) = whole["output"]
    assert message["id"] == item_id
    assert message["content"][0]["text"] == "Hello"
    assert whole["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }


def test_reasoning_is_an_item_before_the_text_and_can_come_back() -> None:
    details = [{"type": "reasoning.text", "text": "hm", "signature": "s"}]
    events = told(
        [
            ChatDelta(reasoning="h"),
            ChatDelta(reasoning="m", extra={"reasoning_details": details}),
            ChatDelta(text="Yes", finish_reason="stop"),
        ],
        include=["reasoning.encrypted_content"],
    )
    assert types(events)[:7] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
    ]
    thinking, message = events[-1]["response"]["output"]
    assert thinking["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert unpacked(thinking["encrypted_content"]) == Thought("hm", details)
    assert message["content"][0]["text"] == "Yes"


def test_a_summary_is_told_to_who_asked_for_one() -> None:
    events = told([ChatDelta(reasoning="hm"), ChatDelta(text="Yes")], reasoning={"summary": "auto"})
    assert types(events)[:6] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    thinking = events[-1]["response"]["output"][0]
    assert thinking["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert "encrypted_content" not in thinking


def test_calls_side_by_side_have_their_places() -> None:
    events = told(
        [
            ChatDelta(text="I look."),
            ChatDelta(tool_calls=[ToolCallDelta(0, "a", "f", '{"x"')]),
            ChatDelta(tool_calls=[ToolCallDelta(1, "b", "g")]),
            ChatDelta(tool_calls=[ToolCallDelta(0, arguments=":1}")]),
            ChatDelta(tool_calls=[ToolCallDelta(1, arguments="{}")]),
            ChatDelta(finish_reason="tool_calls"),
        ]
    )
    pieces = [(e["output_index"], e["delta"]) for e in events if "arguments.delta" in e["type"]]
    assert pieces == [(1, '{"x"'), (1, ":1}"), (2, "{}")]
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    assert [(i["type"], i.get("call_id"), i.get("arguments")) for i in done] == [
        ("message", None, None),
        ("function_call", "a", '{"x":1}'),
        ("function_call", "b", "{}"),
    ]
    added = [e["output_index"] for e in events if e["type"] == "response.output_item.added"]
    assert added == [0, 1, 2]
    assert events[-1]["response"]["status"] == "completed"
    assert done == events[-1]["response"]["output"]


def test_a_custom_tool_is_called_with_its_text() -> None:
    events = told(
        [
            ChatDelta(tool_calls=[ToolCallDelta(0, "a", "patch", '{"input":')]),
            ChatDelta(tool_calls=[ToolCallDelta(0, arguments='"*** Begin"}')]),
            ChatDelta(finish_reason="tool_calls"),
        ],
        tools=[{"type": "custom", "name": "patch"}],
    )
    assert types(events) == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ]
    (call,) = events[-1]["response"]["output"]
    assert (call["type"], call["call_id"], call["input"]) == ("custom_tool_call", "a", "*** Begin")


def test_what_was_cut_is_incomplete() -> None:
    for finish, reason in (("length", "max_output_tokens"), ("content_filter", "content_filter")):
        last = told([ChatDelta(text="Hel", finish_reason=finish)])[-1]
        assert last["type"] == "response.incomplete"
        assert last["response"]["incomplete_details"] == {"reason": reason}
        assert last["response"]["output"][0]["status"] == "incomplete"


def test_a_break_is_a_failed_response() -> None:
    events = told([ChatDelta(text="Hel")], UpstreamFailed("It broke."))
    assert events[-1]["type"] == "response.failed"
    failed = events[-1]["response"]
    assert failed["error"] == {"code": "server_error", "message": "It broke."}
    assert failed["output"][0]["content"][0]["text"] == "Hel"
    assert failed["output"][0]["status"] == "incomplete"
    last = told([], ContextLengthExceeded("Too long."))[-1]
    assert last["response"]["error"]["code"] == "context_length_exceeded"


def test_a_stream_opened_by_a_heartbeat_alone_fails_in_order() -> None:
    voice = StreamVoice(manner([]))
    parser = SseParser()
    names = [name for name, _ in parser.feed(voice.fail(UpstreamFailed("x")))]
    assert names == ["response.created", "response.in_progress", "response.failed"]


def test_a_refusal_is_a_part_of_its_own() -> None:
    events = told(
        [ChatDelta(refusal="No"), ChatDelta(refusal="."), ChatDelta(finish_reason="stop")]
    )
    assert types(events)[2:5] == ["refusal.delta", "refusal.delta", "refusal.done"]
    (message,) = events[-1]["response"]["output"]
    assert message["content"] == [{"type": "refusal", "refusal": "No."}]


def test_a_whole_answer_says_the_same_and_repeats_the_request() -> None:
    kept: list[Ended] = []
    asked = {"temperature": 0.3, "metadata": {"a": "b"}, "instructions": "Be brief."}
    voice = WholeVoice(manner(kept, **asked))
    call = ToolCall("a", function=FunctionCall("f", "{}"))
    message = AnswerMessage(content="Hello", reasoning="hm", tool_calls=[call])
    answer = ChatAnswer([Choice(message, "tool_calls")], USAGE)
    whole = msgspec.json.decode(voice.answer(answer, SERVED))
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message", "function_call"]
    assert {name: whole[name] for name in asked} == asked
    assert (whole["id"], whole["object"], whole["store"]) == ("resp_1", "response", True)
    assert whole["tool_choice"] == "auto"
    assert len(kept) == 1
