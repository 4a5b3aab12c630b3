"""An adapter that speaks OpenAI's language: the parts that all its speakers have in common."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from typing_extensions import override

from xrouter.domain.catalog import Endpoint, ModelDescription
from xrouter.domain.chat import ChatRequest
from xrouter.domain.embeddings import EmbeddingsRequest
from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.domain.plan import Target
from xrouter.providers.base import BaseAPIAdapter, ChatExchange, EmbeddingsExchange
from xrouter.providers.shapes.openai_body import OPTIONS, chat_body, embeddings_body, habits_of
from xrouter.providers.shapes.openai_chat import OpenAIChat
from xrouter.providers.shapes.openai_embeddings import OpenAIEmbeddings
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.providers.shapes.openai_models import described, listed
from xrouter.wire.types import WireReply, WireRequest

_JSON = {"content-type": "application/json", "accept": "application/json"}
_STREAM = {"content-type": "application/json", "accept": "text/event-stream"}


class OpenAILanguageAdapter(BaseAPIAdapter):
    """Speaks OpenAI's chat completions and embeddings.

    base_url: what comes before `/chat/completions`; it usually ends in `/v1`.
    credential: `api_key`, which some local services do not need.
    options: those of `openai_body`, and `known_options` of the class.
    """

    known_options: ClassVar[frozenset[str]] = OPTIONS
    errors: ClassVar[type[ErrorReader]] = ErrorReader

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.habits = habits_of(endpoint.options)
        self.reader = self.errors([s.reveal() for s in endpoint.credential.values()])

    @classmethod
    @override
    def supported_models(cls) -> list[ModelDescription]:
        return []

    @classmethod
    @override
    def validate(cls, endpoint: Endpoint) -> None:
        if not endpoint.base_url.startswith(("https://", "http://")):
            raise _wrong("base_url", "'base_url' must be an http or https URL.")
        key = endpoint.credential.get("api_key")
        text = key.reveal() if key else ""
        if not text.isascii() or not text.isprintable() or " " in text:
            raise _wrong("credential.api_key", "It holds characters that a key cannot have.")
        for name, value in endpoint.options.items():
            if name not in cls.known_options:
                raise _wrong(f"options.{name}", f"There is no option '{name}'.")
            if not value.isascii() or not value.isprintable():
                raise _wrong(f"options.{name}", "It holds characters that it cannot have.")
        habits_of(endpoint.options)

    @override
    def authorize(self, wire: WireRequest, token: str | None) -> None:
        key = self.endpoint.credential.get("api_key")
        if key:
            wire.headers["authorization"] = f"Bearer {key.reveal()}"

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        body, dropped = chat_body(request, target.version.upstream, self.habits)
        wire = self.post("/chat/completions", body, stream=request.streaming)
        return OpenAIChat(wire, self.reader, tuple(sorted(dropped)))

    @override
    def encode_embeddings(self, request: EmbeddingsRequest, target: Target) -> EmbeddingsExchange:
        body, dropped = embeddings_body(request, target.version.upstream, self.habits)
        wire = self.post("/embeddings", body)
        return OpenAIEmbeddings(wire, len(request.input), self.reader, tuple(dropped))

    @override
    def decode_error(self, reply: WireReply) -> XRouterError:
        return self.reader.of_reply(reply)

    @override
    def probe(self) -> WireRequest:
        return self.get("/models")

    @override
    def discover(self) -> WireRequest | None:
        return self.get("/models")

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        return [described(entry) for entry in listed(reply.body)]

    def post(self, path: str, body: dict[str, Any], *, stream: bool = False) -> WireRequest:
        """A request with a JSON body; values may be raw JSON."""
        headers = dict(_STREAM if stream else _JSON)
        return WireRequest("POST", self.base_url + path, headers, msgspec.json.encode(body))

    def get(self, path: str) -> WireRequest:
        """A request for JSON."""
        return WireRequest("GET", self.base_url + path, {"accept": "application/json"})


def _wrong(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_value", param=param)
