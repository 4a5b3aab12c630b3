"""The adapter against the simulator, which is as strict as the original."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from tests.sandbox.yandex_caller import KEY, Caller

from xrouter.domain.answer import ChatAnswer, ChatDelta, Usage
from xrouter.domain.catalog import Endpoint, Model, Version
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import CountRequest
from xrouter.domain.errors import InvalidRequest, UpstreamDenied, UpstreamRateLimited, XRouterError
from xrouter.domain.images import ImagesRequest
from xrouter.domain.plan import Target
from xrouter.providers.base import ChatExchange
from xrouter.providers.yandexgpt.adapter import YandexGPTAdapter
from xrouter.sandbox.kit import SandboxRequest, SandboxResponse
from xrouter.sandbox.yandex.models import FOLDER
from xrouter.wire.framing import parser_for
from xrouter.wire.types import Errand, WireReply, WireRequest

T = TypeVar("T")
Maker = Callable[..., Any]


class Line:
    """Sends the adapter's requests to the simulator; pauses pass at once."""

    def __init__(self, make_endpoint: Callable[..., Endpoint], **options: str) -> None:
        self.caller = Caller()
        self.seen: list[SandboxRequest] = []
        given = {"folder_id": FOLDER} | options
        credential = {} if options.get("auth") == "metadata" else {"api_key": KEY}
        self.endpoint = make_endpoint(credential, given, "http://here")
        self.adapter = YandexGPTAdapter(self.endpoint)
        self.token: str | None = None

    def target(self, upstream: str) -> Target:
        name = upstream.partition("/")[0]
        version = Version(label="latest", upstream=upstream)
        model = Model(
            model_id=f"yandex/{name}",
            provider="yandex",
            adapter_class=self.endpoint.adapter_class,
            display_name=name,
            versions=(version,),
        )
        return Target(self.endpoint, model, version)

    async def send(self, wire: WireRequest) -> SandboxResponse:
        self.caller.now += wire.pause
        path = urlsplit(wire.url).path
        request = SandboxRequest(wire.method, path, {}, wire.headers, wire.body, "http://here")
        self.seen.append(request)
        return await self.caller.simulator.handle(request)

    async def reply(self, wire: WireRequest) -> WireReply:
        if "metadata-flavor" not in wire.headers:
            self.adapter.authorize(wire, self.token)
        response = await self.send(wire)
        if response.on_close is not None:
            response.on_close(1)
        return WireReply(response.status, response.headers, response.body)

    async def run(self, errand: Errand[T] | None) -> T:
        assert errand is not None
        try:
            wire = next(errand)
            while True:
                wire = errand.send(await self.reply(wire))
        except StopIteration as end:
            result: T = end.value
            return result

    async def ask(self, request: ChatRequest, upstream: str) -> tuple[ChatAnswer, ChatExchange]:
        exchange = self.adapter.encode_chat(request, self.target(upstream))
        reply = await self.reply(exchange.wire)
        while reply.status >= 300:
            error = self.adapter.decode_error(reply)
            other = exchange.instead(error)
            if other is None:
                raise error
            exchange = other
            reply = await self.reply(exchange.wire)
        return exchange.answer(reply), exchange

    async def stream(self, request: ChatRequest, upstream: str) -> list[ChatDelta]:
        exchange = self.adapter.encode_chat(request, self.target(upstream))
        self.adapter.authorize(exchange.wire, self.token)
        response = await self.send(exchange.wire)
        assert response.on_close is not None
        parser = parser_for(exchange.framing)
        deltas: list[ChatDelta] = []
        for frame in response.frames or []:
            for name, data in parser.feed(frame):
                deltas += exchange.feed(name, data)
        deltas += exchange.end()
        response.on_close(len(response.frames or []))
        after = exchange.after()
        return deltas + (await self.run(after) if after is not None else [])


@pytest.fixture
def line(make_endpoint: Callable[..., Endpoint]) -> Line:
    return Line(make_endpoint)


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def usage_of(deltas: list[ChatDelta]) -> Usage:
    told = [delta.usage for delta in deltas if delta.usage is not None]
    return told[-1]


