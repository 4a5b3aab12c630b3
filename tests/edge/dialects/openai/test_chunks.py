from __future__ import annotations

import json
from typing import Any

import pytest

from xrouter.domain.answer import AnswerMeta, ChatDelta, ToolCallDelta, Usage
from xrouter.domain.chat import FunctionCall
from xrouter.domain.errors import UpstreamTimeout
from xrouter.edge.dialects.openai.chunks import DONE, ChunkWriter


def writer(*, usage: bool = False) -> ChunkWriter:
    return ChunkWriter("chatcmpl-1", 1700000000, "m", with_usage=usage)


def parsed(frames: bytes) -> list[dict[str, Any]]:
    pieces = frames.decode().removesuffix("\n\n").split("\n\n") if frames else []
    assert all(piece.startswith("data: ") and "\n" not in piece for piece in pieces)
    return [json.loads(piece.removeprefix("data: ")) for piece in pieces]


def choices(frames: bytes) -> list[tuple[int, dict[str, Any], str | None]]:
    found = []
    for chunk in parsed(frames):
        (choice,) = chunk["choices"]
        found.append((choice["index"], choice["delta"], choice["finish_reason"]))
    return found


def test_the_exact_bytes_of_a_text_stream() -> None:
    chunks = writer()
    head = (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk",'
        b'"created":1700000000,"model":"m",'
    )
    open_end = b',"logprobs":null,"finish_reason":null}]}\n\n'
    assert chunks.frames([ChatDelta(text='\u041f"\n')]) == (
        head
        + b'"choices":[{"index":0,"delta":{"role":"assistant","content":""}'
        + open_end
        + head
        + b'"choices":[{"index":0,"delta":{"content":"\xd0\x9f\\"\\n"}'
        + open_end
    )
    assert chunks.frames([ChatDelta(text="x", finish_reason="length")]) == (
        head
        + b'"choices":[{"index":0,"delta":{"content":"x"}'
        + open_end
        + head
        + b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}\n\n'
    )
    assert chunks.end(Usage(1, 2)) == b"data: [DONE]\n\n"


def test_usage_comes_last_and_is_null_before() -> None:
    chunks = writer(usage=True)
    before = parsed(chunks.frames([ChatDelta(text="x"), ChatDelta(finish_reason="stop")]))
    assert [chunk["usage"] for chunk in before] == [None, None, None]
    end = chunks.end(Usage(3, 4, cached_tokens=2, reasoning_tokens=1))
    assert end.endswith(b"\n\n" + DONE)
    (last,) = parsed(end.removesuffix(DONE))
    assert last == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m",
        "choices": [],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


def test_no_usage_was_counted() -> None:
    assert writer(usage=True).end(None) == DONE


def test_an_empty_answer_still_has_a_role_and_an_end() -> None:
    assert choices(writer().frames([ChatDelta(finish_reason="stop")])) == [
        (0, {"role": "assistant", "content": ""}, None),
        (0, {}, "stop"),
    ]


@pytest.mark.parametrize(
    "delta", [ChatDelta(), ChatDelta(text=""), ChatDelta(usage=Usage(1, 1)), ChatDelta(extra={})]
)
def test_what_says_nothing_is_not_sent(delta: ChatDelta) -> None:
    assert writer().frames([delta]) == b""


def test_tool_calls_name_themselves_once() -> None:
    chunks = writer()
    deltas = [
        ChatDelta(
            tool_calls=[
                ToolCallDelta(0, "c0", "f"),
                ToolCallDelta(0, None, None, '{"a"'),
                ToolCallDelta(1, "c1", "g", "{}"),
            ]
        ),
        ChatDelta(tool_calls=[ToolCallDelta(0, None, None, ":1}")], finish_reason="tool_calls"),
    ]
    assert choices(chunks.frames(deltas)) == [
        (0, {"role": "assistant", "content": None}, None),
        (0, {"tool_calls": [{"index": 0, "id": "c0", "type": "function",
                             "function": {"name": "f", "arguments": ""}}]}, None),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}, None),
        (0, {"tool_calls": [{"index": 1, "id": "c1", "type": "function",
                             "function": {"name": "g", "arguments": "{}"}}]}, None),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}, None),
        (0, {}, "tool_calls"),
    ]  # fmt: skip


