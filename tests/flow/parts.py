"""OpenAI's adapter with errands and other parts given by a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from tests.flow.harness import Rig
from typing_extensions import override

from xrouter.domain.answer import ChatAnswer, ChatDelta
from xrouter.domain.catalog import Endpoint
from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import XRouterError
from xrouter.domain.plan import Target
from xrouter.providers.base import ChatExchange, Lane
from xrouter.providers.openai import OpenAIAdapter
from xrouter.providers.shapes.openai_chat import OpenAIChat
from xrouter.wire.types import Errand, WireReply, WireRequest

MODEL = "openai/gpt-4o-mini"


class Exchange(OpenAIChat):
    """An OpenAI exchange with errands given from outside."""

    adapter: Adapter
    mute = False

    @override
    def before(self) -> Errand[None] | None:
        return self.adapter.before(self) if self.adapter.before else None

    @override
    def after(self) -> Errand[list[ChatDelta]] | None:
        return self.adapter.after() if self.adapter.after else None

    @override
    def instead(self, error: XRouterError) -> ChatExchange | None:
        return self.adapter.instead(self, error) if self.adapter.instead else None

    @override
    def answer(self, reply: WireReply) -> ChatAnswer:
        answer = super().answer(reply)
        answer.usage = None if self.mute else answer.usage
        return answer

    @override
    def feed(self, name: str, data: bytes) -> list[ChatDelta]:
        deltas = super().feed(name, data)
        for delta in deltas:
            delta.usage = None if self.mute else delta.usage
        return deltas


class Adapter(OpenAIAdapter):
    """several: alternatives take a call each. mute: so many calls hear nothing of usage."""

    before: Callable[[Exchange], Errand[None]] | None = None
    after: Callable[[], Errand[list[ChatDelta]]] | None = None
    instead: Callable[[Exchange, XRouterError], ChatExchange | None] | None = None
    width: int | None = None
    several = False
    mute = 0

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        inner = super().encode_chat(request, target)
        body = msgspec.json.decode(inner.wire.body)
        copies = body.pop("n", 1) if self.several else 1
        inner.wire.body = msgspec.json.encode(body)
        exchange = Exchange(inner.wire, self.reader, inner.dropped)
        exchange.adapter = self
        exchange.copies = copies
        exchange.mute = self.mute > 0
        self.mute -= 1
        return exchange

    @override
    def lane(self) -> Lane | None:
        return None if self.width is None else Lane("account", self.width)

    def models(self) -> WireRequest:
        return self.get("/models")


def use(rig: Rig, **parts: Any) -> None:
    """Let the OpenAI endpoints have an adapter with these parts."""

    def build(endpoint: Endpoint) -> Adapter:
        adapter = Adapter(endpoint)
        for name, value in parts.items():
            setattr(adapter, name, value)
        return adapter

    rig.build = build
