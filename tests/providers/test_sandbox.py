"""Every adapter speaks with the simulator of its provider, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from xrouter.domain.answer import ChatAnswer, ChatDelta, Usage
from xrouter.domain.catalog import Endpoint, Model, ModelDescription
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.errors import (
    UpstreamFailed,
    UpstreamMalformed,
    UpstreamOverloaded,
    XRouterError,
)
from xrouter.domain.plan import Target
from xrouter.flow.lanes import Lanes
from xrouter.flow.upstreams import Means, Upstream
from xrouter.providers import factory
from xrouter.providers.base import from_environment
from xrouter.sandbox.application import Sandbox
from xrouter.sandbox.server import running
from xrouter.wire.client import Client, Route
from xrouter.wire.framing import parser_for
from xrouter.wire.tokens import TokenBook
from xrouter.wire.types import WireReply, WireRequest

PROVIDERS = sorted(Sandbox().simulators.keys() & factory.providers().keys())
TOOL = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}


class Caller:
    """One provider's endpoint in the sandbox."""

    def __init__(self, sandbox: Sandbox, url: str, name: str) -> None:
        known = factory.providers()[name]
        assert known.environment is not None
        fields = from_environment(known.environment, sandbox.environment(url))
        assert fields is not None
        assert fields.base_url is not None
        endpoint = Endpoint(
            id=1,
            provider=name,
            name="primary",
            adapter_class=known.adapter_class,
            base_url=fields.base_url,
            credential=fields.credential,
            options=fields.options,
        )
        self.client = Client()
        self.adapter = factory.build(endpoint)
        self.upstream = Upstream(endpoint, self.adapter, Means(self.client, TokenBook(), Lanes()))
        self.sandbox = sandbox
        self.name = name

    def fault(self, kind: str, **more: object) -> None:
        self.sandbox.faults.add(
            msgspec.json.encode({"kind": kind, "provider": self.name, "times": None, **more})
        )

    async def ask(self, wire: WireRequest) -> WireReply:
        exchange = await self.upstream.open(wire)
        try:
            reply = WireReply(exchange.status, exchange.headers, await exchange.read())
        finally:
            exchange.close()
        if reply.status >= 300:
            raise self.adapter.decode_error(reply)
        return reply

    async def models(self) -> list[ModelDescription]:
        wire = self.adapter.discover()
        assert wire is not None
        return self.adapter.decode_models(await self.ask(wire))

    async def target(self) -> Target:
        shipped = self.adapter.supported_models() or await self.models()
        found = next(model for model in shipped if model.kind == "chat")
        model = Model(
            model_id=f"{self.name}/{found.name}",
            provider=self.name,
            adapter_class=self.adapter.endpoint.adapter_class,
            display_name=found.display_name,
            versions=found.versions,
        )
        return Target(self.adapter.endpoint, model, found.versions[0])

    async def answer(self, text: str, **more: object) -> ChatAnswer:
        exchange = self.adapter.encode_chat(request_of(text, **more), await self.target())
        return exchange.answer(await self.ask(exchange.wire))

    async def stream(self, text: str, **more: object) -> list[ChatDelta]:
        request = request_of(text, stream=True, **more)
        exchange = self.adapter.encode_chat(request, await self.target())
        parser = parser_for(exchange.framing)
        wire = await self.upstream.open(exchange.wire)
        deltas: list[ChatDelta] = []
        try:
            assert wire.status == 200
            while chunk := await wire.chunk():
                for name, data in parser.feed(chunk):
                    deltas += exchange.feed(name, data)
            for name, data in parser.end():
                deltas += exchange.feed(name, data)
        finally:
            wire.close()
        return deltas + exchange.end()


def request_of(text: str, **more: object) -> ChatRequest:
    body = msgspec.json.encode(
        {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    )
    request = msgspec.json.decode(body, type=ChatRequest)
    request.fields = msgspec.json.decode(body, type=Fields)
    return request


@pytest.fixture(params=PROVIDERS)
async def caller(request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    sandbox = Sandbox()
    async with running(app=sandbox) as url:
        caller = Caller(sandbox, url, request.param)
        yield caller
        await caller.client.close()


async def test_the_probe_and_the_live_list(caller: Caller) -> None:
    await caller.ask(caller.adapter.probe())
    assert await caller.models()


async def test_a_stream_says_what_a_whole_answer_says(caller: Caller) -> None:
    whole = await caller.answer("Tell me of rivers")
    deltas = await caller.stream("Tell me of rivers")
    assert whole.choices[0].message.content
    assert "".join(d.text or "" for d in deltas) == whole.choices[0].message.content
    reasons = [d.finish_reason for d in deltas if d.finish_reason]
    assert reasons == [whole.choices[0].finish_reason]
    assert counts(whole.usage) == counts(next(d.usage for d in deltas[::-1] if d.usage))


def counts(usage: Usage | None) -> tuple[int, int]:
    assert usage is not None
    return usage.prompt_tokens, usage.completion_tokens


async def test_a_tool_is_called(caller: Caller) -> None:
    whole = await caller.answer("What says get_time?", tools=[TOOL])
    assert whole.choices[0].message.tool_calls
    call = whole.choices[0].message.tool_calls[0]
    assert call.id
    assert call.function is not None
    deltas = await caller.stream("What says get_time?", tools=[TOOL])
    pieces = [piece for delta in deltas for piece in delta.tool_calls or ()]
    assert (pieces[0].index, pieces[0].name) == (0, "get_time")
    assert pieces[0].id
    assert msgspec.json.decode("".join(piece.arguments for piece in pieces)) == {}
    assert msgspec.json.decode(call.function.arguments) == {}


@pytest.mark.parametrize(
    "kind, status, expected",
    [
        ("server_error", 500, UpstreamFailed),
        ("server_error", 503, UpstreamOverloaded),
        ("html_error", 502, UpstreamFailed),
    ],
)
async def test_failures(
    caller: Caller, kind: str, status: int, expected: type[XRouterError]
) -> None:
    target = await caller.target()
    await caller.ask(caller.adapter.probe())  # so that a token is there already
    caller.fault(kind, status=status)
    exchange = caller.adapter.encode_chat(request_of("Hi"), target)
    with pytest.raises(expected):
        await caller.ask(exchange.wire)


@pytest.mark.parametrize("kind", ["cut", "malformed_chunk", "early_error_frame"])
async def test_a_stream_that_breaks_is_an_error(caller: Caller, kind: str) -> None:
    await caller.target()
    caller.fault(kind, after=2)
    with pytest.raises(XRouterError) as raised:
        await caller.stream("Tell me a long story of many rivers")
    assert raised.value.status >= 500
    if kind == "malformed_chunk":
        assert isinstance(raised.value, UpstreamMalformed)


async def test_who_is_there_can_be_found_out() -> None:
    """The server says its name on a route of its own."""
    sandbox = Sandbox()
    async with running(app=sandbox) as url:
        caller = Caller(sandbox, url, "llamacpp")
        questions = factory.detect(caller.adapter.endpoint.base_url)
        found = ""
        reply: WireReply | None = None
        try:
            request = next(questions)
            while True:
                reply = await caller.client.fetch(request, Route(), timeout=30)
                request = questions.send(reply)
        except StopIteration as stop:
            found = stop.value
        await caller.client.close()
    assert found == caller.adapter.endpoint.adapter_class
