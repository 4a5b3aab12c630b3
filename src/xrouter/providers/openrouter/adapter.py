"""OpenRouter: OpenAI's language with preferences, prices and errors of its own.

Its own parameters (`provider`, `models`, `plugins`, `reasoning`, ...) and the variants in names
(`:free`, `:nitro`) travel through untouched, as all unknown fields do.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar

from typing_extensions import override

from xrouter.domain.abilities import Features
from xrouter.domain.answer import Usage
from xrouter.domain.catalog import ModelDescription
from xrouter.domain.chat import ChatRequest
from xrouter.domain.images import ImagesAnswer, ImagesRequest
from xrouter.domain.plan import Target
from xrouter.domain.raw import RawRequest
from xrouter.providers.base import ChatExchange, EnvironmentSpec
from xrouter.providers.openrouter.afterwards import MARK, told
from xrouter.providers.openrouter.chat import OpenRouterChat, check_told
from xrouter.providers.openrouter.errors import GENERATION, OpenRouterErrors
from xrouter.providers.openrouter.models import described
from xrouter.providers.openrouter.operations import SPEECH, picture_body, speech_body
from xrouter.providers.openrouter.parameters import leave_out
from xrouter.providers.shapes.openai import OpenAILanguageAdapter
from xrouter.providers.shapes.openai_body import chat_body
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.providers.shapes.openai_pictures import pictures_of
from xrouter.wire.types import Errand, WireReply, WireRequest

TITLE = "XRouter"


class OpenRouterAdapter(OpenAILanguageAdapter):
    """options: `referer` and `title` (attribution: who asks), besides the common ones."""

    provider: ClassVar[str] = "openrouter"
    display_name: ClassVar[str] = "OpenRouter"
    default_base_url: ClassVar[str] = "https://openrouter.ai/api/v1"
    environment: ClassVar[EnvironmentSpec | None] = EnvironmentSpec(
        required=(("OPENROUTER_API_KEY",),),
        credential={"api_key": "OPENROUTER_API_KEY"},
        options={"referer": "OPENROUTER_REFERER", "title": "OPENROUTER_TITLE"},
        base_url="OPENROUTER_BASE_URL",
    )
    known_options: ClassVar[frozenset[str]] = OpenAILanguageAdapter.known_options | {
        "referer",
        "title",
    }
    errors: ClassVar[type[ErrorReader]] = OpenRouterErrors
    variants: ClassVar[tuple[str, ...]] = ("nitro", "floor", "online", "exacto")
    request_id_headers: ClassVar[tuple[str, ...]] = (GENERATION, "x-request-id")
    features: ClassVar[Features] = MappingProxyType(
        {
            "streaming": "native",
            "stream_usage": "native",
            "system": "native",
            "late_system": "native",
            "tools": "native",
            "parallel_tools": "native",
            "parallel_tools_off": "native",
            "tool_choice_none": "native",
            "tool_choice_required": "native",
            "tool_choice_named": "native",
            "json_object": "native",
            "json_schema": "native",
            "vision": "native",
            "image_urls": "native",
            "files": "native",
            "audio_input": "native",
            "reasoning": "native",
            "stop": "native",
            "n": "emulated",
            "max_tokens": "native",
            "temperature_zero": "native",
            "top_p": "native",
            "penalties": "native",
            "seed": "native",
            "logprobs": "native",
            "logit_bias": "native",
            "prediction": "native",
            "embeddings": "native",
            "images": "native",
            "speech": "native",
        }
    )

    @override
    def authorize(self, wire: WireRequest, token: str | None) -> None:
        super().authorize(wire, token)
        options = self.endpoint.options
        wire.headers["x-openrouter-title"] = options.get("title") or TITLE
        if options.get("referer"):
            wire.headers["http-referer"] = options["referer"]

    @override
    def encode_chat(self, request: ChatRequest, target: Target) -> ChatExchange:
        body, dropped = chat_body(request, target.version.upstream, self.habits)
        body.pop("n", None)
        dropped += leave_out(body, target.model.abilities.features)
        wire = self.post("/chat/completions", body, stream=request.streaming)
        return OpenRouterChat(wire, self.reader, tuple(sorted(dropped)), request.n or 1)

    @override
    def images(self, request: ImagesRequest, target: Target) -> Errand[ImagesAnswer]:
        body, dropped = picture_body(request, target.version.upstream)
        return self._draw(body, dropped)

    def _draw(self, body: dict[str, Any], dropped: list[str]) -> Errand[ImagesAnswer]:
        reply = yield self.post("/images", body)
        if reply.status >= 300:  # noqa: PLR2004 - HTTP
            raise self.decode_error(reply)
        check_told(reply, self.reader)
        answer = pictures_of(reply.body)
        answer.dropped = tuple(dropped)
        return answer

    @override
    def raw(self, request: RawRequest, target: Target) -> WireRequest:
        if request.operation != SPEECH:
            return super().raw(request, target)
        headers = {"content-type": "application/json", "accept": "*/*"}
        body = speech_body(request, target.version.upstream)
        return WireRequest("POST", f"{self.base_url}/{SPEECH}", headers, body)

    @override
    def afterwards(self, call: str) -> Errand[Usage | None] | None:
        return told(self.base_url, call, self.reader) if call.startswith(MARK) else None

    @override
    def discover(self) -> WireRequest | None:
        """Without asking for all, the list has models that write text only, and 500 of them."""
        return self.get("/models?output_modalities=all&limit=1000")

    @override
    def probe(self) -> WireRequest:
        """The list of models is public: only this shows that the key is good."""
        return self.get("/key")

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        return described(reply.body)
