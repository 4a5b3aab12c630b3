"""OpenAI itself, and everything that speaks its language and has no adapter of its own."""

from __future__ import annotations

import re
from typing import ClassVar

import msgspec
from typing_extensions import override

from xrouter.domain.catalog import Kind, ModelDescription
from xrouter.providers.base import EnvironmentSpec
from xrouter.providers.shapes.openai import OpenAILanguageAdapter
from xrouter.providers.shapes.openai_models import described, listed, only_version
from xrouter.wire.types import WireReply, WireRequest

_MODELS: tuple[tuple[str, str, Kind, int], ...] = (
    ("gpt-4o", "GPT-4o", "chat", 128_000),
    ("gpt-4o-mini", "GPT-4o mini", "chat", 128_000),
    ("gpt-4.1", "GPT-4.1", "chat", 1_047_576),
    ("gpt-4.1-mini", "GPT-4.1 mini", "chat", 1_047_576),
    ("gpt-4.1-nano", "GPT-4.1 nano", "chat", 1_047_576),
    ("gpt-5", "GPT-5", "chat", 400_000),
    ("gpt-5-mini", "GPT-5 mini", "chat", 400_000),
    ("gpt-5-nano", "GPT-5 nano", "chat", 400_000),
    ("o1", "o1", "chat", 200_000),
    ("o3", "o3", "chat", 200_000),
    ("o3-mini", "o3-mini", "chat", 200_000),
    ("o4-mini", "o4-mini", "chat", 200_000),
    ("text-embedding-3-small", "text-embedding-3-small", "embeddings", 8_191),
    ("text-embedding-3-large", "text-embedding-3-large", "embeddings", 8_191),
)
_NEITHER = re.compile(
    r"^(?:whisper|tts|dall-e|gpt-image|chatgpt-image|omni-mod|text-mod|sora|davinci|babbage)"
    r"|realtime|-tts|transcribe|deep-research|-instruct|^codex|computer-use|-pro\b"
)
"""Models that neither chat completions nor embeddings serve."""


class OpenAIAdapter(OpenAILanguageAdapter):
    """OpenAI's own API. options: `organization` and `project`, besides the common ones."""

    provider: ClassVar[str] = "openai"
    display_name: ClassVar[str] = "OpenAI"
    default_base_url: ClassVar[str] = "https://api.openai.com/v1"
    environment: ClassVar[EnvironmentSpec | None] = EnvironmentSpec(
        required=(("OPENAI_API_KEY",),),
        credential={"api_key": "OPENAI_API_KEY"},
        options={"organization": "OPENAI_ORG_ID", "project": "OPENAI_PROJECT_ID"},
        base_url="OPENAI_BASE_URL",
    )
    known_options: ClassVar[frozenset[str]] = OpenAILanguageAdapter.known_options | {
        "organization",
        "project",
    }

    @classmethod
    @override
    def supported_models(cls) -> list[ModelDescription]:
        return [
            ModelDescription(
                name=name,
                display_name=shown,
                kind=kind,
                context_length=context,
                versions=only_version(name),
            )
            for name, shown, kind, context in _MODELS
        ]

    @override
    def authorize(self, wire: WireRequest, token: str | None) -> None:
        super().authorize(wire, token)
        for name in ("organization", "project"):
            value = self.endpoint.options.get(name)
            if value:
                wire.headers[f"openai-{name}"] = value

    @override
    def decode_models(self, reply: WireReply) -> list[ModelDescription]:
        """The list has no contexts: those of the models that ship with the adapter are put in."""
        known = {model.name: model for model in self.supported_models()}
        entries = (entry for entry in listed(reply.body) if not _NEITHER.search(entry["id"]))
        return [known.get(entry["id"]) or described(entry) for entry in entries]


class GenericOpenAIAdapter(OpenAILanguageAdapter):
    """Any other service that speaks the language; its models are found, not known."""

    provider: ClassVar[str] = "openai-compatible"
    display_name: ClassVar[str] = "OpenAI-compatible"
    environment: ClassVar[EnvironmentSpec | None] = EnvironmentSpec(
        required=(("OPENAI_COMPATIBLE_BASE_URL",),),
        credential={"api_key": "OPENAI_COMPATIBLE_API_KEY"},
        base_url="OPENAI_COMPATIBLE_BASE_URL",
    )
    detect_rank: ClassVar[int] = 100

    @classmethod
    @override
    def detect_probe(cls, base_url: str) -> WireRequest | None:
        return WireRequest("GET", f"{base_url}/models", {"accept": "application/json"})

    @classmethod
    @override
    def recognises(cls, reply: WireReply) -> bool:
        """A list of models, or an error object that asks for a key."""
        try:
            body = msgspec.json.decode(reply.body)
        except (ValueError, RecursionError):
            return False
        if not isinstance(body, dict):
            return False
        if reply.status in (401, 403):
            return bool(body.get("error") or body.get("detail") or body.get("message"))
        return reply.status < 300 and isinstance(body.get("data"), list)  # noqa: PLR2004 - HTTP
