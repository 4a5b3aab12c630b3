import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from xrouter.domain.answer import ChatDelta
from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed, XRouterError
from xrouter.domain.plan import Target
from xrouter.providers.base import ChatExchange
from xrouter.providers.gigachat.adapter import GigaChatAdapter
from xrouter.wire.types import WireReply

GOLDEN = Path(__file__).parents[1] / "golden" / "gigachat"
ENDPOINT = Endpoint(
    id=1, provider="gigachat", name="primary", adapter_class="x", base_url="http://h/v1/"
)
ADAPTER = GigaChatAdapter(ENDPOINT)
VERSION = Version(label="latest", upstream="GigaChat-2-Max")
TARGET = Target(
    ENDPOINT,
    Model(
        model_id="gigachat/GigaChat-2-Max",
        provider="gigachat",
        adapter_class="x",
        display_name="x",
        versions=(VERSION,),
    ),
    VERSION,
)


def reply(status: int, body: Any, **headers: str) -> WireReply:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return WireReply(status, headers, raw)


def chat(**fields: Any) -> ChatExchange:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    raw = json.dumps(body).encode()
    request = msgspec.json.decode(raw, type=ChatRequest)
    request.fields = msgspec.json.decode(raw, type=Fields)
    return ADAPTER.encode_chat(request, TARGET)


def chunk(content: str, finish: str | None = None, **more: Any) -> bytes:
    choice = {"delta": {"content": content}, "index": 0, "finish_reason": finish}
    return json.dumps({"choices": [choice], "model": "GigaChat:1", **more}).encode()


def said(deltas: list[ChatDelta]) -> list[str]:
    return [delta.text for delta in deltas if delta.text is not None]


def over(exchange: ChatExchange) -> bool:
    return exchange.finished


# --- models


def test_the_shipped_models_have_their_previews_as_a_channel() -> None:
    models = {model.name: model for model in GigaChatAdapter.supported_models()}
    largest = models["GigaChat-2-Max"]
    assert largest.context_length == 131_072
    assert [(v.channel, v.upstream) for v in largest.versions] == [
        ("latest", "GigaChat-2-Max"),
        ("rc", "GigaChat-2-Max-preview"),
    ]
    assert models["EmbeddingsGigaR"].kind == "embeddings"
    assert all(model.versions[0].channel == "latest" for model in models.values())


def test_what_a_model_sees() -> None:
    models = {model.name: model for model in GigaChatAdapter.supported_models()}
    sees = {name: model.abilities.features.get("vision") for name, model in models.items()}
    assert (sees["GigaChat"], sees["GigaChat-2"]) == ("refused", "refused")
    assert (sees["GigaChat-2-Pro"], sees["GigaChat-2-Max"]) == ("native", "native")
    assert (sees["GigaChat-3-Ultra"], sees["Embeddings"]) == (None, None)


def test_each_feature_has_its_proof() -> None:
    shown = {
        feature
        for path in GOLDEN.glob("*.json")
        for feature in json.loads(path.read_text()).get("shows", [])
    }
    assert shown == GigaChatAdapter.features.keys()


def test_the_live_list_keeps_what_chats_and_embeds() -> None:
    listed = [
        ("GigaChat-2-Max-preview", "chat"),
        ("GigaChat-2-Max", "chat"),
        ("GigaChat-3-Ultra-preview", "chat"),
        ("Embeddings", "embedder"),
        ("GigaFilter", "filter"),
        ("GigaCheckDetection", "aicheck"),
        ("GigaChat", None),
    ]
    data = [{"id": name, "object": "model", "type": kind} for name, kind in listed]
    models = ADAPTER.decode_models(reply(200, {"object": "list", "data": [*data, {}, "x"]}))
    assert [(m.name, m.kind, [v.upstream for v in m.versions]) for m in models] == [
        ("GigaChat-2-Max", "chat", ["GigaChat-2-Max", "GigaChat-2-Max-preview"]),
        ("GigaChat-3-Ultra-preview", "chat", ["GigaChat-3-Ultra-preview"]),
        ("Embeddings", "embeddings", ["Embeddings"]),
        ("GigaChat", "chat", ["GigaChat"]),
    ]