async def test_pictures(line: Line) -> None:
    request = ImagesRequest(model="m", prompt="A cat", n=2, size="1536x1024")
    answer = await line.run(line.adapter.images(request, line.target("yandex-art/latest")))
    assert len(answer.pictures) == 2
    ratio = json.loads(line.seen[0].body)["generationOptions"]["aspectRatio"]
    assert ratio == {"widthRatio": "3", "heightRatio": "2"}


@pytest.mark.parametrize("mark", ["[[policy]]", "[[policy_later]]"])
async def test_pictures_against_the_policy(line: Line, mark: str) -> None:
    request = ImagesRequest(model="m", prompt=f"A cat {mark}")
    with pytest.raises(InvalidRequest) as refused:
        await line.run(line.adapter.images(request, line.target("yandex-art/latest")))
    assert refused.value.code == "content_policy_violation"


async def test_a_deferred_answer(line: Line, make_request: Maker) -> None:
    target = line.target("yandexgpt/rc")
    request = make_request(messages=user("Hello STOP there"), stop="STOP")
    left = await line.run(line.adapter.defer(request, target))
    answer = await line.run(line.adapter.collect(left.reference, target))
    assert (answer.choices[0].message.content or "").endswith("You said: Hello ")
    assert line.caller.bill[-1].operation == "chat_async"


async def test_counts_agree_with_the_bill(line: Line, make_request: Maker) -> None:
    target = line.target("yandexgpt/latest")
    request = make_request(messages=user("Hello there, count me"))
    count = CountRequest(model="m", chat=request)
    counted = await line.run(line.adapter.count(count, target))
    answer, _ = await line.ask(request, "yandexgpt/latest")
    assert answer.usage is not None
    assert counted.tokens == answer.usage.prompt_tokens


async def test_a_stream_without_usage_is_counted(
    make_endpoint: Callable[..., Endpoint], make_request: Maker
) -> None:
    line = Line(make_endpoint, api="compatible")
    deltas = await line.stream(make_request(messages=user("Hello"), stream=True), "yandexgpt/rc")
    usage, charge = usage_of(deltas), line.caller.bill[-1]
    assert not usage.estimated
    assert (usage.prompt_tokens, usage.completion_tokens) == (charge.tokens_in, charge.tokens_out)


