"""What takes several requests: operations, deferred answers, usage by the tokenizer, images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest

from xrouter.domain.answer import ChatAnswer
from xrouter.domain.catalog import Endpoint
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import (
    InvalidRequest,
    NotFound,
    UpstreamFailed,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamUnreachable,
    XRouterError,
)
from xrouter.domain.plan import Target
from xrouter.providers.base import Left
from xrouter.providers.yandexgpt.adapter import YandexGPTAdapter
from xrouter.providers.yandexgpt.operations import growing
from xrouter.wire.types import Errand, WireReply, WireRequest

T = TypeVar("T")
Given = dict[str, Any] | XRouterError | int

OP = "d7qexample"
DONE = {
    "id": OP,
    "done": True,
    "response": {
        "@type": "type.googleapis.com/yandex.cloud.ai.foundation_models.v1.CompletionResponse",
        "alternatives": [
            {
                "message": {"role": "assistant", "text": "One END two"},
                "status": "ALTERNATIVE_STATUS_FINAL",
            }
        ],
        "usage": {"inputTextTokens": "12", "completionTokens": "7", "totalTokens": "19"},
        "modelVersion": "09.02.2025",
    },
}


def play(errand: Errand[T], *given: Given) -> tuple[T, list[WireRequest]]:
    """Answer its requests: a body, a status or an error of sending; the result, and all asked."""
    asked = []
    try:
        wire = next(errand)
        for one in given:
            asked.append(wire)
            if isinstance(one, XRouterError):
                wire = errand.throw(one)
            elif isinstance(one, int):
                wire = errand.send(WireReply(one, {}, b"{}"))
            else:
                wire = errand.send(WireReply(200, {}, msgspec.json.encode(one)))
    except StopIteration as end:
        assert len(asked) == len(given)
        return end.value, asked
    raise AssertionError("it asked again")


class Later:
    """An adapter and what it is asked."""

    def __init__(self, adapter: YandexGPTAdapter, target: Target) -> None:
        self.adapter = adapter
        self.target = target

    def collect(self, reference: str, *given: Given) -> tuple[ChatAnswer, list[WireRequest]]:
        return play(self.adapter.collect(reference, self.target), *given)


@pytest.fixture
def later(adapter: YandexGPTAdapter, make_target: Callable[[str], Target]) -> Later:
    return Later(adapter, make_target("yandexgpt/rc"))


def test_a_deferred_request_is_an_operation_at_half_the_price(
    later: Later, make_request: Callable[..., ChatRequest]
) -> None:
    errand = later.adapter.defer(make_request(stream=True), later.target)
    assert errand is not None
    left, asked = play(errand, {"id": OP, "done": False})
    assert left == Left(OP)
    assert asked[0].url == "https://llm.example/foundationModels/v1/completionAsync"
    assert msgspec.json.decode(asked[0].body)["completionOptions"] == {"stream": False}
    answer, asked = later.collect(left.reference, {"id": OP, "done": False}, DONE)
    assert [wire.url for wire in asked] == [f"https://llm.example/operations/{OP}"] * 2
    assert answer.choices[0].message.content == "One END two"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 12
    assert answer.meta is not None
    assert (answer.meta.model, answer.meta.fingerprint) == ("yandexgpt/rc", "09.02.2025")


def test_the_reference_holds_how_the_answer_is_to_be_read(
    later: Later, make_request: Callable[..., ChatRequest]
) -> None:
    errand = later.adapter.defer(make_request(stop="END"), later.target)
    assert errand is not None
    left, _ = play(errand, {"id": OP})
    assert left.reference.startswith(OP + ".")
    answer, _ = later.collect(left.reference, DONE)
    assert answer.choices[0].message.content == "One "


def test_a_deferred_request_loses_what_one_at_once_does(
    later: Later, make_request: Callable[..., ChatRequest]
) -> None:
    """Being deferred is what `service_tier` asks for: that is not lost."""
    given: dict[str, Any] = {
        "messages": [{"role": "user", "name": "Ann", "content": "Hi"}],
        "temperature": 1.5,
        "top_p": 0.5,
        "seed": 7,
        "reasoning_effort": "high",
        "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "x"}}],
    }
    errand = later.adapter.defer(make_request(**given, service_tier="flex"), later.target)
    assert errand is not None
    left, asked = play(errand, {"id": OP})
    lost = ("messages.name", "reasoning_effort", "seed", "temperature", "tools.cache_control")
    assert left.dropped == (*lost, "top_p")
    assert later.adapter.encode_chat(make_request(**given), later.target).dropped == left.dropped
    assert msgspec.json.decode(asked[0].body)["completionOptions"]["temperature"] == 1


def test_what_cannot_be_deferred(
    later: Later,
    make_endpoint: Callable[..., Endpoint],
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
) -> None:
    assert later.adapter.defer(make_request(), make_target("gpt-oss-20b")) is None
    fixed = YandexGPTAdapter(make_endpoint(options={"folder_id": "b1gx", "api": "compatible"}))
    assert fixed.defer(make_request(), make_target("yandexgpt")) is None
    for wrong in ({"n": 2}, {"logprobs": True}, {"modelUri": "x"}):
        with pytest.raises(InvalidRequest) as refused:
            later.adapter.defer(make_request(**wrong), later.target)
        assert refused.value.param in wrong


@pytest.mark.parametrize("reference", ["", "../x", "a/b", OP + ".%%", OP + ".e30x", OP + ".WzFd"])
def test_odd_references_are_refused(later: Later, reference: str) -> None:
    with pytest.raises(InvalidRequest):
        later.collect(reference)


def test_failures_of_the_asking_are_overlooked_for_a_while(later: Later) -> None:
    gone = UpstreamUnreachable("no way")
    answer, asked = later.collect(OP, gone, 503, 429, {"done": False}, gone, DONE)
    assert answer.choices[0].finish_reason == "stop"
    assert [wire.pause for wire in asked][:4] == [0.0, 2.0, 3.0, 4.5]
    with pytest.raises(UpstreamUnreachable):
        later.collect(OP, *[gone] * 6)


@pytest.mark.parametrize(
    "body,kind",
    [
        ({"done": False, "error": {"code": 13, "message": "x", "details": []}}, UpstreamFailed),
        ({"done": True}, None),
        ({"done": True, "response": {"alternatives": []}}, UpstreamMalformed),
    ],
)
def test_what_an_operation_may_end_in(
    later: Later, body: dict[str, Any], kind: type[XRouterError] | None
) -> None:
    with pytest.raises(kind or UpstreamMalformed):
        later.collect(OP, body)


def test_an_operation_that_is_gone(later: Later) -> None:
    with pytest.raises(NotFound) as raised:
        later.collect(OP, 404)
    assert "three days" in (raised.value.hint or "")


def test_pauses_grow_to_their_most_and_end() -> None:
    assert list(growing(1.0, 2.0, 5.0, 5)) == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_an_operation_that_never_ends_is_given_up(
    later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xrouter.providers.yandexgpt.chat._POLLS", 2)
    with pytest.raises(UpstreamTimeout):
        later.collect(OP, *[{"done": False}] * 3)


@pytest.mark.parametrize(
    "base_url,options,url",
    [
        ("https://llm.api.cloud.yandex.net", {}, "https://operation.api.cloud.yandex.net"),
        ("https://ai.api.cloud.yandex.net/v1", {}, "https://operation.api.cloud.yandex.net"),
        ("https://proxy.example/v1", {}, "https://proxy.example"),
        ("https://a.example", {"operations_url": "https://o.example/"}, "https://o.example"),
    ],
)
def test_where_operations_are_asked(
    make_endpoint: Callable[..., Endpoint],
    make_target: Callable[[str], Target],
    base_url: str,
    options: dict[str, str],
    url: str,
) -> None:
    endpoint = make_endpoint(options={"folder_id": "b1gx"} | options, base_url=base_url)
    later = Later(YandexGPTAdapter(endpoint), make_target("yandexgpt"))
    _, asked = later.collect(OP, DONE)
    assert asked[0].url == f"{url}/operations/{OP}"
    later.adapter.authorize(asked[0], None)
    assert asked[0].headers["authorization"] == "Api-Key AQVNsecretkey"


PICTURE = {"type": "image_url", "image_url": {"url": "https://pictures.example/a"}}


@pytest.mark.parametrize(
    "given,word",
    [
        (WireReply(404, {}, b""), "404"),
        (WireReply(200, {}, b"<html>"), "JPEG"),
        (WireReply(200, {}, b"\xff\xd8\xff" + bytes(11 << 20)), "MiB"),
        (UpstreamUnreachable("private address"), "could not be fetched"),
    ],
)
def test_pictures_that_do_not_come_are_the_callers(
    make_endpoint: Callable[..., Endpoint],
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
    given: WireReply | XRouterError,
    word: str,
) -> None:
    adapter = YandexGPTAdapter(make_endpoint(options={"folder_id": "b1gx", "image_urls": "fetch"}))
    request = make_request(messages=[{"role": "user", "content": [PICTURE]}])
    before = adapter.encode_chat(request, make_target("gemma-3-27b-it")).before()
    assert before is not None
    wire = next(before)
    assert wire.foreign
    assert "authorization" not in wire.headers
    with pytest.raises(InvalidRequest, match=word) as refused:
        before.throw(given) if isinstance(given, XRouterError) else before.send(given)
    assert refused.value.param == "messages[0].content[0].image_url.url"


def test_a_request_is_not_changed_by_what_is_fetched(
    make_endpoint: Callable[..., Endpoint],
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
) -> None:
    """It may go to another provider afterwards."""
    adapter = YandexGPTAdapter(make_endpoint(options={"folder_id": "b1gx", "image_urls": "fetch"}))
    request = make_request(messages=[{"role": "user", "content": [PICTURE]}])
    exchange = adapter.encode_chat(request, make_target("gemma-3-27b-it"))
    before = exchange.before()
    assert before is not None
    next(before)
    with pytest.raises(StopIteration):
        before.send(WireReply(200, {}, b"GIF89a"))
    assert b"data:image/gif;base64,R0lGODlh" in exchange.wire.body
    assert request.messages[0].content == [PICTURE]


def test_too_many_pictures_by_address(
    make_endpoint: Callable[..., Endpoint],
    make_target: Callable[[str], Target],
    make_request: Callable[..., ChatRequest],
) -> None:
    adapter = YandexGPTAdapter(make_endpoint(options={"folder_id": "b1gx", "image_urls": "fetch"}))
    request = make_request(messages=[{"role": "user", "content": [PICTURE] * 11}])
    with pytest.raises(InvalidRequest) as refused:
        adapter.encode_chat(request, make_target("gemma-3-27b-it"))
    assert refused.value.param == "messages[0].content[10].image_url.url"


def test_only_a_plain_400_is_worth_another_way(
    later: Later, make_request: Callable[..., ChatRequest]
) -> None:
    json = make_request(response_format={"type": "json_object"})
    exchange = later.adapter.encode_chat(json, later.target)
    assert exchange.instead(UpstreamFailed("x")) is None
    assert exchange.instead(NotFound("x")) is None
    assert exchange.instead(InvalidRequest("x")) is not None
    plain = later.adapter.encode_chat(make_request(), later.target)
    assert plain.instead(InvalidRequest("x")) is None
