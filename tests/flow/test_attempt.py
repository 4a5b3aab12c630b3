"""What an exchange may ask for beside its one call, with adapters made for the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.flow.harness import MODELS, Recorder, Rig
from tests.flow.parts import MODEL, Adapter, Exchange, use
from typing_extensions import override

from xrouter.domain.abilities import Abilities, Degree, Feature
from xrouter.domain.answer import ChatDelta, Usage
from xrouter.domain.catalog import Model
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.errors import (
    InvalidRequest,
    UpstreamFailed,
    UpstreamMalformed,
    XRouterError,
)
from xrouter.domain.images import ImagesAnswer, ImagesRequest, Picture
from xrouter.domain.plan import Target
from xrouter.domain.raw import RawRequest
from xrouter.flow.able import check_able
from xrouter.providers.base import ChatExchange
from xrouter.telemetry.logs import log
from xrouter.wire.types import Errand, WireReply, WireRequest


@pytest.mark.parametrize("stream", [True, False])
async def test_what_comes_before_completes_the_request(rig: Rig, stream: bool) -> None:
    def before(exchange: Exchange) -> Errand[None]:
        reply = yield exchange.adapter.models()
        name = msgspec.json.decode(reply.body)["data"][0]["id"]
        body = msgspec.json.decode(exchange.wire.body) | {"user": name}
        exchange.wire.body = msgspec.json.encode(body)

    use(rig, before=before)
    reply = await rig.chat(MODEL, stream=stream)
    assert reply.finish == "stop"
    listed, asked = rig.first.seen.report()
    assert listed["path"].endswith("/models")
    assert asked["body"]["user"]
    assert rig.event.attempts == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_what_comes_after_completes_the_answer(rig: Rig, stream: bool) -> None:
    def after() -> Errand[list[ChatDelta]]:
        reply = yield WireRequest("GET", rig.urls[0] + "/openai/v1/models")
        assert reply.status == 200
        return [ChatDelta(text=" indeed", extra={"images": []}, usage=Usage(70, 7))]

    use(rig, after=after, width=1)
    reply = await rig.chat(MODEL, "[[words:3]]", stream=stream)
    said = reply.text
    assert said.endswith(" indeed")
    assert (rig.event.tokens_in, rig.event.tokens_out) == (70, 7)


async def test_what_fails_after_a_stream_costs_nothing_but_that(rig: Rig) -> None:
    def after() -> Errand[list[ChatDelta]]:
        yield WireRequest("GET", "http://127.0.0.1:1/")
        return []

    use(rig, after=after)
    with log.captured() as logged:
        reply = await rig.chat(MODEL, "[[words:3]]", stream=True)
    assert (reply.error, reply.finish) == (None, "stop")
    assert rig.event.tokens_out > 0
    (line,) = logged
    assert (line["event"], line["endpoint"]) == ("completion_failed", "at-1")
    assert line["error"]


async def test_what_fails_after_a_whole_answer_is_told(rig: Rig) -> None:
    def after() -> Errand[list[ChatDelta]]:
        yield WireRequest("GET", rig.urls[0] + "/openai/v1/models")
        raise UpstreamMalformed("The picture is gone.")

    use(rig, after=after)
    rig.use(standby=False)
    reply = await rig.chat(MODEL)
    assert isinstance(reply.error, UpstreamMalformed)
    (charge,) = rig.first.bill
    assert (rig.event.tokens_in, rig.event.tokens_out) == (charge.tokens_in, charge.tokens_out)
    assert (rig.event.outcome, rig.event.tokens_estimated) == ("error", False)


@pytest.mark.parametrize("stream", [True, False])
async def test_another_way_is_taken_when_the_first_is_refused(rig: Rig, stream: bool) -> None:
    errors: list[XRouterError] = []

    def instead(exchange: Exchange, error: XRouterError) -> ChatExchange | None:
        errors.append(error)
        body = msgspec.json.decode(exchange.wire.body)
        body.pop("temperature", None)
        exchange.wire.body = msgspec.json.encode(body)
        return exchange if len(errors) == 1 else None

    use(rig, instead=instead)
    reply = await rig.chat("openai/o4-mini", stream=stream, temperature=0.5)
    assert reply.error is None
    assert [type(error) for error in errors] == [InvalidRequest]
    assert rig.event.attempts == 2


async def test_ways_come_to_an_end(rig: Rig) -> None:
    use(rig, instead=lambda exchange, _error: exchange)
    reply = await rig.chat("openai/o4-mini", temperature=0.5)
    assert isinstance(reply.error, InvalidRequest)
    assert rig.event.attempts == 3


async def test_calls_of_one_account_take_turns(rig: Rig) -> None:
    """With one place, the second call begins when the first is over."""
    use(rig, width=1)
    asked = [rig.chat(MODEL, f"{number} [[words:3]]", stream=True) for number in range(5)]
    replies = await asyncio.gather(*asked)
    assert all(reply.error is None for reply in replies)
    seen = rig.asked(rig.first)
    ends = [each["finished"] for each in seen]
    assert all(later["started"] >= end for later, end in zip(seen[1:], ends, strict=False))
    assert len({event.request_id for event in rig.journal.events}) == 1
    assert len(rig.journal.events) == 5


async def test_who_leaves_the_queue_makes_room(rig: Rig) -> None:
    use(rig, width=1)
    held = Recorder(hold_at="deltas")
    first = asyncio.create_task(rig.chat(MODEL, "[[words:9]]", stream=True, reply=held))
    await held.held.wait()
    waiting = [asyncio.create_task(rig.chat(MODEL, stream=True)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    first.cancel()
    await asyncio.gather(first, waiting[0], return_exceptions=True)
    for task in waiting[1:]:
        assert (await task).finish == "stop"


class Drawing(Adapter):
    @override
    def images(self, request: ImagesRequest, target: Target) -> Errand[ImagesAnswer]:
        reply = yield self.models()
        again = yield self.models()
        assert reply.status == again.status
        if reply.status != 200:
            raise UpstreamFailed("It cannot draw.")
        return ImagesAnswer([Picture(b64_json=request.prompt)], Usage(3, 0))

    @override
    def count(self, request: CountRequest, target: Target) -> Errand[TokenCount] | None:
        return None if request.chat is not None else self._counted(request)

    def _counted(self, request: CountRequest) -> Errand[TokenCount]:
        reply: WireReply = yield self.models()
        assert reply.status == 200
        return TokenCount(tuple(len(text) for text in request.texts or ()))

    @override
    def raw(self, request: RawRequest, target: Target) -> WireRequest:
        body = msgspec.json.decode(request.body) | {"model": target.version.upstream}
        return self.post("/embeddings", body)


async def test_pictures_come_by_an_errand_and_fall_over(rig: Rig) -> None:
    rig.build = Drawing
    reply = await rig.draw(MODEL, "A hedgehog")
    assert reply.pictures is not None
    assert reply.pictures.pictures == [Picture(b64_json="A hedgehog")]
    assert (rig.event.tokens_in, rig.event.operation) == (3, "images")
    rig.fault("server_error", match={"path": "models"})
    again = await rig.draw(MODEL)
    assert again.served is not None
    assert again.served.endpoint == "at-2"


async def test_pictures_of_a_provider_that_does_not_draw_are_refused(rig: Rig) -> None:
    reply = await rig.draw("llamacpp/qwen3-8b")
    assert isinstance(reply.error, InvalidRequest)
    assert reply.error.param == "model"


async def test_tokens_are_counted_or_estimated(rig: Rig) -> None:
    rig.build = Drawing
    counted = (await rig.count(MODEL, input=["one", "fourteen"])).counted
    assert counted == TokenCount((3, 8))
    messages = [{"role": "user", "content": "twelve chars"}]
    estimated = (await rig.count(MODEL, messages=messages)).counted
    assert estimated == TokenCount((3,), estimated=True)


async def test_an_answer_is_passed_on_as_it_comes(rig: Rig) -> None:
    rig.build = Drawing
    reply = await rig.pass_on("openai/text-embedding-3-small", "anything", {"input": "x"})
    assert reply.calls == ["start", "close_raw"]
    assert reply.content_type.startswith("application/json")
    assert msgspec.json.decode(reply.raw)["object"] == "list"
    rig.fault("cut", match={"path": "embeddings"}, times=1)
    broken = await rig.pass_on("openai/text-embedding-3-small", "anything", {"input": "x"})
    assert broken.calls[-1] == "break_raw"
    assert rig.journal.events[-1].outcome == "error"


class Reading(Drawing):
    @override
    def raw_reader(self, request: RawRequest) -> Callable[[bytes], bytes] | None:
        return lambda body: body.replace(b"embedding", b"vector")


async def test_an_answer_that_is_read_before_it_is_passed_on(rig: Rig) -> None:
    rig.build = Reading
    reply = await rig.pass_on("openai/text-embedding-3-small", "anything", {"input": "x"})
    assert reply.calls == ["start", "close_raw"]
    assert msgspec.json.decode(reply.raw)["data"][0]["object"] == "vector"
    rig.fault("cut", match={"path": "embeddings"}, times=1)
    broken = await rig.pass_on("openai/text-embedding-3-small", "anything", {"input": "x"})
    assert broken.calls == ["refuse"]
    assert rig.journal.events[-1].outcome == "error"


async def test_addresses_that_callers_name_must_be_public(rig: Rig) -> None:
    def before(_exchange: Exchange) -> Errand[None]:
        yield WireRequest("GET", rig.urls[0] + "/openai/v1/models", foreign=True)

    use(rig, before=before)
    rig.use(standby=False)
    reply = await rig.chat(MODEL)
    assert reply.error is not None
    assert reply.error.code == "upstream_unreachable"
    assert rig.first.seen.report() == []


async def test_nothing_of_ours_goes_to_such_an_address(rig: Rig) -> None:
    def before(_exchange: Exchange) -> Errand[None]:
        reply = yield WireRequest("GET", rig.urls[0] + "/openai/v1/models", foreign=True)
        assert reply.status == 401

    anywhere = msgspec.structs.replace(rig.client._dialler, accepts=lambda _address: True)
    rig.client._dialler = anywhere
    use(rig, before=before)
    assert (await rig.chat(MODEL)).error is None
    assert "authorization" not in rig.first.seen.report()[0]["headers"]


def able(model: str, features: dict[Feature, Degree]) -> Model:
    return msgspec.structs.replace(MODELS[model], abilities=Abilities(features=features))


def request(**body: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]} | body
    return msgspec.convert(body, ChatRequest)


@pytest.mark.parametrize(
    "feature,body,param",
    [
        ("tools", {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ("tools", {"functions": [{"name": "f"}]}, "functions"),
        ("custom_tools", {"tools": [{"type": "custom"}]}, "tools"),
        ("tool_choice_required", {"tool_choice": "required"}, "tool_choice"),
        ("tool_choice_named", {"tool_choice": {"type": "function"}}, "tool_choice"),
        ("json_object", {"response_format": {"type": "json_object"}}, "response_format"),
        ("json_schema", {"response_format": {"type": "json_schema"}}, "response_format"),
        ("n", {"n": 2}, "n"),
        ("stop", {"stop": "x"}, "stop"),
        ("logprobs", {"logprobs": True}, "logprobs"),
        ("logit_bias", {"logit_bias": {"1": 1.0}}, "logit_bias"),
        ("audio_output", {"modalities": ["text", "audio"]}, "modalities"),
        ("reasoning", {"reasoning_effort": "low"}, "reasoning_effort"),
        (
            "vision",
            {"messages": [{"role": "user", "content": [{"type": "text"}, {"type": "image_url"}]}]},
            "messages[0].content[1]",
        ),
    ],
)
def test_what_a_model_lacks_is_refused_by_name(
    rig: Rig, feature: Any, body: dict[str, Any], param: str
) -> None:
    lacking = able(MODEL, {feature: "refused"})
    having = able("yandex/yandexgpt", {feature: "emulated"})
    snapshot = msgspec.structs.replace(
        rig.snapshots.current, models={MODEL: lacking, "yandex/yandexgpt": having}
    )
    with pytest.raises(InvalidRequest) as refused:
        check_able(request(**body), lacking, snapshot)
    assert refused.value.param == param
    assert refused.value.hint == "Models that can: yandex/yandexgpt."
    check_able(request(), lacking, snapshot)
    check_able(request(**body), having, snapshot)


def test_an_answer_longer_than_the_model_can_give_is_refused(rig: Rig) -> None:
    short = msgspec.structs.replace(MODELS[MODEL], abilities=Abilities(max_output=100))
    check_able(request(max_tokens=100), short, rig.snapshots.current)
    for name in ("max_tokens", "max_completion_tokens"):
        with pytest.raises(InvalidRequest) as refused:
            check_able(request(**{name: 101}), short, rig.snapshots.current)
        assert refused.value.param == name
