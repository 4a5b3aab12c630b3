"""The live list of models, `GET /models`."""

from __future__ import annotations

from typing import Any

from xrouter.domain.catalog import Kind, ModelDescription, Version
from xrouter.domain.errors import UpstreamMalformed
from xrouter.providers.shapes.openai_answer import read_object

MAX_MODELS = 5000
_CONTEXTS = (
    "context_length", "max_model_len", "context_window", "max_context_length", "n_ctx",
    "n_ctx_train",
)  # fmt: skip


def listed(body: bytes) -> list[dict[str, Any]]:
    """The entries of the list that have an id. Raises UpstreamMalformed when it is no list."""
    entries = read_object(body).get("data")
    if not isinstance(entries, list):
        raise UpstreamMalformed("The provider's list of models cannot be read.")
    return [e for e in entries[:MAX_MODELS] if isinstance(e, dict) and is_id(e.get("id"))]


def described(entry: dict[str, Any], name: str | None = None) -> ModelDescription:
    """A model of the list; `name` when it is to be called other than by its id."""
    upstream = str(entry["id"])
    shown = entry.get("name") or entry.get("display_name")
    return ModelDescription(
        name=name or upstream,
        display_name=shown if isinstance(shown, str) and shown else name or upstream,
        kind=_kind(entry),
        context_length=_context(entry),
        versions=only_version(upstream),
    )


def only_version(upstream: str) -> tuple[Version, ...]:
    """The one version of a model whose provider names no others."""
    return (Version(label="latest", upstream=upstream, channel="latest"),)


def is_id(value: Any) -> bool:
    """Whether it can be the id of a model."""
    return isinstance(value, str) and 0 < len(value) <= 512  # noqa: PLR2004 - as in ChatRequest


def _kind(entry: dict[str, Any]) -> Kind:
    told = str(entry.get("type") or entry.get("task") or "").lower()
    name = str(entry["id"]).lower()
    return "embeddings" if "embed" in told or "embed" in name else "chat"


def _context(entry: dict[str, Any]) -> int | None:
    """Tokens, under any of the names in use, in the entry or in its `meta`."""
    meta = entry.get("meta")
    for place in (meta if isinstance(meta, dict) else {}, entry):
        for name in _CONTEXTS:
            value = place.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None
