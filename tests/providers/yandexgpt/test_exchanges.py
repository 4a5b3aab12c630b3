"""Whole exchanges: round trips, and whatever an upstream may send."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xrouter.domain.abilities import Abilities
from xrouter.domain.answer import ChatDelta, ToolCallDelta
from xrouter.domain.catalog import Endpoint
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import InvalidRequest, UpstreamFailed, XRouterError
from xrouter.domain.plan import Target
from xrouter.providers.base import ChatExchange
from xrouter.providers.yandexgpt.adapter import YandexGPTAdapter
from xrouter.wire.framing import parser_for
from xrouter.wire.types import WireReply

fixtures_are_stateless = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

NAMES = st.sampled_from(["weather", "clock", "search"])
PLAIN = st.one_of(st.booleans(), st.integers(-1000, 1000), st.text(max_size=8), st.none())
ARGUMENTS = st.dictionaries(
    st.text(max_size=5), st.one_of(PLAIN, st.lists(PLAIN, max_size=3)), max_size=3
)
CALLS = st.lists(st.tuples(NAMES, ARGUMENTS, st.text(max_size=8)), min_size=1, max_size=4)
JSON = st.recursive(
    st.one_of(PLAIN, st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["result", "alternatives", "message", "text", "status", "toolCallList", "usage",
                 "toolCalls", "functionCall", "name", "arguments", "choices", "delta", "index",
                 "content", "tool_calls", "function", "id", "finish_reason", "error", "model"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=20,
)  # fmt: skip

Make = Callable[..., ChatExchange]


@pytest.fixture
def make(
    adapter: YandexGPTAdapter,
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
) -> Make:
    def exchange(upstream: str = "yandexgpt/latest", **given: Any) -> ChatExchange:
        return adapter.encode_chat(make_request(**given), make_target(upstream))

    return exchange


def run(exchange: ChatExchange, raw: bytes, step: int = 7) -> list[ChatDelta]:
    parser = parser_for(exchange.framing)
    deltas: list[ChatDelta] = []
    for at in range(0, len(raw), step):
        for name, data in parser.feed(raw[at : at + step]):
            deltas += exchange.feed(name, data)
    for name, data in parser.end():
        deltas += exchange.feed(name, data)
    return deltas + exchange.end()


def native(message: dict[str, Any], status: str) -> bytes:
    alternative = {"message": message, "status": f"ALTERNATIVE_STATUS_{status}"}
    return json.dumps({"result": {"alternatives": [alternative]}}).encode() + b"\n"


def as_floats(value: Any) -> Any:
    """What a protobuf Struct makes of numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, dict):
        return {key: as_floats(item) for key, item in value.items()}
    return [as_floats(item) for item in value] if isinstance(value, list) else value


@fixtures_are_stateless
@given(st.text(alphabet="ab 😀яé", min_size=1, max_size=20), st.data())
def test_a_stream_says_what_the_whole_answer_says(
    make: Make, text: str, data: st.DataObject
) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    partial = [native({"text": raw[:cut].decode("utf-8", "replace")}, "PARTIAL") for cut in cuts]
    body = b"".join([*partial, native({"text": text}, "FINAL")])
    deltas = run(make(stream=True), body)
    assert "".join(delta.text or "" for delta in deltas) == text
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["stop"]
    assert [bool(delta.meta) for delta in deltas] == [True] + [False] * (len(deltas) - 1)


