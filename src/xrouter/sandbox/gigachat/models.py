"""The models of the simulated GigaChat."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from xrouter.sandbox.gigachat.errors import NO_SUCH_MODEL, Refusal


class Model(Struct, frozen=True):
    """A model. build: what follows the colon in answers. context: tokens.

    dimensions: of an embedder's vectors. serves: the id of the model that really answers.
    sees: it takes images. third: of the third generation, which the new host alone has.
    """

    id: str
    kind: str = "chat"
    build: str = "2.0.28.2"
    context: int = 131_072
    dimensions: int = 0
    serves: str = ""
    sees: bool = False
    third: bool = False

    @property
    def reasoning(self) -> bool:
        """Whether it thinks when it is told to."""
        return self.third

    @property
    def shapes(self) -> bool:
        """Whether it keeps to a `response_format`."""
        return self.third

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
_THIRD = "32.3.18.5"
_ROWS = (
    Model("GigaChat"),
    Model("GigaChat-2"),
    Model("GigaChat-2-Pro", build=_LARGE, sees=True),
    Model("GigaChat-2-Max", build=_LARGE, sees=True),
    Model("GigaChat-2-preview"),
    Model("GigaChat-2-Pro-preview", build=_LARGE, sees=True),
    Model("GigaChat-2-Max-preview", build=_LARGE, sees=True),
    Model("GigaChat-preview"),
    Model("GigaChat-Plus", serves="GigaChat-2"),
    Model("GigaChat-Pro", build=_LARGE, serves="GigaChat-2-Pro", sees=True),
    Model("GigaChat-Pro-preview", build=_LARGE, serves="GigaChat-2-Pro-preview", sees=True),
    Model("GigaChat-Max", build=_LARGE, serves="GigaChat-2-Max", sees=True),
    Model("GigaChat-Max-preview", build=_LARGE, serves="GigaChat-2-Max-preview", sees=True),
    Model("GigaChat-3-Lightning", build=_THIRD, third=True),
    Model("GigaChat-3-Pro", build=_THIRD, context=262_144, third=True, sees=True),
    Model("GigaChat-3-Ultra", build=_THIRD, context=262_144, third=True, sees=True),
    Model("Embeddings", kind="embedder", context=512, dimensions=1024),
    Model("Embeddings-2", kind="embedder", context=512, dimensions=1024),
    Model("EmbeddingsGigaR", kind="embedder", context=4096, dimensions=2560),
    Model("GigaEmbeddings-3B-2025-09", kind="embedder", context=4096, dimensions=2048),
    Model("GigaFilter", kind="filter"),
    Model("GigaCheckClassification", kind="aicheck"),
    Model("GigaCheckDetection", kind="aicheck"),
)
MODELS = {model.id: model for model in _ROWS}
"""What the new host has."""

OLD_MODELS = {model.id: model for model in _ROWS if not model.third}
"""What the old host has."""


def model_named(models: dict[str, Model], name: Any, kind: str | None = None) -> Model:
    """The model, if there is one and it is of this kind. Raises Refusal."""
    model = models.get(name) if isinstance(name, str) else None
    if model is None or kind not in (None, model.kind):
        raise Refusal(404, NO_SUCH_MODEL)
    return model
