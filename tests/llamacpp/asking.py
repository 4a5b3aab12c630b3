"""Calls of an adapter, sent by our own client to a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from tests.llamacpp import model as tiny
from tests.llamacpp.server import ALIAS

from xrouter.domain.answer import ChatAnswer, ChatDelta
from xrouter.domain.catalog import Endpoint, Model, Timeouts, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.flow.stream import UpstreamStream
from xrouter.providers.base import ChatExchange
from xrouter.providers.llamacpp.adapter import LlamaCppAdapter
from xrouter.wire.client import Client
from xrouter.wire.types import Route, WireReply, WireRequest

PATIENCE_S = 60.0
TIMEOUTS = Timeouts()
USER = {"role": "user", "content": "Привет! How are you?"}
WAIT = {"type": "function", "function": {"name": "wait"}}
STEADY: dict[str, Any] = {
    "temperature": 0,
    "logit_bias": {str(tiny.TOKENS.index(tiny.END)): -100},
}
"""The likeliest letters: the same each time, and no end of the turn."""
CHANCE: dict[str, Any] = {"temperature": 1, "seed": 1}
"""Letters by chance, the same each time; the turn ends sooner or later."""


class Caller:
    """An endpoint with the tiny model behind it."""

    def __init__(
        self, client: Client, url: str, key: str | None = None, model: str = ALIAS
    ) -> None:
        self._client = client
        version = Version(label="latest", upstream=model)
        self.endpoint = Endpoint(
            id=1,
            provider="llamacpp",
            name="primary",
            adapter_class="xrouter.providers.llamacpp.adapter.LlamaCppAdapter",
            base_url=url,
            credential={} if key is None else {"api_key": Secret(key)},
        )
        described = Model(
            model_id=f"llamacpp/{model}",
            provider="llamacpp",
            adapter_class=self.endpoint.adapter_class,
            display_name=model,
            versions=(version,),
        )
        self.adapter = LlamaCppAdapter(self.endpoint)
        self.target = Target(self.endpoint, described, version)

    async def send(self, wire: WireRequest) -> WireReply:
        """The answer, of any status."""
        self.adapter.authorize(wire, None)
        return await self._client.fetch(wire, Route(), timeout=PATIENCE_S)

    async def ask(self, wire: WireRequest) -> WireReply:
        """The answer. Raises what the adapter makes of an error."""
        reply = await self.send(wire)
        if reply.status >= 400:
            raise self.adapter.decode_error(reply)
        return reply

    def exchange(self, **fields: Any) -> ChatExchange:
        """A chat with what is given besides a model and a message."""
        body = msgspec.json.encode({"model": "llamacpp/tiny", "messages": [USER]} | fields)
        request = msgspec.json.decode(body, type=ChatRequest)
        request.fields = msgspec.json.decode(body, type=Fields)
        return self.adapter.encode_chat(request, self.target)

    async def chat(self, **fields: Any) -> ChatAnswer:
        """A whole answer."""
        exchange = self.exchange(**fields)
        return exchange.answer(await self.ask(exchange.wire))

    async def open(self, **fields: Any) -> UpstreamStream:
        """A stream whose first deltas are there."""
        exchange = self.exchange(stream=True, stream_options={"include_usage": True}, **fields)
        self.adapter.authorize(exchange.wire, None)
        wire = await self._client.open(exchange.wire, Route())
        if wire.status >= 400:
            raise self.adapter.decode_error(WireReply(wire.status, wire.headers, await wire.read()))
        ends_at = asyncio.get_running_loop().time() + PATIENCE_S
        stream = UpstreamStream(exchange, wire, TIMEOUTS, ends_at, _nothing_more)
        await stream.listen()
        return stream

    async def stream(self, **fields: Any) -> list[ChatDelta]:
        """All deltas of a streamed answer."""
        stream = await self.open(**fields)
        try:
            deltas: list[ChatDelta] = []
            while more := await stream.next():
                deltas += more
            return deltas
        finally:
            stream.close()

    async def embed(self, text: str) -> EmbeddingsAnswer:
        body = msgspec.json.encode({"model": "llamacpp/tiny", "input": [text]})
        request = msgspec.json.decode(body, type=EmbeddingsRequest)
        request.fields = msgspec.json.decode(body, type=Fields)
        exchange = self.adapter.encode_embeddings(request, self.target)
        return exchange.answer([await self.ask(wire) for wire in exchange.wires])

    async def count(self, *texts: str) -> list[int]:
        exchange = self.adapter.encode_count(texts, self.target)
        return exchange.answer([await self.ask(wire) for wire in exchange.wires])


async def _nothing_more(_exchange: ChatExchange) -> list[ChatDelta]:
    return []


def text_of(deltas: list[ChatDelta], choice: int = 0) -> str:
    """What one alternative said."""
    return "".join(delta.text or "" for delta in deltas if delta.choice == choice)


def said(answer: ChatAnswer) -> str:
    (choice,) = answer.choices
    assert choice.message.content is not None
    return choice.message.content
