"""OpenRouter: OpenAI's language with preferences, prices and errors of its own.

Its own parameters (`provider`, `models`, `plugins`, `reasoning`, ...) and the variants in names
(`:free`, `:nitro`) travel through untouched, as all unknown fields do.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar

from typing_extensions import override

from xrouter.domain.abilities import Features
from xrouter.domain.catalog import ModelDescription
from xrouter.providers.base import EnvironmentSpec
from xrouter.providers.openrouter.errors import OpenRouterErrors
from xrouter.providers.openrouter.models import described
from xrouter.providers.shapes.openai import OpenAILanguageAdapter
from xrouter.providers.shapes.openai_errors import ErrorReader
from xrouter.wire.types import WireReply, WireRequest

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
    request_id_headers: ClassVar[tuple[str, ...]] = ("x-generation-id", "x-request-id")
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
            "n": "native",
            "max_tokens": "native",
            "temperature_zero": "native",
            "top_p": "native",
            "penalties": "native",
            "seed": "native",
            "logprobs": "native",
            "logit_bias": "native",
            "prediction": "native",
            "embeddings": "native",
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
    def probe(self) -> WireRequest:
        """The list of models is public: only this shows that the key is good."""
        return self.get("/key")

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        return described(reply.body)