def test_calls_of_custom_tools_have_a_type_and_an_input() -> None:
    deltas = [
        ChatDelta(tool_calls=[ToolCallDelta(0, "c0", "sql", "", custom=True)]),
        ChatDelta(
            tool_calls=[
                ToolCallDelta(0, None, None, "select 1", custom=True),
                ToolCallDelta(1, "c1", "f", "{}"),
            ]
        ),
    ]
    assert [delta for _, delta, _ in choices(writer().frames(deltas))] == [
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 0, "id": "c0", "type": "custom",
                         "custom": {"name": "sql", "input": ""}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "select 1"}}]},
        {"tool_calls": [{"index": 1, "id": "c1", "type": "function",
                         "function": {"name": "f", "arguments": "{}"}}]},
    ]  # fmt: skip


FILTERED = {"content_filter_results": {"hate": {"filtered": False}}}
TWO_CALLS = [ToolCallDelta(0, "c0", "f"), ToolCallDelta(1, "c1", "g")]
LIKELY = {"content": [{"token": "x", "logprob": -0.1}]}


@pytest.mark.parametrize(
    "delta,where",
    [
        (ChatDelta(text="a", choice_extra=FILTERED), 0),
        (ChatDelta(reasoning="a", choice_extra=FILTERED), 0),
        (ChatDelta(logprobs=LIKELY, choice_extra=FILTERED), 0),
        (ChatDelta(tool_calls=TWO_CALLS, choice_extra=FILTERED), 0),
        (ChatDelta(text="a", tool_calls=TWO_CALLS, choice_extra=FILTERED), 0),
        (ChatDelta(choice_extra=FILTERED), 0),
        (ChatDelta(finish_reason="stop", choice_extra=FILTERED), 0),
        (ChatDelta(text="a", finish_reason="stop", choice_extra=FILTERED), 1),
        (ChatDelta(tool_calls=TWO_CALLS, finish_reason="stop", choice_extra=FILTERED), 2),
    ],
)
def test_further_fields_of_a_choice_are_told_once(delta: ChatDelta, where: int) -> None:
    role, *chunks = parsed(writer().frames([delta]))
    assert role["choices"][0].keys() == {"index", "delta", "logprobs", "finish_reason"}
    found = [chunk["choices"][0].get("content_filter_results") for chunk in chunks]
    expected: list[Any] = [None] * len(chunks)
    expected[where] = FILTERED["content_filter_results"]
    assert found == expected


def test_further_fields_of_a_choice_never_replace_ours() -> None:
    extra = {"index": 7, "delta": {}, "logprobs": 1, "finish_reason": "odd", "stop_reason": 3}
    deltas = [ChatDelta(text="a", choice_extra=extra), ChatDelta(finish_reason="length")]
    _, text, end = (chunk["choices"][0] for chunk in parsed(writer().frames(deltas)))
    assert text == {
        "index": 0,
        "delta": {"content": "a"},
        "logprobs": None,
        "finish_reason": None,
        "stop_reason": 3,
    }
    assert end["finish_reason"] == "length"
    assert "stop_reason" not in end


def test_reasoning_has_both_names() -> None:
    assert choices(writer().frames([ChatDelta(reasoning="hm")])) == [
        (0, {"role": "assistant", "content": ""}, None),
        (0, {"reasoning_content": "hm", "reasoning": "hm"}, None),
    ]