@fixtures_are_stateless
@given(st.lists(CALLS, min_size=1, max_size=3), st.randoms())
def test_a_native_tool_conversation_round_trips(
    make: Make, turns: list[list[tuple[str, dict[str, Any], str]]], random: Any
) -> None:
    """Nothing is remembered: what comes back in the history is enough, in whatever order."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
    expected: list[dict[str, Any]] = [{"role": "user", "text": "Hi"}]
    for turn in turns:
        calls = [{"functionCall": {"name": n, "arguments": a}} for n, a, _ in turn]
        said = native({"toolCallList": {"toolCalls": as_floats(calls)}}, "TOOL_CALLS")
        answer = make(messages=messages).answer(WireReply(200, {}, said)).choices[0]
        made = answer.message.tool_calls or []
        messages.append({"role": "assistant", "tool_calls": msgspec.to_builtins(made)})
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": content}
            for call, (_, _, content) in zip(made, turn, strict=True)
        ]
        messages += random.sample(results, len(results))
        ordered = [{"functionResult": {"name": n, "content": c}} for n, _, c in turn]
        expected += [
            {"role": "assistant", "toolCallList": {"toolCalls": calls}},
            {"role": "user", "toolResultList": {"toolResults": ordered}},
        ]
    sent = msgspec.json.decode(make(messages=messages).wire.body)
    assert sent["messages"] == expected


@fixtures_are_stateless
@given(JSON, st.booleans(), st.sampled_from(["yandexgpt", "gpt-oss-20b"]))
def test_whatever_comes_is_an_answer_or_an_error_of_ours(
    make: Make, value: Any, stream: bool, upstream: str
) -> None:
    """Other exceptions would be a defect of ours."""
    body = msgspec.json.encode(value)
    exchange = make(upstream, stream=stream)
    with suppress(XRouterError):
        if stream:
            exchange.feed("", body)
            exchange.end()
        else:
            exchange.answer(WireReply(200, {}, body))


def chunk(*calls: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"tool_calls": list(calls)}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def pieces(deltas: list[ChatDelta]) -> list[ToolCallDelta]:
    return [call for delta in deltas for call in delta.tool_calls or []]


def test_a_new_id_at_a_used_index_is_a_new_call(make: Make) -> None:
    body = chunk(
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}},
    )
    found = pieces(run(make("gpt-oss-20b", stream=True), body + DONE))
    assert [(call.index, call.id, call.name) for call in found] == [(0, "a", "f"), (1, "b", "g")]


def test_indexes_have_no_gaps_and_ids_no_doubles(make: Make) -> None:
    body = chunk(
        {"index": 3, "id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"index": 7, "id": "a", "function": {"name": "g", "arguments": {"x": 1.0}}},
        {"id": "c", "function": {"name": "h"}},
        {"function": {"arguments": "{}"}},
    )
    found = pieces(run(make("gpt-oss-20b", stream=True), body + DONE))
    assert [(call.index, call.name, call.arguments) for call in found] == [
        (0, "f", "{}"),
        (1, "g", '{"x":1}'),
        (2, "h", ""),
        (2, None, "{}"),
    ]
    ids = [call.id for call in found if call.id is not None]
    assert ids[0] == "a"
    assert ids[2] == "c"
    assert len(set(ids)) == 3


def test_arguments_before_the_name_wait_for_it(make: Make) -> None:
    body = chunk({"index": 0, "id": "a", "function": {"arguments": "{"}})
    body += chunk({"index": 0, "function": {"name": "f", "arguments": "}"}}, finish="stop")
    found = pieces(run(make("gpt-oss-20b", stream=True), body + DONE))
    assert [(call.id, call.name, call.arguments) for call in found] == [("a", "f", "{}")]


def test_one_call_is_kept_where_one_was_asked_for(make: Make) -> None:
    body = chunk(
        {"index": 0, "id": "f", "function": {"name": "f", "arguments": "{}"}},
        {"index": 1, "id": "g", "function": {"name": "g", "arguments": "{}"}},
    )
    body += chunk({"index": 1, "function": {"arguments": " "}}, finish="tool_calls")
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    exchange = make("gpt-oss-20b", stream=True, tools=tools, parallel_tool_calls=False)
    assert [call.name for call in pieces(run(exchange, body + DONE))] == ["f"]


def test_a_legacy_request_gets_a_legacy_call(make: Make) -> None:
    body = chunk({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}})
    body += chunk({"index": 0, "function": {"arguments": "}"}}, finish="tool_calls") + DONE
    deltas = run(make("gpt-oss-20b", stream=True, functions=[{"name": "f"}]), body)
    calls = [delta.legacy_call for delta in deltas if delta.legacy_call]
    assert [(call.name, call.arguments) for call in calls] == [("f", "{"), ("", "}")]
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["function_call"]


def test_an_answer_that_was_broken_off_is_no_answer(make: Make) -> None:
    with pytest.raises(UpstreamFailed):
        run(make("gpt-oss-20b", stream=True), chunk(finish="abort") + DONE)


def test_nothing_is_read_after_the_last_word(make: Make) -> None:
    exchange = make(stream=True)
    finished = [exchange.finished]
    exchange.feed("", native({"text": "Hi"}, "FINAL"))
    assert [*finished, exchange.finished] == [False, True]
    assert exchange.feed("", b"garbage") == []
    assert exchange.end() == []


def test_a_stream_without_any_status_ends_with_its_text(make: Make) -> None:
    line = json.dumps({"result": {"alternatives": [{"message": {"text": "Hi"}}]}}).encode()
    deltas = run(make(stream=True), line + b"\n")
    assert [delta.text for delta in deltas] == ["Hi", None]
    assert deltas[-1].finish_reason == "stop"


LIKELY = {"content": [{"token": "A", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}


@pytest.mark.parametrize("param", ["logprobs", "top_logprobs"])
@pytest.mark.parametrize("upstream", ["yandexgpt", "gpt-oss-20b"])
def test_log_probabilities_are_refused_not_forgotten(make: Make, upstream: str, param: str) -> None:
    """No answer that was seen had them, and the provider says only: not all models."""
    with pytest.raises(InvalidRequest) as refused:
        make(upstream, **{param: 2 if param == "top_logprobs" else True})
    assert (refused.value.status, refused.value.param) == (400, param)
    neutral = make(upstream, logprobs=False, top_logprobs=0)
    assert neutral.dropped == ()


def test_log_probabilities_where_the_operator_knows_of_them(
    adapter: YandexGPTAdapter,
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
) -> None:
    target = make_target("gpt-oss-20b")
    able = Abilities(features={"logprobs": "native"})
    model = msgspec.structs.replace(target.model, abilities=able)
    target = msgspec.structs.replace(target, model=model)
    request = make_request(logprobs=True, top_logprobs=2)
    exchange = adapter.encode_chat(request, target)
    sent = json.loads(exchange.wire.body)
    assert (sent["logprobs"], sent["top_logprobs"], exchange.dropped) == (True, 2, ())
    choice = {"message": {"content": "A"}, "finish_reason": "stop", "logprobs": LIKELY}
    body = json.dumps({"model": "m", "choices": [choice]}).encode()
    assert exchange.answer(WireReply(200, {}, body)).choices[0].logprobs == LIKELY
    own = msgspec.structs.replace(make_target("yandexgpt"), model=model)
    with pytest.raises(InvalidRequest):
        adapter.encode_chat(request, own)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_whole_answer_with_and_without_the_wrapper(make: Make, wrapped: bool) -> None:
    """The reference page leaves `result` out."""
    body = json.loads(native({"role": "assistant", "text": "Hi"}, "FINAL"))
    raw = json.dumps(body if wrapped else body["result"]).encode()
    assert make().answer(WireReply(200, {}, raw)).choices[0].message.content == "Hi"


@pytest.mark.parametrize("upstream", ["yandexgpt", "gpt-oss-20b"])
@pytest.mark.parametrize(
    "given,param",
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"function_call": {"name": "g"}, "functions": [{"name": "f"}]}, "function_call"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
            "messages[0].content[0]",
        ),
    ],
)
def test_what_cannot_be_mapped_is_named(
    make: Make, upstream: str, given: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        make(upstream, **given)
    assert refused.value.param == param


@pytest.mark.parametrize("arguments", ["[1]", "7", "{", '{"a":' * 3000])
def test_arguments_that_are_no_object_are_named(make: Make, arguments: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    with pytest.raises(InvalidRequest) as refused:
        make(messages=[{"role": "assistant", "tool_calls": [call]}])
    assert refused.value.param == "messages[0].tool_calls[0].function.arguments"


def test_a_result_without_an_id_belongs_to_the_only_open_call(make: Make) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "1"}]
    sent = msgspec.json.decode(make(messages=messages).wire.body)["messages"]
    result = {"functionResult": {"name": "f", "content": "1"}}
    assert sent[-1] == {"role": "user", "toolResultList": {"toolResults": [result]}}
    twice = [{"role": "assistant", "tool_calls": [call, call]}, {"role": "tool", "content": "1"}]
    with pytest.raises(InvalidRequest) as refused:
        make(messages=twice)
    assert refused.value.param == "messages[1].tool_call_id"


@pytest.mark.parametrize("api,ids", [("native", None), ("compatible", ["f", "f_2"])])
def test_ids_used_twice_stand_for_their_calls_in_turn(
    make_endpoint: Callable[..., Endpoint],
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
    api: str,
    ids: list[str] | None,
) -> None:
    call = {"id": "f", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    results = [{"role": "tool", "tool_call_id": "f", "content": text} for text in ("1", "2")]
    request = make_request(messages=[{"role": "assistant", "tool_calls": [call, call]}, *results])
    adapter = YandexGPTAdapter(make_endpoint(options={"folder_id": "b1gx", "api": api}))
    body = msgspec.json.decode(adapter.encode_chat(request, make_target("yandexgpt")).wire.body)
    if ids is None:
        sent = body["messages"][1]["toolResultList"]["toolResults"]
        assert [result["functionResult"]["content"] for result in sent] == ["1", "2"]
    else:
        assert [message["tool_call_id"] for message in body["messages"][1:]] == ids
        assert [made["id"] for made in body["messages"][0]["tool_calls"]] == ids
