"""The catalog as `GET /models` shows it: in one object for clients of OpenAI and of Anthropic.

Both ask at the same path, and each ignores the fields of the other.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from xrouter.domain.catalog import Model


class ModelVersions(Struct):
    """What XRouter knows besides. channels: version labels by channel name."""

    kind: str
    available: bool
    versions: list[str]
    channels: dict[str, str]


class ModelObject(Struct, kw_only=True):
    """One model. created: unix seconds; context_length: tokens, absent when unknown.

    type to lifecycle: Anthropic's fields; created_at: RFC 3339; limits: tokens, null when unknown.
    """

    id: str
    object: str = "model"
    type: str = "model"
    created: int
    owned_by: str
    name: str
    context_length: int | UnsetType = UNSET
    max_model_len: int | UnsetType = UNSET
    display_name: str
    created_at: str
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    lifecycle: Literal["active", "retired"] = "active"
    xrouter: ModelVersions = field(name="x_xrouter")


class ModelList(Struct, kw_only=True):
    """All models that the key may use, on one page."""

    object: str = "list"
    data: list[ModelObject]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None

    def __post_init__(self) -> None:
        """The ends of the page."""
        if self.data:
            self.first_id, self.last_id = self.data[0].id, self.data[-1].id


def shown(model: Model) -> ModelObject:
    """A row of the catalog as clients see it."""
    length = model.context_length if model.context_length is not None else UNSET
    return ModelObject(
        id=model.model_id,
        created=model.created,
        owned_by=model.provider,
        name=model.display_name,
        context_length=length,
        max_model_len=length,
        display_name=model.display_name,
        created_at=datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        max_input_tokens=model.context_length,
        max_tokens=model.abilities.max_output,
        lifecycle="active" if model.is_available else "retired",
        xrouter=ModelVersions(
            kind=model.kind,
            available=model.is_available,
            versions=[version.label for version in model.versions],
            channels={v.channel: v.label for v in model.versions if v.channel is not None},
        ),
    )