def test_refusal_legacy_call_logprobs_and_further_fields() -> None:
    chunks = writer()
    logprobs = {"content": [{"token": "x", "logprob": -0.1}]}
    frames = chunks.frames(
        [
            ChatDelta(refusal="no"),
            ChatDelta(legacy_call=FunctionCall("f", "{")),
            ChatDelta(legacy_call=FunctionCall("", "}")),
            ChatDelta(text="x", logprobs=logprobs),
            ChatDelta(text="y", extra={"annotations": [1], "content": "z", "role": "r"}),
        ]
    )
    assert [delta for _, delta, _ in choices(frames)] == [
        {"role": "assistant", "content": ""},
        {"refusal": "no"},
        {"function_call": {"name": "f", "arguments": "{"}},
        {"function_call": {"arguments": "}"}},
        {"content": "x"},
        {"annotations": [1], "content": "y"},
    ]
    assert parsed(frames)[4]["choices"][0]["logprobs"] == logprobs


def test_several_choices_begin_in_order_and_have_their_own_role_and_end() -> None:
    deltas = [
        ChatDelta(choice=1, text="b"),
        ChatDelta(choice=0, text="a"),
        ChatDelta(choice=1, finish_reason="stop"),
        ChatDelta(choice=0, finish_reason="length"),
    ]
    assert choices(writer().frames(deltas)) == [
        (0, {"role": "assistant", "content": ""}, None),
        (1, {"role": "assistant", "content": ""}, None),
        (1, {"content": "b"}, None),
        (0, {"content": "a"}, None),
        (1, {}, "stop"),
        (0, {}, "length"),
    ]


def test_further_top_level_fields_never_replace_ours() -> None:
    chunks = writer()
    extra = {"service_tier": "flex", "id": "x", "model": "y", "choices": 1, "usage": 2, "error": 3}
    frames = chunks.frames([ChatDelta(text="a", meta=AnswerMeta(fingerprint="fp", extra=extra))])
    frames += chunks.frames([ChatDelta(text="b"), ChatDelta(choice=1, text="c")])
    for chunk in parsed(frames):
        assert chunk["id"] == "chatcmpl-1"
        assert chunk["model"] == "m"
        assert chunk["system_fingerprint"] == "fp"
        assert chunk["service_tier"] == "flex"
        assert isinstance(chunk["choices"], list)
        assert chunk.keys().isdisjoint({"usage", "error"})


def test_what_comes_with_the_finish_is_in_the_finish_chunk() -> None:
    chunks = writer()
    meta = AnswerMeta(extra={"timings": {"predicted_n": 2}})
    before = parsed(chunks.frames([ChatDelta(text="a")]))
    (end,) = parsed(chunks.frames([ChatDelta(finish_reason="stop", meta=meta)]))
    assert all("timings" not in chunk for chunk in before)
    assert end["timings"] == {"predicted_n": 2}


def test_what_comes_after_the_finish_is_in_the_usage_chunk_if_there_is_one() -> None:
    late = ChatDelta(usage=Usage(1, 2), meta=AnswerMeta(extra={"timings": {"predicted_n": 2}}))
    silent, counting = writer(), writer(usage=True)
    for chunks in (silent, counting):
        chunks.frames([ChatDelta(text="a", finish_reason="stop")])
        assert chunks.frames([late]) == b""
    (last,) = parsed(counting.end(late.usage).removesuffix(DONE))
    assert last["choices"] == []
    assert last["timings"] == {"predicted_n": 2}
    assert silent.end(late.usage) == DONE


def test_the_name_of_the_model_may_come_late() -> None:
    chunks = writer()
    chunks.name("acme/one")
    assert {c["model"] for c in parsed(chunks.frames([ChatDelta(text="a")]))} == {"acme/one"}


def test_a_broken_stream_says_so_and_ends() -> None:
    chunks = writer(usage=True)
    chunks.frames([ChatDelta(text="a")])
    frames = chunks.fail(UpstreamTimeout("Too slow.", hint="For the operator: wait."))
    assert frames.endswith(DONE)
    (frame,) = parsed(frames.removesuffix(DONE))
    assert frame == {
        "error": {
            "message": "Too slow.",
            "type": "server_error",
            "param": None,
            "code": "upstream_timeout",
        },
    }
