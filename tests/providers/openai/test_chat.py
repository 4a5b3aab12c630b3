"""Reading answers and streams: what golden cases cannot enumerate."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xrouter.domain.answer import FINISH_REASONS, ChatDelta
from xrouter.domain.errors import UpstreamError, UpstreamMalformed, XRouterError
from xrouter.providers.shapes.openai_answer import finish_of, message_of, usage_of
from xrouter.providers.shapes.openai_chat import OpenAIChat
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import WireReply, WireRequest


def exchange() -> OpenAIChat:
    return OpenAIChat(WireRequest("POST", "http://h/v1/chat/completions"), ErrorReader([]))


def chunk(delta: Any, finish: Any = None, **top: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return json.dumps({"model": "m", "choices": [choice], **top}).encode()


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=4) | st.floats()
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def odd(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with known keys, mostly what they should be, sometimes anything; or no object."""
    fields = {key: st.integers(0, 4).flatmap(_choose(value)) for key, value in known.items()}
    whole = st.fixed_dictionaries({}, optional=fields)
    return st.integers(0, 4).flatmap(_choose(whole))


def _choose(value: st.SearchStrategy[Any]) -> Callable[[int], st.SearchStrategy[Any]]:
    return lambda dice: value if dice else JSON


FUNCTION = odd(name=st.just("f"), arguments=st.just("{"))
CALL = odd(index=st.integers(0, 2), id=st.just("c"), function=FUNCTION, custom=FUNCTION)
MESSAGE = odd(
    role=st.just("assistant"),
    content=st.just("x"),
    reasoning=st.just("r"),
    refusal=st.just("n"),
    tool_calls=st.lists(CALL, max_size=3),
    function_call=FUNCTION,
)
CHOICE = odd(index=st.integers(0, 2), delta=MESSAGE, message=MESSAGE, finish_reason=st.just("stop"))
BODY = odd(
    model=st.just("m"),
    choices=st.lists(CHOICE, max_size=3),
    usage=odd(prompt_tokens=st.integers(), prompt_tokens_details=odd(cached_tokens=st.integers())),
    error=odd(message=st.just("no"), code=st.integers(300, 600), type=st.just("server_error")),
)


@settings(max_examples=300)
@given(st.lists(BODY, max_size=5))
def test_any_stream_ends_in_deltas_or_in_an_error_of_ours(bodies: list[Any]) -> None:
    reading = exchange()
    deltas: list[ChatDelta] = []
    try:
        for body in bodies:
            deltas += reading.feed("", msgspec.json.encode(body))
        deltas += reading.end()
    except XRouterError:
        return
    msgspec.json.encode(deltas)
    check_calls(deltas)
    assert {d.finish_reason for d in deltas} <= FINISH_REASONS | {None}


@settings(max_examples=300)
@given(BODY)
def test_any_answer_is_read_or_is_an_error_of_ours(body: Any) -> None:
    try:
        answer = exchange().answer(WireReply(200, {}, msgspec.json.encode(body)))
    except XRouterError:
        return
    msgspec.json.encode(answer)
    for choice in answer.choices:
        assert choice.finish_reason in FINISH_REASONS
        assert choice.message.tool_calls != []


@given(st.binary(max_size=40).filter(lambda data: b"}" not in data))
def test_junk_is_malformed(data: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        exchange().feed("", b"{" + data)


def check_calls(deltas: list[ChatDelta]) -> None:
    """The promises of ToolCallDelta."""
    opened: dict[int, int] = {}
    for delta in deltas:
        for piece in delta.tool_calls or ():
            count = opened.get(delta.choice, 0)
            if piece.index == count:
                assert piece.id
                assert piece.name
                opened[delta.choice] = count + 1
            else:
                assert 0 <= piece.index < count
                assert piece.id is None
                assert piece.name is None
                assert piece.arguments


@pytest.mark.parametrize(
    "given_name, expected",
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("model_length", "length"),
        ("end_turn", "stop"),
        ("tool_use", "tool_calls"),
        ("SAFETY", "content_filter"),
        ("abort", "length"),
        ("eos", "stop"),
        ("unheard_of", "stop"),
        ("", None),
        (None, None),
        (7, "stop"),
    ],
)
def test_finish_reasons(given_name: Any, expected: str | None) -> None:
    assert finish_of(given_name) == expected


