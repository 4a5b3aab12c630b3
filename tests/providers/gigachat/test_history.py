"""Any conversation that OpenAI's API takes becomes one that GigaChat takes."""

import base64
import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xrouter.domain.chat import Message
from xrouter.providers.gigachat.messages import read_history
from xrouter.providers.gigachat.names import new_call_id

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

LAST = {"role": "user", "content": "and now?"}

texts = st.text(max_size=20)
contents = st.one_of(
    texts,
    st.none(),
    st.lists(st.builds(lambda text: {"type": "text", "text": text}, texts), max_size=3),
)
results = st.one_of(
    contents,
    st.dictionaries(texts, st.integers()).map(json.dumps),
    st.sampled_from(["1", "null", '"a"', "[1]", "{", "NaN", " {} "]),
)
arguments = st.one_of(
    st.just(""), st.dictionaries(texts, st.one_of(texts, st.integers())).map(json.dumps)
)


@st.composite
def turns(draw: st.DrawFn, number: int) -> list[dict[str, Any]]:
    """One turn: a plain message, or an assistant with calls and their results in any order."""
    role = draw(st.sampled_from(["system", "developer", "user", "assistant", "tools"]))
    if role != "tools":
        return [{"role": role, "content": draw(contents)}]
    ids = [
        draw(st.sampled_from([f"c{number}.{i}", new_call_id(None), new_call_id(f"{number:032x}")]))
        for i in range(draw(st.integers(1, 3)))
    ]
    ids = list(dict.fromkeys(ids))
    calls = [
        {
            "id": call_id,
            "type": "function",
            "function": {"name": draw(st.sampled_from(["f", "web_search"])), "arguments": args},
        }
        for call_id in ids
        for args in [draw(arguments)]
    ]
    answers = [
        {"role": "tool", "tool_call_id": call_id, "content": draw(results)}
        for call_id in draw(st.permutations(ids))
    ]
    between = draw(st.lists(st.just({"role": "user", "content": "wait"}), max_size=1))
    return [
        {"role": "assistant", "content": draw(contents), "tool_calls": calls},
        *answers[:1],
        *between,
        *answers[1:],
    ]


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    count = draw(st.integers(1, 6))
    return [message for number in range(count) for message in draw(turns(number))]


def encoded(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    history = read_history(msgspec.convert([*messages, LAST], list[Message]))
    wire = msgspec.json.decode(msgspec.json.encode(history.wire([])))
    assert wire.pop() == LAST
    assert isinstance(wire, list)
    return wire


@relaxed
@given(conversations())
def test_a_valid_list_of_messages(messages: list[dict[str, Any]]) -> None:
    wire = encoded(messages)
    assert {m["role"] for m in wire} <= {"system", "user", "assistant", "function"}
    assert all(isinstance(m["content"], str) for m in wire)
    assert "system" not in [m["role"] for m in wire[1:]]
    for before, message in zip([{}, *wire], wire, strict=False):
        if message["role"] == "function":
            assert before["role"] == "assistant"
            assert before["function_call"]["name"] == message["name"]
            assert isinstance(json.loads(message["content"]), dict)
        if "function_call" in message:
            assert isinstance(message["function_call"]["arguments"], dict)


@relaxed
@given(conversations())
def test_nothing_is_lost(messages: list[dict[str, Any]]) -> None:
    wire = encoded(messages)
    roles = [m["role"] for m in messages]
    calls = [call for m in messages for call in m.get("tool_calls", [])]
    assert sum("function_call" in m for m in wire) == len(calls)
    assert sum(m["role"] == "function" for m in wire) == roles.count("tool")
    assert sum(m["role"] == "user" for m in wire) == roles.count("user")
    said = [json.loads(call["function"]["arguments"] or "{}") for call in calls]
    assert [m["function_call"]["arguments"] for m in wire if "function_call" in m] == said
    everything = "\n".join(m["content"] for m in wire)
    for message in messages:
        if message["role"] != "tool" and isinstance(message["content"], str):
            assert message["content"] in everything


PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
parts = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, texts),
    st.just({"type": "image_url", "image_url": {"url": PNG}}),
)


@relaxed
@given(st.lists(st.lists(parts, max_size=4), min_size=1, max_size=3))
def test_each_file_has_a_message_of_its_own_and_no_text_is_lost(
    contents: list[list[dict[str, Any]]],
) -> None:
    history = read_history([Message(role="user", content=list(parts)) for parts in contents])
    for number, media in enumerate(history.media):
        assert "attachments" not in media.message
        media.message["attachments"] = [number]
    wire = [*history.wire([])]
    given = [part for content in contents for part in content]
    attached = [number for message in wire for number in message.get("attachments", [])]
    assert attached == list(range(sum(part["type"] == "image_url" for part in given)))
    assert all(message["content"] for message in wire if "attachments" in message)
    text = "\n".join(message["content"] for message in wire)
    for part in given:
        assert part.get("text", "") in text
