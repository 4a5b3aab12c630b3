"""The models: what ships with the adapter, and how the live list is read."""

from __future__ import annotations

from typing import Any

import msgspec

from xrouter.domain.abilities import Abilities
from xrouter.domain.catalog import Kind, ModelDescription, Version
from xrouter.providers.gigachat.errors import malformed
from xrouter.wire.types import WireReply

_PREVIEW = "-preview"
_MAX_MODELS = 1000
_KINDS: dict[str, Kind] = {"chat": "chat", "embedder": "embeddings"}

_CONTEXTS = {
    "GigaChat": 131_072,  # an alias of GigaChat-2
    "GigaChat-2": 131_072,
    "GigaChat-2-Pro": 131_072,
    "GigaChat-2-Max": 131_072,
    "GigaChat-3-Pro": 262_144,
    "glm-5.1": 192_000,
    "Embeddings": 512,
    "Embeddings-2": 512,
    "EmbeddingsGigaR": 4096,
    "GigaEmbeddings-3B-2025-09": 4096,
}
"""Tokens, from the model pages and other routers' tables; the live list has none."""

_BLIND = frozenset({"GigaChat", "GigaChat-2"})
_SEEING = frozenset({"GigaChat-2-Pro", "GigaChat-2-Max"})
"""Models that cannot and that can look at images; of the others it is not known."""

_MAX_OUTPUTS = {"glm-5.1": 131_071}
"""Most tokens of an answer; for GigaChat's own models it is not documented."""

_SHIPPED: tuple[tuple[str, Kind, bool], ...] = (
    ("GigaChat-2-Max", "chat", True),
    ("GigaChat-2-Pro", "chat", True),
    ("GigaChat-2", "chat", True),
    ("GigaChat", "chat", True),
    ("GigaChat-3-Ultra", "chat", False),
    ("Embeddings", "embeddings", False),
    ("Embeddings-2", "embeddings", False),
    ("EmbeddingsGigaR", "embeddings", False),
    ("GigaEmbeddings-3B-2025-09", "embeddings", False),
)
"""Name, kind, whether it has a preview. GigaChat-3-Ultra exists on api.giga.chat only.

The names of the first generation (GigaChat-Pro, -Max, -Plus) lead to the second; they are left to
the live list, since some accounts have them no more.
"""


def shipped_models() -> list[ModelDescription]:
    """The models known without asking."""
    return [_describe(name, kind, preview=preview) for name, kind, preview in _SHIPPED]


def listed_models(reply: WireReply) -> list[ModelDescription]:
    """The chat and embeddings models of `GET /models`; filters and detectors are left out.

    A preview is the channel `rc` of its base model. One without a base stands for itself.
    Raises UpstreamMalformed when the answer is no list of models.
    """
    kinds = {name: kind for name, kind in map(_read, _entries(reply)) if kind is not None}
    names = dict.fromkeys(kinds)
    return [
        _describe(name, kinds[name], preview=name + _PREVIEW in names)
        for name in names
        if name.removesuffix(_PREVIEW) == name or name.removesuffix(_PREVIEW) not in names
    ]


def _describe(name: str, kind: Kind, *, preview: bool) -> ModelDescription:
    base = name.removesuffix(_PREVIEW)
    versions = [Version(label="latest", upstream=name, channel="latest")]
    if preview:
        versions.append(Version(label="rc", upstream=name + _PREVIEW, channel="rc"))
    return ModelDescription(
        name=name,
        display_name=name,
        kind=kind,
        context_length=_CONTEXTS.get(base),
        abilities=_abilities_of(base) if kind == "chat" else Abilities(),
        versions=tuple(versions),
    )


def _abilities_of(base: str) -> Abilities:
    limit = _MAX_OUTPUTS.get(base)
    if base in _BLIND:
        return Abilities(features={"vision": "refused"}, max_output=limit)
    if base in _SEEING:
        return Abilities(features={"vision": "native"}, max_output=limit)
    return Abilities(max_output=limit)


def _entries(reply: WireReply) -> list[Any]:
    try:
        data: Any = msgspec.json.decode(reply.body)
    except (ValueError, RecursionError):
        raise malformed("the list of models is not JSON") from None
    entries = data.get("data") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise malformed("there is no list of models in it")
    return entries[:_MAX_MODELS]


def _read(entry: Any) -> tuple[str, Kind | None]:
    """Name and kind; the kind is None for what neither chats nor embeds."""
    name = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        return "", None
    kind = entry.get("type")
    if kind is None:  # older hosts sent no type [inferred]
        kind = "embedder" if "embeddings" in name.lower() else "chat"
    return name, _KINDS.get(kind) if isinstance(kind, str) else None
