"""Parameters that OpenRouter leaves out without a word where a model does not know them."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.abilities import Feature, Features
from xrouter.providers.shapes.openai_body import drop, is_null

OMITTED: dict[Feature, tuple[str, ...]] = {
    "stop": ("stop",),
    "seed": ("seed",),
    "top_p": ("top_p",),
    "temperature_zero": ("temperature",),
    "penalties": ("presence_penalty", "frequency_penalty"),
    "max_tokens": ("max_tokens", "max_completion_tokens"),
}
"""Features whose parameters a model may lack, with the names of these parameters."""


def leave_out(body: dict[str, Any], features: Features) -> list[str]:
    """Take out what the model would not see anyway; the names of those that were set.

    Nothing is, where the caller insists on all of them, or names models that may have them.
    """
    if _insists(body.get("provider")) or not is_null(body.get("models")):
        return []
    names = {
        name
        for feature, those in OMITTED.items()
        if features.get(feature) == "dropped"
        for name in those
    }
    return drop(body, frozenset(names))


def _insists(preferences: Any) -> bool:
    """Whether the caller's preferences (raw JSON) ask for endpoints that know every parameter."""
    if is_null(preferences):
        return False
    told = msgspec.json.decode(preferences)
    return isinstance(told, dict) and bool(told.get("require_parameters"))