@pytest.mark.parametrize("body", ["<html>", {"data": None}, [], "[" * 100_000])
def test_a_list_that_is_none(body: Any) -> None:
    with pytest.raises(UpstreamMalformed):
        ADAPTER.decode_models(reply(200, body))


def test_probe_and_discover_ask_for_the_models() -> None:
    for wire in (ADAPTER.probe(), ADAPTER.discover()):
        assert (wire.method, wire.url, wire.body) == ("GET", "http://h/v1/models", b"")


# --- errors


def test_an_error_keeps_the_providers_status_and_request_id() -> None:
    error = ADAPTER.decode_error(
        reply(
            429, {"status": 429, "message": "Too many"}, **{"x-request-id": "r", "retry-after": "7"}
        )
    )
    assert (error.upstream_status, error.upstream_request_id, error.retry_after) == (429, "r", 7.0)


@pytest.mark.parametrize(
    "header,seconds",
    [("99999", 3600.0), ("-1", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("nan", None)],
)
def test_retry_after_is_a_sane_number_of_seconds(header: str, seconds: float | None) -> None:
    error = ADAPTER.decode_error(reply(503, "", **{"retry-after": header}))
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    "text,param",
    [
        ("Invalid params: system message must be the first message", "messages"),
        ("INVALID_PARAMS: invalid function result for function json string 5", "messages"),
        ("Field 'properties.x.properties' is missing", "tools"),
        ("Requested model does not support functions", "tools"),
        ("top_p must be in range [0, 1]", "top_p"),
        ("Unprocessable Entity", None),
    ],
)
def test_the_parameter_is_named_where_the_text_does(text: str, param: str | None) -> None:
    error = ADAPTER.decode_error(reply(422, {"status": 422, "message": text}))
    assert type(error) is InvalidRequest
    assert error.param == param
    assert text in error.message


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_is_an_error_of_ours(status: int) -> None:
    bodies: list[Any] = [
        "",
        "<html>",
        {"message": "x" * 5000},
        {"code": 3, "message": "m"},
        {"error": {}},
    ]
    for body in bodies:
        error = ADAPTER.decode_error(reply(status, body))
        assert 400 <= error.status < 600
        assert error.upstream_status == status
        assert len(error.message) < 700
        if status in (401, 402, 403):
            assert error.blame == "operator"


# --- streams


def test_a_stream_is_read_on_for_the_usage_after_a_stop() -> None:
    exchange = chat(stream=True, stop="END")
    deltas = exchange.feed("", chunk("one END two"))
    assert said(deltas) == ["one "]
    assert deltas[-1].finish_reason == "stop"
    assert not over(exchange)
    assert exchange.feed("", chunk(" three")) == []
    last = exchange.feed("", chunk("", "stop", usage={"prompt_tokens": 3, "completion_tokens": 4}))
    assert [delta.usage is not None for delta in last] == [True]
    assert over(exchange)
    assert exchange.end() == []


def test_after_a_stop_the_answer_is_complete_whatever_comes() -> None:
    for rest in (b"not json", b'{"status": 500, "message": "x"}'):
        exchange = chat(stream=True, stop="END")
        exchange.feed("", chunk("one END"))
        assert exchange.feed("", rest) == []
        assert over(exchange)
    exchange = chat(stream=True, stop="END")
    exchange.feed("", chunk("one END"))
    assert exchange.end() == []


def test_a_finished_stream_says_nothing_more() -> None:
    exchange = chat(stream=True)
    exchange.feed("", chunk("ok", "stop"))
    assert not over(exchange)
    assert exchange.feed("", b"[DONE]") == []
    assert over(exchange)
    assert exchange.feed("", chunk("more")) == []


def test_a_repeated_call_and_a_repeated_finish_are_said_once() -> None:
    call = {"delta": {"function_call": {"name": "f", "arguments": {}}}, "index": 0}
    event = json.dumps({"choices": [call | {"finish_reason": "function_call"}]}).encode()
    exchange = chat(stream=True, tools=[{"type": "function", "function": {"name": "f"}}])
    deltas = exchange.feed("", event) + exchange.feed("", event)
    assert len([delta for delta in deltas if delta.tool_calls]) == 1
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["tool_calls"]


