"""Anthropic's adapter beside the golden cases: configuration, models, limits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from xrouter.domain.abilities import Abilities, Degree, Feature
from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.counting import CountRequest
from xrouter.domain.errors import (
    InvalidRequest,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamRateLimited,
)
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.providers.anthropic.adapter import AnthropicAdapter
from xrouter.providers.anthropic.manners import PLAIN_VERSION, manners_of
from xrouter.wire.types import WireReply

HOME = "https://api.anthropic.com"


def endpoint(key: str = "sk-ant-x", url: str = HOME, **options: str) -> Endpoint:
    return Endpoint(
        id=1,
        provider="anthropic",
        name="primary",
        adapter_class="x",
        base_url=url,
        credential={"api_key": Secret(key)} if key else {},
        options=options,
    )


def target(
    max_output: int | None = None,
    upstream: str = "claude-sonnet-4-5",
    features: dict[Feature, Degree] | None = None,
) -> Target:
    version = Version(label="latest", upstream=upstream)
    model = Model(
        model_id="anthropic/claude-sonnet-4-5",
        provider="anthropic",
        adapter_class="x",
        display_name="x",
        abilities=Abilities(features=features or {}, max_output=max_output),
        versions=(version,),
    )
    return Target(endpoint(), model, version)


def request(**more: Any) -> ChatRequest:
    messages = [{"role": "user", "content": "x"}]
    body = msgspec.json.encode({"model": "m", "messages": messages} | more)
    made = msgspec.json.decode(body, type=ChatRequest)
    made.fields = msgspec.json.decode(body, type=Fields)
    return made


def body_of(adapter: AnthropicAdapter, aim: Target, **more: Any) -> Any:
    return msgspec.json.decode(adapter.encode_chat(request(**more), aim).wire.body)


@pytest.mark.parametrize(
    "wrong,param",
    [
        (endpoint(key=""), "credential.api_key"),
        (endpoint(key="ключ"), "credential.api_key"),
        (endpoint(url="ftp://x"), "base_url"),
        (endpoint(nonsense="1"), "options.nonsense"),
        (endpoint(beta="\n"), "options.beta"),
        (endpoint(max_tokens="0"), "options.max_tokens"),
        (endpoint(max_tokens="many"), "options.max_tokens"),
    ],
)
def test_what_is_not_sound_is_refused(wrong: Endpoint, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        AnthropicAdapter.validate(wrong)
    assert refused.value.param == param


def test_the_limit_of_an_answer() -> None:
    adapter = AnthropicAdapter(endpoint())
    assert body_of(adapter, target())["max_tokens"] == 8192
    assert body_of(adapter, target(4096))["max_tokens"] == 4096
    assert body_of(adapter, target(4096), max_tokens=7)["max_tokens"] == 7
    assert body_of(AnthropicAdapter(endpoint(max_tokens="50")), target())["max_tokens"] == 50


def test_thinking_stays_within_the_limit() -> None:
    adapter = AnthropicAdapter(endpoint())
    assert thought(adapter, target(), reasoning_effort="high") == (24_576, 16_384)
    assert thought(adapter, target(), reasoning_effort="max") == (32_000, 23_808)
    assert thought(adapter, target(10_000), reasoning_effort="high") == (10_000, 5000)
    assert thought(adapter, target(), reasoning_effort="high", max_tokens=4000) == (4000, 2000)
    small = adapter.encode_chat(request(reasoning_effort="high", max_tokens=1500), target())
    assert small.dropped == ("reasoning_effort",)


def thought(adapter: AnthropicAdapter, aim: Target, **more: Any) -> tuple[int, int]:
    body = body_of(adapter, aim, **more)
    return body["max_tokens"], body["thinking"]["budget_tokens"]


def test_a_model_that_does_not_think() -> None:
    adapter = AnthropicAdapter(endpoint())
    aim = target(features={"reasoning": "dropped"})
    exchange = adapter.encode_chat(request(reasoning_effort="high"), aim)
    assert exchange.dropped == ("reasoning_effort",)
    assert b"thinking" not in exchange.wire.body
    quiet = adapter.encode_chat(request(reasoning_effort="none"), aim)
    assert (quiet.dropped, b"thinking" in quiet.wire.body) == ((), False)


def test_what_a_model_refuses_is_remembered() -> None:
    adapter = AnthropicAdapter(endpoint())
    refusal = InvalidRequest("`temperature` is deprecated for this model.")
    aim = target(upstream="house-model")
    exchange = adapter.encode_chat(request(temperature=0.5), aim)
    assert exchange.instead(InvalidRequest("messages: wrong")) is None
    assert exchange.instead(UpstreamOverloaded("temperature is not supported")) is None
    other = exchange.instead(refusal)
    assert other is not None
    assert other.dropped == ("temperature",)
    assert other.instead(refusal) is None
    assert "temperature" not in body_of(adapter, aim, temperature=0.5)
    assert "temperature" in body_of(adapter, target(), temperature=0.5)


def test_calls_side_by_side_learn_the_same() -> None:
    adapter = AnthropicAdapter(endpoint())
    refusal = InvalidRequest("`temperature` is deprecated for this model.")
    aim = target(upstream="house-model")
    both = [adapter.encode_chat(request(temperature=0.5), aim) for _ in range(2)]
    for exchange in both:
        other = exchange.instead(refusal)
        assert other is not None
        assert other.dropped == ("temperature",)


def test_memory_has_an_end() -> None:
    adapter = AnthropicAdapter(endpoint())
    for number in range(1100):
        aim = target(upstream=f"house-{number}")
        exchange = adapter.encode_chat(request(temperature=0.5), aim)
        assert exchange.instead(InvalidRequest("temperature: not supported")) is not None
    first, last = target(upstream="house-0"), target(upstream="house-1099")
    assert "temperature" in body_of(adapter, first, temperature=0.5)
    assert "temperature" not in body_of(adapter, last, temperature=0.5)


@pytest.mark.parametrize(
    "name,adaptive,sampling",
    [
        ("claude-3-5-haiku-20241022", False, "all"),
        ("claude-sonnet-4-20250514", False, "all"),
        ("claude-opus-4-1-20250805", False, "one"),
        ("claude-haiku-4-5@20251001", False, "one"),
        ("anthropic.claude-sonnet-4.5-v1:0", False, "one"),
        ("claude-sonnet-4-6", True, "one"),
        ("claude-opus-4-7", True, "none"),
        ("claude-sonnet-5", True, "none"),
        ("claude-fable-5-2", True, "none"),
        ("claude-mythos-preview", True, "none"),
        ("kimi-k3", False, "all"),
    ],
)
def test_manners_by_name(name: str, adaptive: bool, sampling: str) -> None:
    manners = manners_of(name, PLAIN_VERSION)
    assert (manners.adaptive, manners.sampling) == (adaptive, sampling)
    assert manners_of(name, "2026-10-21").sampling == "none"


def test_lessons_come_to_an_end() -> None:
    """No refusal teaches anything twice."""
    manners = manners_of("kimi-k3", PLAIN_VERSION)
    for refusal in (
        "effort level 'max' is not supported",
        "thinking: disabled is not supported",
        "thinking.type.enabled is not supported",
        "temperature, top_p cannot both be specified",
        "top_p is deprecated",
    ):
        after = manners.after(refusal)
        assert after is not None
        assert after.after(refusal) is None
        manners = after
    assert manners.after("Extra inputs are not permitted") is None


def test_an_error_in_a_stream_names_its_request() -> None:
    exchange = AnthropicAdapter(endpoint()).encode_chat(request(stream=True), target())
    error = {"type": "rate_limit_error", "message": "Slow down, sk-ant-x"}
    data = msgspec.json.encode({"type": "error", "error": error, "request_id": "req_7"})
    with pytest.raises(UpstreamRateLimited) as raised:
        exchange.feed("error", data)
    assert raised.value.upstream_request_id == "req_7"
    assert "sk-ant-x" not in raised.value.message


def test_an_error_names_its_request() -> None:
    adapter = AnthropicAdapter(endpoint())
    body = b'{"type":"error","error":{"type":"api_error","message":"x"},"request_id":"req_7"}'
    assert adapter.decode_error(WireReply(500, {}, body)).upstream_request_id == "req_7"
    headers = {"request-id": "req_8"}
    assert adapter.decode_error(WireReply(500, headers, body)).upstream_request_id == "req_8"


def test_the_live_list() -> None:
    entries = [
        {"id": "claude-a", "display_name": "A", "max_input_tokens": 5, "max_tokens": 3},
        {"id": "claude-b", "max_tokens": True},
        {"id": 5},
        "x",
    ]
    adapter = AnthropicAdapter(endpoint())
    one, two = adapter.decode_models(WireReply(200, {}, msgspec.json.encode({"data": entries})))
    assert (one.name, one.display_name, one.context_length) == ("claude-a", "A", 5)
    assert one.abilities.max_output == 3
    assert (two.display_name, two.context_length) == ("claude-b", None)
    assert two.abilities.max_output is None
    for broken in (b"<html>", b"[]", b'{"data": 1}'):
        with pytest.raises(UpstreamMalformed):
            adapter.decode_models(WireReply(200, {}, broken))


def test_what_the_list_says_of_models() -> None:
    no, yes = {"supported": False}, {"supported": True}
    entries = [
        {"id": "a", "lifecycle": "active", "capabilities": {"image_input": no, "thinking": yes}},
        {"id": "b", "lifecycle": "deprecated", "display_name": "B", "capabilities": None},
        {"id": "c", "lifecycle": "retired"},
        {"id": "d", "capabilities": {"thinking": no, "structured_outputs": no, "pdf_input": no}},
    ]
    adapter = AnthropicAdapter(endpoint())
    a, b, d = adapter.decode_models(WireReply(200, {}, msgspec.json.encode({"data": entries})))
    assert a.abilities.features == {"vision": "refused", "image_urls": "refused"}
    assert (b.display_name, b.versions[0].channel) == ("B (deprecated)", "deprecated")
    assert b.abilities.features == {}
    assert d.abilities.features == {
        "files": "refused",
        "json_schema": "refused",
        "reasoning": "dropped",
    }


def test_a_count_asks_for_what_is_counted() -> None:
    adapter = AnthropicAdapter(endpoint(beta="b-1"))
    chat = request(reasoning_effort="low", stream=True, stop="x", user="u", betas=["b-2"])
    errand = adapter.count(CountRequest(model="m", chat=chat), target())
    assert errand is not None
    wire = next(errand)
    assert wire.headers["anthropic-beta"] == "b-1,b-2"
    assert msgspec.json.decode(wire.body).keys() == {"model", "messages", "thinking"}


@pytest.mark.parametrize("broken", [b"x", b"[]", b"{}", b'{"input_tokens": null}'])
def test_a_count_that_is_none(broken: bytes) -> None:
    adapter = AnthropicAdapter(endpoint())
    errand = adapter.count(CountRequest(model="m", chat=request()), target())
    assert errand is not None
    next(errand)
    with pytest.raises(UpstreamMalformed):
        errand.send(WireReply(200, {}, broken))
    assert adapter.count(CountRequest(model="m", texts=["x"]), target()) is None


@pytest.mark.parametrize("body", [b"x", b"[]", b"{}", b'{"content": 1}'])
def test_strange_answers(body: bytes) -> None:
    exchange = AnthropicAdapter(endpoint()).encode_chat(request(), target())
    with pytest.raises(UpstreamMalformed):
        exchange.answer(WireReply(200, {}, body))


STOP = b'{"type": "content_block_stop", "index": 0}'
DAMAGED: list[dict[str, Any]] = [
    {"type": "tool_use", "name": "f", "input": {}},
    {"type": "tool_use", "id": None, "name": "f", "input": {}},
    {"type": "tool_use", "id": "", "name": "f", "input": {}},
    {"type": "tool_use", "id": "toolu_1", "input": {}},
    {"type": "tool_use", "id": "toolu_1", "name": 5, "input": {}},
    {"type": "redacted_thinking"},
    {"type": "thinking", "thinking": {"text": "hm"}},
    {"type": "thinking", "thinking": "hm", "signature": 5},
    {"type": "text", "text": ["A"]},
]


@pytest.mark.parametrize("block", DAMAGED)
def test_a_damaged_block_is_the_providers_failure(block: dict[str, Any]) -> None:
    """Never an answer with a made-up id, name or text."""
    adapter = AnthropicAdapter(endpoint())
    body = msgspec.json.encode({"content": [block], "stop_reason": "tool_use"})
    with pytest.raises(UpstreamMalformed):
        adapter.encode_chat(request(), target()).answer(WireReply(200, {}, body))
    exchange = adapter.encode_chat(request(stream=True), target())
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    with pytest.raises(UpstreamMalformed):
        [exchange.feed("", data) for data in (msgspec.json.encode(start), STOP)]


def test_a_damaged_call_of_a_legacy_function() -> None:
    adapter = AnthropicAdapter(endpoint())
    asked = request(stream=True, functions=[{"name": "f", "parameters": {"type": "object"}}])
    block: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": None, "input": {}}
    body = msgspec.json.encode({"content": [block], "stop_reason": "tool_use"})
    with pytest.raises(UpstreamMalformed):
        adapter.encode_chat(asked, target()).answer(WireReply(200, {}, body))


@pytest.mark.parametrize(
    "delta",
    [
        {"type": "text_delta", "text": 5},
        {"type": "thinking_delta", "thinking": {}},
        {"type": "signature_delta", "signature": []},
        {"type": "input_json_delta", "partial_json": {"x": 1}},
    ],
)
def test_a_damaged_piece_is_the_providers_failure(delta: dict[str, Any]) -> None:
    exchange = AnthropicAdapter(endpoint()).encode_chat(request(stream=True), target())
    event = {"type": "content_block_delta", "index": 0, "delta": delta}
    with pytest.raises(UpstreamMalformed):
        exchange.feed("", msgspec.json.encode(event))


@pytest.mark.parametrize("reason", [None, 5])
def test_an_end_without_a_reason_has_none(reason: Any) -> None:
    adapter = AnthropicAdapter(endpoint())
    body = {"content": [{"type": "text", "text": "A"}], "stop_reason": reason}
    exchange = adapter.encode_chat(request(), target())
    if reason is None:
        choice = exchange.answer(WireReply(200, {}, msgspec.json.encode(body))).choices[0]
        assert (choice.finish_reason, choice.extra) == ("stop", None)
    else:
        with pytest.raises(UpstreamMalformed):
            exchange.answer(WireReply(200, {}, msgspec.json.encode(body)))
    exchange = adapter.encode_chat(request(stream=True), target())
    event = {"type": "message_delta", "delta": {"stop_reason": reason}}
    [delta] = exchange.feed("", msgspec.json.encode(event))
    assert delta.finish_reason is None
    with pytest.raises(UpstreamMalformed):
        exchange.end()


def test_blocks_of_tomorrow_are_passed_over() -> None:
    exchange = AnthropicAdapter(endpoint()).encode_chat(request(), target())
    body = b'{"content": [1, {"type": "new"}, {"type": "text", "text": "A"}]}'
    assert exchange.answer(WireReply(200, {}, body)).choices[0].message.content == "A"
