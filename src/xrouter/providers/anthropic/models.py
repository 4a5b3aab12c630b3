"""Claude models: those that ship with the adapter, and the live list."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.abilities import Abilities, Degree, Feature
from xrouter.domain.catalog import ModelDescription, Version
from xrouter.domain.errors import UpstreamMalformed

_SHIPPED = (
    ("claude-opus-5-5", "Claude Opus 5.5"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5"),
    ("claude-haiku-5-5", "Claude Haiku 5.5"),
)
_MAX_MODELS = 1000
_NEEDED: dict[str, dict[Feature, Degree]] = {
    "image_input": {"vision": "refused", "image_urls": "refused"},
    "pdf_input": {"files": "refused"},
    "structured_outputs": {"json_schema": "refused"},
    "thinking": {"reasoning": "dropped"},
}
"""A capability, and what becomes of features without it."""
_UNKNOWN = Abilities()


def shipped_models() -> list[ModelDescription]:
    """Those that are known by name; how long they are, and all others, tells the live list."""
    return [_model(name, shown) for name, shown in _SHIPPED]


def listed_models(body: bytes) -> list[ModelDescription]:
    """The live list. Raises UpstreamMalformed when it is none."""
    try:
        found: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        found = None
    entries = found.get("data") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise UpstreamMalformed("The provider's list of models cannot be read.")
    return [
        _described(entry)
        for entry in entries[:_MAX_MODELS]
        if isinstance(entry, dict)
        and isinstance(entry.get("id"), str)
        and entry["id"]
        and entry.get("lifecycle") != "retired"
    ]


def _described(entry: dict[str, Any]) -> ModelDescription:
    shown = str(entry.get("display_name") or entry["id"])
    old = entry.get("lifecycle") == "deprecated"
    return _model(
        entry["id"],
        f"{shown} (deprecated)" if old else shown,
        _tokens(entry.get("max_input_tokens")),
        Abilities(features=_features(entry), max_output=_tokens(entry.get("max_tokens"))),
        channel="deprecated" if old else "latest",
    )


def _features(entry: dict[str, Any]) -> dict[Feature, Degree]:
    """What a model lacks by its own word; what it has is the adapter's."""
    can = entry.get("capabilities")
    lacking: dict[Feature, Degree] = {}
    for name, features in _NEEDED.items():
        told = can.get(name) if isinstance(can, dict) else None
        if isinstance(told, dict) and told.get("supported") is False:
            lacking |= features
    return lacking


def _model(
    name: str,
    shown: str,
    context: int | None = None,
    abilities: Abilities = _UNKNOWN,
    channel: str = "latest",
) -> ModelDescription:
    return ModelDescription(
        name=name,
        display_name=shown,
        context_length=context,
        abilities=abilities,
        versions=(Version(label="latest", upstream=name, channel=channel),),
    )


def _tokens(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
