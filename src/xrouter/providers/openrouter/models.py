"""OpenRouter's live list: what each model can do, and what it costs."""

from __future__ import annotations

from typing import Any

from xrouter.domain.abilities import Abilities, Degree, Feature
from xrouter.domain.catalog import Kind, ModelDescription
from xrouter.providers.openrouter.parameters import OMITTED
from xrouter.providers.shapes.openai_models import listed, only_version

_BY_PARAMETER: dict[Feature, tuple[str, ...]] = {
    "tools": ("tools",),
    "tool_choice_named": ("tool_choice",),
    "tool_choice_required": ("tool_choice",),
    "json_object": ("response_format",),
    "json_schema": ("structured_outputs",),
    "reasoning": ("reasoning", "reasoning_effort"),
    "logprobs": ("logprobs",),
    "logit_bias": ("logit_bias",),
}
"""Features that change the answer, and the parameters of which one must be supported."""
_BY_INPUT: dict[Feature, str] = {"vision": "image", "files": "file", "audio_input": "audio"}
_KINDS: tuple[tuple[str, Kind], ...] = (
    ("text", "chat"),
    ("embeddings", "embeddings"),
    ("speech", "speech"),
    ("image", "images"),
)
"""What a model is for, by what it puts out, the first that fits; others are not served here."""
_FREE = "0"


def described(body: bytes) -> list[ModelDescription]:
    """The models of the list. Prices: US dollars for one token, picture or request, as text."""
    kinds = ((entry, _kind(entry)) for entry in listed(body))
    return [_model(entry, kind) for entry, kind in kinds if kind is not None]


def _model(entry: dict[str, Any], kind: Kind) -> ModelDescription:
    name = str(entry["id"])
    shown = entry.get("name")
    top = entry.get("top_provider")
    limit = top.get("max_completion_tokens") if isinstance(top, dict) else None
    return ModelDescription(
        name=name,
        display_name=shown if isinstance(shown, str) and shown else name,
        kind=kind,
        context_length=_tokens(entry.get("context_length")),
        abilities=Abilities(features=_features(entry), max_output=_tokens(limit)),
        prices=_prices(entry.get("pricing")),
        versions=only_version(name),
    )


def _features(entry: dict[str, Any]) -> dict[Feature, Degree]:
    found: dict[Feature, Degree] = {}
    supported = entry.get("supported_parameters")
    if isinstance(supported, list) and supported:
        for feature, names in _BY_PARAMETER.items():
            found[feature] = _degree(any(name in supported for name in names))
        for feature, names in OMITTED.items():
            found[feature] = "native" if any(name in supported for name in names) else "dropped"
    inputs = _modalities(entry, "input_modalities")
    if inputs:
        for feature, modality in _BY_INPUT.items():
            found[feature] = _degree(modality in inputs)
    return found


def _degree(able: bool) -> Degree:  # noqa: FBT001 - a plain answer
    return "native" if able else "refused"


def _kind(entry: dict[str, Any]) -> Kind | None:
    outputs = _modalities(entry, "output_modalities") or ["text"]
    return next((kind for name, kind in _KINDS if name in outputs), None)


def _modalities(entry: dict[str, Any], name: str) -> list[Any]:
    architecture = entry.get("architecture")
    found = architecture.get(name) if isinstance(architecture, dict) else None
    return found if isinstance(found, list) else []


def _prices(pricing: Any) -> dict[str, str]:
    """By kind of token. What is free is left out, unless everything is."""
    if not isinstance(pricing, dict):
        return {}
    told = {name: text for name, text in pricing.items() if isinstance(text, str) and text}
    return {name: text for name, text in told.items() if text != _FREE} or told


def _tokens(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
