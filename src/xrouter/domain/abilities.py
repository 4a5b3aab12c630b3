"""What models can do, by feature and degree; what a request needs.

An adapter says what it makes of each feature for all its models (`BaseAPIAdapter.features`), a row
of the catalog may say otherwise for one model. A feature that neither names is unknown: it is
tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

Feature = Literal[
    "streaming",
    "stream_usage",
    "system",
    "late_system",
    "tools",
    "parallel_tools",
    "parallel_tools_off",
    "tool_choice_none",
    "tool_choice_required",
    "tool_choice_named",
    "json_object",
    "json_schema",
    "vision",
    "image_urls",
    "files",
    "audio_input",
    "audio_output",
    "reasoning",
    "stop",
    "n",
    "max_tokens",
    "temperature_zero",
    "top_p",
    "penalties",
    "seed",
    "logprobs",
    "logit_bias",
    "prediction",
    "custom_tools",
    "embeddings",
    "dimensions",
    "images",
    "speech",
    "transcription",
    "moderations",
    "count_tokens",
    "deferred",
]
"""Names of features, in the order of the table in docs/providers.md.

late_system: a system message that is not the first. temperature_zero: `temperature: 0`.
vision: images as data URLs; image_urls: images by http address. deferred: a cheap answer later.
"""

Degree = Literal["native", "emulated", "dropped", "refused"]
"""native: the provider has it. emulated: the adapter makes it, honestly. dropped: accepted without
effect and listed in `x-xrouter-dropped`. refused: a 400 that names the parameter."""

Features = Mapping[Feature, Degree]


class Abilities(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one model can do. max_output: most tokens of an answer, None when unknown."""

    features: dict[Feature, Degree] = {}
    max_output: int | None = None
