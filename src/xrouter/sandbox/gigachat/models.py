"""The models of the simulated GigaChat."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from xrouter.sandbox.gigachat.errors import NO_SUCH_MODEL, Refusal


class Model(Struct, frozen=True):
    """A model. build: what follows the colon in answers. context: tokens.

    dimensions: of an embedder's vectors. serves: the id of the model that really answers.
    """

    id: str
    kind: str = "chat"
    build: str = "2.0.28.2"
    context: int = 131_072
    dimensions: int = 0
    reasoning: bool = False
    serves: str = ""

    @property
    def shown(self) -> str:
        """The name in an answer."""
        return f"{self.serves or self.id}:{self.build}"

    def row(self) -> dict[str, Any]:
        """The model in the list."""
        return {
            "id": self.id,
            "object": "model",
            "owned_by": "salutedevices",
            "type": self.kind,
        }


_LARGE = "2.0.30.01"
_ROWS = (
    Model("GigaChat"),
    Model("GigaChat-2"),
    Model("GigaChat-2-Pro", build=_LARGE),
    Model("GigaChat-2-Max", build=_LARGE),
    Model("GigaChat-2-preview"),
    Model("GigaChat-2-Pro-preview", build=_LARGE),
    Model("GigaChat-2-Max-preview", build=_LARGE),
    Model("GigaChat-preview"),
    Model("GigaChat-Plus", serves="GigaChat-2"),
    Model("GigaChat-Pro", build=_LARGE, serves="GigaChat-2-Pro"),
    Model("GigaChat-Pro-preview", build=_LARGE, serves="GigaChat-2-Pro-preview"),
    Model("GigaChat-Max", build=_LARGE, serves="GigaChat-2-Max"),
    Model("GigaChat-Max-preview", build=_LARGE, serves="GigaChat-2-Max-preview"),
    Model("GigaChat-3-Ultra", build="32.3.18.5", context=262_144, reasoning=True),
    Model("Embeddings", kind="embedder", context=512, dimensions=1024),
    Model("Embeddings-2", kind="embedder", context=512, dimensions=1024),
    Model("EmbeddingsGigaR", kind="embedder", context=4096, dimensions=2560),
    Model("GigaEmbeddings-3B-2025-09", kind="embedder", context=4096, dimensions=2048),
    Model("GigaFilter", kind="filter"),
    Model("GigaCheckClassification", kind="aicheck"),
    Model("GigaCheckDetection", kind="aicheck"),
)
MODELS = {model.id: model for model in _ROWS}


def model_named(name: Any, kind: str | None = None) -> Model:
    """The model, if there is one and it is of this kind. Raises Refusal."""
    model = MODELS.get(name) if isinstance(name, str) else None
    if model is None or kind not in (None, model.kind):
        raise Refusal(404, NO_SUCH_MODEL)
    return model