def test_a_finish_for_a_built_in_function_is_a_stop() -> None:
    deltas = chat(stream=True).feed("", chunk("ok", "function_call"))
    assert deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"choices": [{"delta": {"content": 5}}]}',
        b'{"message": "something happened"}',
        b'{"status": "500x", "message": "x"}',
        b'{"code": 1, "message": "x"}',
    ],
)
def test_events_that_break_the_contract(event: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        chat(stream=True).feed("", event)


def test_events_that_say_nothing() -> None:
    exchange = chat(stream=True)
    for event in (b"{}", b'{"choices": []}', b'{"choices": [{"index": 1}], "model": "m"}'):
        assert exchange.feed("", event) == []


def test_a_whole_answer_to_a_stream_request_can_be_read() -> None:
    body = {"choices": [{"message": {"content": "one END"}, "finish_reason": "stop"}]}
    answer = chat(stream=True, stop="END").answer(reply(200, body))
    assert answer.choices[0].message.content == "one "


def test_a_reported_error_keeps_the_request_id() -> None:
    with pytest.raises(XRouterError) as raised:
        chat().answer(reply(200, {"status": 503, "message": "x"}, **{"x-request-id": "r"}))
    assert raised.value.upstream_request_id == "r"


# --- what is given up


def test_the_list_of_dropped_parameters_is_bounded() -> None:
    exchange = chat(**{f"p{i}" + "x" * 200: 1 for i in range(100)})
    assert len(exchange.dropped) == 64
    assert all(len(name) == 64 for name in exchange.dropped)


@pytest.mark.parametrize(
    "effort,sent,dropped",
    [
        ("low", "low", ()),
        ("medium", "medium", ()),
        ("none", None, ("reasoning_effort",)),
        ("xhigh", "high", ("reasoning_effort",)),
    ],
)
def test_efforts(effort: str, sent: str | None, dropped: tuple[str, ...]) -> None:
    exchange = chat(reasoning_effort=effort)
    assert json.loads(exchange.wire.body).get("reasoning_effort") == sent
    assert exchange.dropped == dropped


@pytest.mark.parametrize(
    "fields,param",
    [
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": "x" * 1025}, "stop"),
        ({"additional_fields": 5}, "additional_fields"),
        ({"audio": {}}, "audio"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"messages": [{"role": "system", "content": ""}]}, "messages"),
        ({"messages": [{"role": "critic", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].name"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}] * 257}]}, "messages[0].tool_calls"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom", "custom": {}}]}]},
            "messages[0].tool_calls[0].type",
        ),
        (
            {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": "["}}]},
            "messages[0].function_call.arguments",
        ),
    ],
)
def test_refusals_name_the_parameter(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        chat(**fields)
    assert raised.value.param == param


def test_a_result_without_an_id_belongs_to_the_only_open_call() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "5"},
    ]
    body = json.loads(chat(messages=messages).wire.body)
    assert body["messages"][1] == {"role": "function", "name": "f", "content": '{"result":5}'}


def test_a_refusal_of_the_history_is_text() -> None:
    messages = [
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "Never."}]},
    ]
    body = json.loads(chat(messages=messages).wire.body)
    assert [message["content"] for message in body["messages"]] == ["No.", "Never."]


def test_partial_arguments_of_a_forced_call_pass() -> None:
    forced = {"name": "f", "partial_arguments": {"a": 1}}
    body = json.loads(chat(functions=[{"name": "f"}], function_call=forced).wire.body)
    assert body["function_call"] == forced


# --- embeddings


def test_embeddings_name_what_they_drop() -> None:
    raw = b'{"model": "m", "input": ["a"], "user": "u", "encoding_format": "float", "x": null}'
    request = msgspec.json.decode(raw, type=EmbeddingsRequest)
    request.fields = msgspec.json.decode(raw, type=Fields)
    assert ADAPTER.encode_embeddings(request, TARGET).dropped == ("user",)


@pytest.mark.parametrize("indexes", [[], [0], [0, 0], [0, 2], [0, 1, 2]])
def test_vectors_that_do_not_fit_the_texts(indexes: list[int]) -> None:
    exchange = ADAPTER.encode_embeddings(EmbeddingsRequest(model="m", input=["a", "b"]), TARGET)
    data = [{"index": index, "embedding": [0.5]} for index in indexes]
    with pytest.raises(UpstreamMalformed):
        exchange.answer([reply(200, {"data": data})])
