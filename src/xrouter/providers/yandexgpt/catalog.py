"""The live list of models: URIs to names and versions."""

from __future__ import annotations

from xrouter.domain.catalog import Kind, ModelDescription
from xrouter.providers.yandexgpt.models import CHANNELS, describe
from xrouter.providers.yandexgpt.payload import as_dict, as_list, as_text, read_object
from xrouter.providers.yandexgpt.uri import without_folder

_KINDS: dict[str, Kind] = {"gpt": "chat", "emb": "embeddings", "art": "images"}
_OTHER_SPEECH = "speech-realtime-"
_MOST = 1000


def read_models(body: bytes, folder: str) -> list[ModelDescription]:
    """Models of `GET /v1/models`, branches as versions, `latest` first.

    Voice models stand in the list but do not chat; classifiers have another scheme.
    """
    branches: dict[tuple[str, Kind], set[str]] = {}
    for item in as_list(read_object(body).get("data"))[:_MOST]:
        uri = as_text(as_dict(item).get("id")) or ""
        kind = _KINDS.get(uri.partition("://")[0])
        name, _, branch = without_folder(uri, folder).partition("/")
        if kind is not None and name and not name.startswith(_OTHER_SPEECH):
            branches.setdefault((name, kind), set()).add(branch or "latest")
    return [
        describe(name, kind, tuple(sorted(found, key=_order)))
        for (name, kind), found in branches.items()
    ]


def _order(branch: str) -> tuple[int, str]:
    """The moving branches first, in their order; then the rest by name."""
    return (CHANNELS.index(branch) if branch in CHANNELS else len(CHANNELS), branch)
