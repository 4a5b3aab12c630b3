"""The catalog as `GET /models` shows it."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from xrouter.domain.catalog import Model


class ModelVersions(Struct):
    """What XRouter knows besides. channels: version labels by channel name."""

    kind: str
    available: bool
    versions: list[str]
    channels: dict[str, str]


class ModelObject(Struct, kw_only=True):
    """One model. created: unix seconds; context_length: tokens, absent when unknown."""

    id: str
    object: str = "model"
    created: int
    owned_by: str
    name: str
    context_length: int | UnsetType = UNSET
    max_model_len: int | UnsetType = UNSET
    xrouter: ModelVersions = field(name="x_xrouter")


class ModelList(Struct, kw_only=True):
    """All models that the key may use."""

    object: str = "list"
    data: list[ModelObject]


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
        xrouter=ModelVersions(
            kind=model.kind,
            available=model.is_available,
            versions=[version.label for version in model.versions],
            channels={v.channel: v.label for v in model.versions if v.channel is not None},
        ),
    )
