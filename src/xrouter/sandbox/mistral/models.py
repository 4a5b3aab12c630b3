"""The models of the simulated Mistral."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Job = Literal["chat", "embed", "moderate", "transcribe", "read"]


class Model(Struct, frozen=True, kw_only=True):
    """id: dated; aliases: moving names. context: tokens, prompt and answer together.

    effort: whether it takes `reasoning_effort`; mode: whether it takes `prompt_mode` instead.
    strict: an older one: no late system message, no named tool, no `$ref`, one alternative.
    dimensions: of an embedding model, else 0; shortens: whether fewer may be asked for.
    """

    id: str
    aliases: tuple[str, ...] = ()
    context: int = 131_072
    job: Job = "chat"
    tools: bool = True
    vision: bool = False
    audio: bool = False
    effort: bool = False
    mode: bool = False
    strict: bool = False
    dimensions: int = 0
    shortens: bool = False
    replacement: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All names it answers to."""
        return (self.id, *self.aliases)

    def shown(self, name: str) -> dict[str, Any]:
        """Its entry of the list under one of its names."""
        chat = self.job == "chat"
        return {
            "id": name,
            "object": "model",
            "created": 1_769_000_000,
            "owned_by": "mistralai",
            "capabilities": {
                "completion_chat": chat,
                "function_calling": chat and self.tools,
                "reasoning": self.effort or self.mode,
                "completion_fim": False,
                "fine_tuning": False,
                "vision": self.vision,
                "ocr": self.job == "read",
                "classification": self.job == "moderate",
                "moderation": self.job == "moderate",
                "audio": self.audio,
                "audio_transcription": self.job == "transcribe",
            },
            "name": self.id,
            "description": f"Simulated {self.id}.",
            "max_context_length": self.context,
            "aliases": [other for other in self.names if other != name],
            "deprecation": "2026-12-31T12:00:00Z" if self.replacement else None,
            "deprecation_replacement_model": self.replacement,
            "default_model_temperature": 0.3 if chat else None,
            "type": "base",
        }


_ALL = (
    Model(
        id="mistral-large-4-0", aliases=("mistral-large-latest",), context=262_144, vision=True,
        effort=True,
    ),
    Model(
        id="mistral-small-2603", aliases=("mistral-small-latest",), vision=True, effort=True,
    ),
    Model(id="mistral-medium-2508", aliases=("mistral-medium",), vision=True),
    Model(id="magistral-medium-2509", aliases=("magistral-medium-latest",), mode=True),
    Model(id="voxtral-small-2507", aliases=("voxtral-small-latest",), context=32_768, audio=True),
    Model(
        id="open-mistral-nemo", context=8_192, strict=True, replacement="mistral-small-latest",
    ),
    Model(id="mistral-embed", context=8_192, job="embed", dimensions=1024),
    Model(id="codestral-embed", context=8_192, job="embed", dimensions=1536, shortens=True),
    Model(id="mistral-moderation-latest", context=8_192, job="moderate"),
    Model(id="voxtral-mini-2602", context=32_768, job="transcribe"),
    Model(id="mistral-ocr-latest", context=8_192, job="read"),
)  # fmt: skip

MODELS: dict[str, Model] = {name: model for model in _ALL for name in model.names}
"""By every name."""
