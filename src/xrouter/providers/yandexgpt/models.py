"""What ships with the adapter: models, their versions, and what each of them can do.

Contexts are the newest that are known (autumn 2026). The provider takes models away at short
notice: the removal of `gpt-oss-*` was announced by third parties for October 2026; the live list
(`discover`) has the last word.
"""

from __future__ import annotations

from xrouter.domain.abilities import Abilities, Degree, Feature
from xrouter.domain.catalog import Kind, Model, ModelDescription, Version
from xrouter.domain.errors import ModelNotFound

PROVIDER = "yandex"

OWN_FAMILIES = ("yandexgpt", "aliceai")
"""Names that begin so are the provider's own models: native API, its own habits of tool calls."""

ART = "yandex-art"
"""Draws; its versions and tunings begin so."""

CHANNELS = ("latest", "rc", "deprecated")
"""Moving branches, in the order in which they are offered."""

HIDDEN_REASONING = frozenset({"yandexgpt/latest", "yandexgpt-5-pro/latest"})
"""YandexGPT Pro 5. Pro 5.1 (`rc`) and Lite do not reason."""

_ENDED = {
    "yandexgpt-32k": ("28 August 2025", "yandexgpt"),
}
"""Models that are gone: since when, and what came in their place."""

_BLIND = (*OWN_FAMILIES, "gpt-oss", "qwen3-235b", "deepseek", "llama")
"""Families that are known not to read images. Other open models are asked."""

_BRANCHED = ("yandexgpt", "yandexgpt-lite")

_SHIPPED: tuple[tuple[str, str, Kind, int | None], ...] = (
    ("yandexgpt", "YandexGPT Pro", "chat", 32_768),
    ("yandexgpt-lite", "YandexGPT Lite", "chat", 32_768),
    ("yandexgpt-5.1", "YandexGPT Pro 5.1", "chat", 32_768),
    ("yandexgpt-5-pro", "YandexGPT Pro 5", "chat", 32_768),
    ("yandexgpt-5-lite", "YandexGPT Lite 5", "chat", 32_768),
    ("aliceai-llm", "Alice AI LLM", "chat", 131_072),
    ("aliceai-llm-flash", "Alice AI LLM Flash", "chat", 65_536),
    ("qwen3-235b-a22b-fp8", "Qwen3 235B A22B", "chat", 262_144),
    ("qwen3.6-35b-a3b", "Qwen3.6 35B A3B", "chat", 262_144),
    ("deepseek-v4-flash", "DeepSeek V4 Flash", "chat", 1_048_576),
    ("gpt-oss-120b", "gpt-oss 120B", "chat", 131_072),
    ("gpt-oss-20b", "gpt-oss 20B", "chat", 131_072),
    ("gemma-3-27b-it", "Gemma 3 27B", "chat", 131_072),
    ("text-search-doc", "Embeddings of documents", "embeddings", 2_048),
    ("text-search-query", "Embeddings of queries", "embeddings", 2_048),
    (ART, "YandexART", "images", None),
)

_UNLISTED = frozenset({"gemma-3-27b-it"})
"""Known, with a title and a context where the live list has them, but not offered by themselves:
the newest lists that were seen do not have them any more."""

_KNOWN = {name: (title, context) for name, title, _, context in _SHIPPED}

FEATURES: dict[Feature, Degree] = {
    "streaming": "native",
    "stream_usage": "native",
    "system": "native",
    "late_system": "emulated",
    "tools": "native",
    "parallel_tools": "native",
    "parallel_tools_off": "native",
    "tool_choice_none": "emulated",
    "tool_choice_required": "native",
    "tool_choice_named": "native",
    "json_object": "native",
    "json_schema": "native",
    "vision": "refused",
    "image_urls": "refused",
    "files": "refused",
    "audio_input": "refused",
    "audio_output": "refused",
    "reasoning": "native",
    "stop": "emulated",
    "n": "emulated",
    "max_tokens": "native",
    "temperature_zero": "native",
    "top_p": "dropped",
    "penalties": "dropped",
    "seed": "dropped",
    "logprobs": "refused",
    "logit_bias": "refused",
    "prediction": "dropped",
    "custom_tools": "refused",
    "embeddings": "native",
    "dimensions": "native",
    "images": "native",
    "count_tokens": "native",
}
"""What the provider's own models do; open models say otherwise where they can more."""

_OPEN: dict[Feature, Degree] = {
    "top_p": "native",
    "penalties": "native",
    "logit_bias": "native",
    "count_tokens": "emulated",
}


def shipped() -> list[ModelDescription]:
    """The models that come with the adapter, also those that ended: they name who came after."""
    offered = [
        describe(name, kind, CHANNELS if name in _BRANCHED else ("latest",))
        for name, _, kind, _ in _SHIPPED
        if name not in _UNLISTED
    ]
    return offered + [_ended(name, successor) for name, (_, successor) in _ENDED.items()]


def _ended(name: str, successor: str) -> ModelDescription:
    gone = Version(
        label="latest",
        upstream=f"{name}/latest",
        status="retired",
        successor=f"{PROVIDER}/{successor}",
    )
    return ModelDescription(name=name, display_name=name, versions=(gone,))


def describe(name: str, kind: Kind, branches: tuple[str, ...]) -> ModelDescription:
    """One model with its branches as versions; the title and the context from the shipped list."""
    title, context = _KNOWN.get(name, (name, None))
    return ModelDescription(
        name=name,
        display_name=title,
        kind=kind,
        context_length=context,
        abilities=Abilities(features=_features(name) if kind == "chat" else {}),
        versions=tuple(
            Version(
                label=branch,
                upstream=f"{name}/{branch}",
                channel=branch if branch in CHANNELS else None,
            )
            for branch in branches
        ),
    )


def is_own(ref: str) -> bool:
    """Whether the reference is one of the provider's own models."""
    return ref.startswith(OWN_FAMILIES)


def sees(ref: str) -> bool:
    """Whether images may be sent to the model: it reads them, or it is not known that it cannot."""
    return not ref.startswith(_BLIND)


def tells_likelihoods(model: Model) -> bool:
    """Whether log probabilities may be asked for: only where the operator says so of the model."""
    return model.abilities.features.get("logprobs") == "native"


def not_ended(ref: str) -> None:
    """Raise ModelNotFound, with the successor, for a model that the provider has ended."""
    name = ref.partition("/")[0]
    if name in _ENDED:
        since, successor = _ENDED[name]
        raise ModelNotFound(
            f"The provider ended '{name}' on {since}. Its successor is '{successor}'.",
            param="model",
            hint=f"Use '{successor}': its context is as long.",
        )


def _features(name: str) -> dict[Feature, Degree]:
    """What is particular to a chat model."""
    if is_own(name):
        reasons = f"{name}/latest" in HIDDEN_REASONING
        return {"reasoning": "native" if reasons else "dropped", "deferred": "native"}
    return _OPEN | {"vision": "native" if sees(name) else "refused"}
