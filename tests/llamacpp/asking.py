"""Calls of an adapter, sent by our own client to a real server."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import msgspec
from tests.llamacpp import model as tiny
from tests.llamacpp.server import ALIAS

from xrouter.domain.answer import ChatAnswer, ChatDelta
from xrouter.domain.catalog import Endpoint, Model, Timeouts, Version
from xrouter.domain.chat import ChatRequest, Fields
from xrouter.domain.counting import CountRequest, TokenCount
from xrouter.domain.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from xrouter.domain.plan import Target
from xrouter.domain.secret import Secret
from xrouter.flow.stream import UpstreamStream
from xrouter.providers.base import ChatExchange
from xrouter.providers.llamacpp.adapter import LlamaCppAdapter
from xrouter.wire.client import Client
from xrouter.wire.types import Errand, Route, WireReply, WireRequest

T = TypeVar("T")

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
        self,
        client: Client,
        url: str,
        key: str | None = None,
        model: str = ALIAS,
        options: dict[str, str] | None = None,
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
            options=options or {},
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

    async def run(self, errand: Errand[T]) -> T:
        """What an errand returns."""
        try:
            wire = next(errand)
            while True:
                wire = errand.send(await self.send(wire))
        except StopIteration as end:
            found: T = end.value
            return found

    async def exchange(self, **fields: Any) -> ChatExchange:
        """A chat with what is given besides a model and a message, ready to be sent."""
        exchange = self.adapter.encode_chat(chat_of(fields), self.target)
        before = exchange.before()
        if before is not None:
            await self.run(before)
        return exchange

    async def sent(self, exchange: ChatExchange) -> tuple[ChatExchange, WireReply]:
        """The answer, in the way of asking that brings it, of at most two."""
        reply = await self.send(exchange.wire)
        if reply.status < 400:
            return exchange, reply
        error = self.adapter.decode_error(reply)
        other = exchange.instead(error)
        if other is None:
            raise error
        return other, await self.ask(other.wire)

    async def chat(self, **fields: Any) -> ChatAnswer:
        """A whole answer."""
        exchange, reply = await self.sent(await self.exchange(**fields))
        return exchange.answer(reply)

    async def open(self, **fields: Any) -> UpstreamStream:
        """A stream whose first deltas are there."""
        exchange = await self.exchange(
            stream=True, stream_options={"include_usage": True}, **fields
        )
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
        """Tokens of each text."""
        return list((await self._counted(CountRequest(model="m", texts=list(texts)))).parts)

    async def count_chat(self, **fields: Any) -> int:
        """Tokens of the prompt that a chat becomes."""
        return (await self._counted(CountRequest(model="m", chat=chat_of(fields)))).tokens

    async def _counted(self, request: CountRequest) -> TokenCount:
        errand = self.adapter.count(request, self.target)
        assert errand is not None
        return await self.run(errand)


def chat_of(fields: dict[str, Any]) -> ChatRequest:
    """A chat request, as the door reads it."""
    body = msgspec.json.encode({"model": "llamacpp/tiny", "messages": [USER]} | fields)
    request = msgspec.json.decode(body, type=ChatRequest)
    request.fields = msgspec.json.decode(body, type=Fields)
    return request


async def _nothing_more(_exchange: ChatExchange) -> list[ChatDelta]:
    return []


def text_of(deltas: list[ChatDelta], choice: int = 0) -> str:
    """What one alternative said."""
    return "".join(delta.text or "" for delta in deltas if delta.choice == choice)


def said(answer: ChatAnswer) -> str:
    (choice,) = answer.choices
    assert choice.message.content is not None
    return choice.message.content
