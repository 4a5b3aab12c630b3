"""Claude models: those that ship with the adapter, and the live list."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.abilities import Abilities
from xrouter.domain.catalog import ModelDescription, Version
from xrouter.domain.errors import UpstreamMalformed

_SHIPPED = (
    ("claude-opus-5-5", "Claude Opus 5.5"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5"),
    ("claude-haiku-5-5", "Claude Haiku 5.5"),
)
_MAX_MODELS = 1000


def shipped_models() -> list[ModelDescription]:
    """Those that are known by name; how long they are, and all others, tells the live list."""
    return [_model(name, shown, None, None) for name, shown in _SHIPPED]


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
        _model(
            entry["id"],
            str(entry.get("display_name") or entry["id"]),
            _tokens(entry.get("max_input_tokens")),
            _tokens(entry.get("max_tokens")),
        )
        for entry in entries[:_MAX_MODELS]
        if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry["id"]
    ]


def _model(name: str, shown: str, context: int | None, longest: int | None) -> ModelDescription:
    return ModelDescription(
        name=name,
        display_name=shown,
        context_length=context,
        abilities=Abilities(max_output=longest),
        versions=(Version(label="latest", upstream=name, channel="latest"),),
    )


def _tokens(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