@pytest.mark.parametrize(
    "given_usage, expected",
    [
        ({"prompt_tokens": 3, "completion_tokens": 2}, (3, 2, 0, 0)),
        ({"prompt_tokens": "3", "completion_tokens": None}, (3, 0, 0, 0)),
        ({"prompt_tokens": -3, "completion_tokens": 2.0}, (0, 2, 0, 0)),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}}, (3, 0, 3, 0)),
        ({"prompt_tokens": 3, "prompt_tokens_details": None}, (3, 0, 0, 0)),
        ({"input_tokens": 3, "output_tokens": 4}, (3, 4, 0, 0)),
        ({"prompt_tokens": 10**30, "completion_tokens": 1}, (10**9, 1, 0, 0)),
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "total_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            (3, 6, 0, 4),
        ),
    ],
)
def test_usage_is_made_sound(given_usage: dict[str, Any], expected: tuple[int, ...]) -> None:
    usage = usage_of(given_usage)
    assert usage is not None
    told = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    assert (*told, usage.reasoning_tokens) == expected
    assert usage.details == given_usage


@pytest.mark.parametrize("nothing", [None, {}, [], "x", {"prompt_tokens": 0, "total_tokens": 0}])
def test_no_usage(nothing: Any) -> None:
    assert usage_of(nothing) is None


def test_content_in_parts_is_text_and_thoughts() -> None:
    message = message_of(
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
                {"type": "text", "text": "A"},
                {"type": "text", "text": "B"},
            ]
        }
    )
    assert (message.content, message.reasoning) == ("AB", "Hm")


def test_reasoning_that_is_no_text_is_kept_as_it_is() -> None:
    reading = exchange()
    deltas = reading.feed("", chunk({"content": "A", "annotations": [{"type": "x"}]}))
    assert deltas[0].extra == {"annotations": [{"type": "x"}]}


def test_usage_before_a_null_is_not_forgotten() -> None:
    reading = exchange()
    deltas = reading.feed("", chunk({"content": "A"}, usage={"prompt_tokens": 5}))
    deltas += reading.feed("", chunk({}, "stop", usage=None))
    deltas += reading.end()
    assert [d.usage.prompt_tokens for d in deltas if d.usage] == [5]


def test_an_error_event_is_an_error_whatever_it_holds() -> None:
    with pytest.raises(UpstreamError) as raised:
        exchange().feed("error", b'{"message": "no more"}')
    assert "no more" in raised.value.message


def test_nothing_is_read_after_done() -> None:
    reading = exchange()
    reading.feed("", chunk({"content": "A"}, "stop"))
    states = [reading.finished]
    assert reading.feed("", b" [DONE] ") == []
    states.append(reading.finished)
    assert states == [False, True]
    assert reading.feed("", b"junk") == []
    assert reading.end() == []


def test_a_stream_without_anything_is_malformed() -> None:
    with pytest.raises(UpstreamMalformed):
        exchange().feed("", b"[DONE]")
    with pytest.raises(UpstreamMalformed):
        exchange().end()


def test_text_after_the_finish_is_not_passed_on() -> None:
    reading = exchange()
    reading.feed("", chunk({"content": "A"}, "stop"))
    assert reading.feed("", chunk({"content": "B"}, "length")) == []


def test_a_choice_without_end_makes_the_stream_cut() -> None:
    reading = exchange()
    reading.feed("", chunk({"content": "A"}, "stop"))
    other = {"choices": [{"index": 1, "delta": {"content": "B"}, "finish_reason": None}]}
    reading.feed("", json.dumps(other).encode())
    with pytest.raises(UpstreamMalformed):
        reading.end()
