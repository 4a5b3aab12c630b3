"""The live list of models, with what each can do."""

from __future__ import annotations

import re
from typing import Any

from xrouter.domain.abilities import Abilities, Degree, Feature
from xrouter.domain.catalog import Kind, Model, ModelDescription, Version
from xrouter.providers.shapes.openai_models import described, is_id, listed

_THINKING = re.compile(r"magistral|mistral-small-2603|mistral-medium-3-5|mistral-large-4-0")
"""Models that are known to reason; of others the live list tells."""

_SHORTENED = re.compile(r"codestral-embed")
"""Embedding models that make shorter vectors."""

_ABLE: dict[str, tuple[Feature, ...]] = {
    "function_calling": ("tools",),
    "vision": ("vision", "image_urls"),
    "audio": ("audio_input",),
}
_MAX_ALIASES = 50


def thinks(model: Model, upstream: str) -> bool | None:
    """Whether a model reasons; None where nobody knows."""
    degree = model.abilities.features.get("reasoning")
    if degree is not None:
        return degree in ("native", "emulated")
    return True if _THINKING.search(upstream) else None


def shortens(model: Model, upstream: str) -> bool:
    """Whether an embedding model knows `output_dimension`."""
    degree = model.abilities.features.get("dimensions")
    return degree == "native" or (degree is None and _SHORTENED.search(upstream) is not None)


def models_of(body: bytes) -> list[ModelDescription]:
    """Every name that can be asked for, once: models and their aliases; others are left out.

    The list repeats a model under its aliases; an alias without an entry of its own is a name too.
    """
    entries = listed(body)
    found: dict[str, ModelDescription] = {}
    for entry in entries:
        name = entry["id"]
        kind = _kind(entry)
        if kind is not None and name not in found:
            found[name] = _describe(entry, kind)
    own = set(found)
    for entry in entries:
        aliases = entry.get("aliases")
        for alias in aliases[:_MAX_ALIASES] if isinstance(aliases, list) else ():
            kind = _kind(entry)
            if is_id(alias) and kind is not None and alias not in own and alias not in found:
                found[alias] = _describe({**entry, "id": alias}, kind)
    return list(found.values())


def _describe(entry: dict[str, Any], kind: Kind) -> ModelDescription:
    plain = described(entry)
    shown, channel = plain.display_name, "latest"
    if entry.get("deprecation"):
        channel = "deprecated"
        instead = entry.get("deprecation_replacement_model")
        shown += f" (deprecated; use {instead})" if is_id(instead) else " (deprecated)"
    return ModelDescription(
        name=plain.name,
        display_name=shown,
        kind=kind,
        context_length=plain.context_length,
        abilities=_abilities(entry, kind),
        versions=(Version(label="latest", upstream=plain.name, channel=channel),),
    )


def _kind(entry: dict[str, Any]) -> Kind | None:
    """None for models that only read documents, complete code in the middle or speak."""
    can = entry.get("capabilities")
    if "embed" in entry["id"].lower():
        return "embeddings"
    if not isinstance(can, dict) or can.get("completion_chat") is True:
        return "chat"
    if can.get("moderation") is True:
        return "moderation"
    return "transcription" if can.get("audio_transcription") is True else None


def _abilities(entry: dict[str, Any], kind: Kind) -> Abilities:
    features: dict[Feature, Degree] = {}
    if kind == "embeddings":
        features["dimensions"] = "native" if _SHORTENED.search(entry["id"]) else "dropped"
    can = entry.get("capabilities")
    if kind == "chat" and isinstance(can, dict):
        for name, shown in _ABLE.items():
            if isinstance(can.get(name), bool):
                features |= dict.fromkeys(shown, "native" if can[name] else "refused")
        if isinstance(can.get("reasoning"), bool):
            features["reasoning"] = "native" if can["reasoning"] else "dropped"
    return Abilities(features=features)
