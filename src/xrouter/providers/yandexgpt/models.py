"""What ships with the adapter: models, their versions, and which API serves which family.

Contexts are the newest that are known (autumn 2026). The provider takes models away at short
notice: `yandexgpt-32k` ended on 28 August 2025 and is not listed, the removal of `gpt-oss-*` was
announced by third parties for October 2026; the live list (`discover`) has the last word.
"""

from __future__ import annotations

from typing import Literal

from xrouter.domain.catalog import Kind, ModelDescription, Version
from xrouter.domain.chat import Message, first_other_part

Api = Literal["native", "compatible"]

OWN_FAMILIES = ("yandexgpt", "aliceai")
"""Names that begin so are the provider's own models: native API, its own habits of tool calls."""

CHANNELS = ("latest", "rc", "deprecated")
"""Moving branches, in the order in which they are offered."""

HIDDEN_REASONING = frozenset({"yandexgpt/latest", "yandexgpt-5-pro/latest"})
"""YandexGPT Pro 5. Pro 5.1 (`rc`) and Lite do not reason."""

_BRANCHED = ("yandexgpt", "yandexgpt-lite")

_SHIPPED: tuple[tuple[str, str, Kind, int], ...] = (
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
    ("text-search-doc", "Embeddings of documents", "embeddings", 2_048),
    ("text-search-query", "Embeddings of queries", "embeddings", 2_048),
)

_KNOWN = {name: (title, context) for name, title, _, context in _SHIPPED}


def shipped() -> list[ModelDescription]:
    """The models that come with the adapter."""
    return [
        describe(name, kind, CHANNELS if name in _BRANCHED else ("latest",))
        for name, _, kind, _ in _SHIPPED
    ]


def describe(name: str, kind: Kind, branches: tuple[str, ...]) -> ModelDescription:
    """One model with its branches as versions; the title and the context from the shipped list."""
    title, context = _KNOWN.get(name, (name, None))
    return ModelDescription(
        name=name,
        display_name=title,
        kind=kind,
        context_length=context,
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


def api_for(ref: str, setting: str, messages: list[Message]) -> Api:
    """Which API serves a chat: what the operator has fixed, else by family and need.

    own model, text only      native      tools and usage in streams are reliable there
    own model, other parts    compatible  the native API knows only text
    open model                compatible  the native API does not have them
    """
    if setting == "native":
        return "native"
    if setting == "compatible" or not is_own(ref):
        return "compatible"
    only_text = all(first_other_part(m.content) is None for m in messages if m.role != "assistant")
    return "native" if only_text else "compatible"
