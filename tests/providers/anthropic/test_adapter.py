"""Anthropic's adapter beside the golden cases: configuration, models, limits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from xrouter.domain.abilities import Abilities
from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.counting import CountRequest
from xrouter.domain.errors import InvalidRequest, UpstreamMalformed
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.providers.anthropic.adapter import AnthropicAdapter
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


def target(max_output: int | None = None) -> Target:
    version = Version(label="latest", upstream="claude-sonnet-4-5")
    model = Model(
        model_id="anthropic/claude-sonnet-4-5",
        provider="anthropic",
        adapter_class="x",
        display_name="x",
        abilities=Abilities(max_output=max_output),
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
    thinking = body_of(adapter, target(), reasoning_effort="high")["thinking"]
    assert thinking["budget_tokens"] == 4096
    small = adapter.encode_chat(request(reasoning_effort="high", max_tokens=1500), target())
    assert small.dropped == ("reasoning_effort",)


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


def test_blocks_of_tomorrow_are_passed_over() -> None:
    exchange = AnthropicAdapter(endpoint()).encode_chat(request(), target())
    body = b'{"content": [1, {"type": "new"}, {"type": "text", "text": "A"}]}'
    assert exchange.answer(WireReply(200, {}, body)).choices[0].message.content == "A"