@pytest.mark.parametrize("api", ["native", "compatible"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_stub_is_known_for_what_it_is(
    make_endpoint: Callable[..., Endpoint], make_request: Maker, api: str, stream: bool
) -> None:
    line = Line(make_endpoint, api=api)
    request = make_request(messages=user("bad [[stub]]"), stream=stream)
    if stream:
        deltas = await line.stream(request, "yandexgpt/latest")
        assert [d.finish_reason for d in deltas if d.finish_reason] == ["content_filter"]
    else:
        answer, _ = await line.ask(request, "yandexgpt/latest")
        assert answer.choices[0].finish_reason == "content_filter"


@pytest.mark.parametrize("api", ["native", "compatible"])
@pytest.mark.parametrize("stream", [False, True])
async def test_leaked_calls_are_calls(
    make_endpoint: Callable[..., Endpoint], make_request: Maker, api: str, stream: bool
) -> None:
    line = Line(make_endpoint, api=api)
    tools = [tool("get_time"), tool("get_weather")]
    text = "[[leak]] get_weather and get_time"
    request = make_request(messages=user(text), tools=tools, stream=stream)
    if stream:
        deltas = await line.stream(request, "aliceai-llm/latest")
        names = [call.name for delta in deltas for call in delta.tool_calls or []]
        assert not any(delta.text for delta in deltas)
    else:
        answer, _ = await line.ask(request, "aliceai-llm/latest")
        made = answer.choices[0].message.tool_calls or []
        names = [call.function.name for call in made if call.function is not None]
        assert answer.choices[0].finish_reason == "tool_calls"
    assert names == ["get_weather", "get_time"]


@pytest.mark.parametrize("api", ["native", "compatible"])
async def test_a_conversation_with_tools(
    make_endpoint: Callable[..., Endpoint], make_request: Maker, api: str
) -> None:
    """Unique ids outward, names inward: both APIs refuse results that do not fit."""
    line = Line(make_endpoint, api=api)
    tools = [tool("get_time"), tool("get_weather")]
    messages: list[dict[str, Any]] = list(user("get_weather and get_time"))
    answer, _ = await line.ask(make_request(messages=messages, tools=tools), "yandexgpt/rc")
    calls = answer.choices[0].message.tool_calls or []
    assert len({call.id for call in calls}) == 2
    messages.append(
        {
            "role": "assistant",
            "tool_calls": [
                {"id": c.id, "type": "function", "function": {"name": c.function.name}}
                for c in calls
                if c.function is not None
            ],
        }
    )
    messages += [{"role": "tool", "tool_call_id": c.id, "content": c.id} for c in reversed(calls)]
    said, _ = await line.ask(make_request(messages=messages, tools=tools), "yandexgpt/rc")
    assert all(call.id in (said.choices[0].message.content or "") for call in calls)


async def test_one_call_where_one_was_asked_for(
    make_endpoint: Callable[..., Endpoint], make_request: Maker
) -> None:
    line = Line(make_endpoint, api="compatible")
    tools = [tool("get_time"), tool("get_weather")]
    text = "get_weather and get_time"
    request = make_request(messages=user(text), tools=tools, parallel_tool_calls=False)
    answer, _ = await line.ask(request, "yandexgpt/rc")
    assert len(answer.choices[0].message.tool_calls or []) == 1


async def test_json_another_way(line: Line, make_request: Maker) -> None:
    request = make_request(messages=user("Hi"), response_format={"type": "json_object"})
    answer, _ = await line.ask(request, "qwen3.6-35b-a3b/latest")
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)
    formats = [json.loads(seen.body)["response_format"]["type"] for seen in line.seen]
    assert formats == ["json_object", "json_schema"]


async def test_a_machine_with_an_account(
    make_endpoint: Callable[..., Endpoint], make_request: Maker
) -> None:
    line = Line(make_endpoint, auth="metadata", metadata_url="http://here")
    line.token = (await line.run(line.adapter.auth(0.0))).value
    for upstream in ("yandexgpt/latest", "gpt-oss-20b/latest"):
        answer, _ = await line.ask(make_request(), upstream)
        assert answer.choices[0].finish_reason == "stop"


async def test_nothing_is_logged_unless_the_operator_says_so(
    make_endpoint: Callable[..., Endpoint], make_request: Maker
) -> None:
    words = []
    for options in ({}, {"data_logging": "on"}):
        line = Line(make_endpoint, **options)
        await line.ask(make_request(), "yandexgpt/latest")
        words.append(line.seen[0].headers.get("x-data-logging-enabled"))
    assert words == ["false", None]


@pytest.mark.parametrize("upstream", ["yandexgpt/latest", "gpt-oss-20b/latest"])
async def test_a_folder_that_does_not_match_is_ours_and_not_shown(
    make_endpoint: Callable[..., Endpoint], make_request: Maker, upstream: str
) -> None:
    line = Line(make_endpoint, folder_id="b1gwrongfolder000000")
    with pytest.raises(UpstreamDenied) as denied:
        await line.ask(make_request(), upstream)
    told = json.dumps(denied.value.body())
    assert FOLDER not in told
    assert "b1gwrongfolder000000" not in told


async def test_the_gauge_is_a_limit_of_the_provider(line: Line, make_request: Maker) -> None:
    held = []
    target = line.target("yandexgpt/latest")
    for _ in range(10):
        wire = line.adapter.encode_chat(make_request(), target).wire
        line.adapter.authorize(wire, None)
        held.append(await line.send(wire))
    with pytest.raises(UpstreamRateLimited) as limited:
        await line.ask(make_request(), "yandexgpt/latest")
    assert limited.value.retry_after == 1.0
    lane = line.adapter.lane()
    assert lane is not None
    assert lane.width == 10


async def test_images_for_the_model_that_sees(line: Line, make_request: Maker) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    content = [{"type": "text", "text": "What is it?"}, part]
    request = make_request(messages=[{"role": "user", "content": content}])
    answer, _ = await line.ask(request, "gemma-3-27b-it/latest")
    assert "What is it?" in (answer.choices[0].message.content or "")
    with pytest.raises(XRouterError):
        await line.ask(request, "yandexgpt/latest")
