"""The catalog as `GET /models` shows it: in one object for clients of OpenAI and of Anthropic.

Both ask at the same path, and each ignores the fields of the other. A third kind names its own
version in the query, and wants a list of prompts and settings in `models`: an empty one makes it
go on with what it was configured to use.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal
from urllib.parse import parse_qs

from msgspec import UNSET, Struct, UnsetType, field

from xrouter.domain.catalog import Model
from xrouter.edge.mistakes import invalid_value

_PAGE, _PAGE_MAX = 20, 1000
_PAGED = ("limit", "after_id", "before_id")
_THIRD_KIND = "client_version"


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
    """Models that the key may use: all on one page, or the page that was asked for."""

    object: str = "list"
    data: list[ModelObject]
    models: list[ModelObject] | UnsetType = UNSET
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None

    def __post_init__(self) -> None:
        """The ends of the page."""
        if self.data:
            self.first_id, self.last_id = self.data[0].id, self.data[-1].id


def listed(models: list[Model], query: bytes) -> ModelList:
    """The page that a query asks for, all models without one.

    limit: of a page, 20 where only a cursor is given. after_id, before_id: where it begins or ends.
    Raises InvalidRequest that names the parameter at fault.
    """
    asked = {name: given[-1] for name, given in parse_qs(query.decode("latin-1")).items()}
    if not asked.keys() & set(_PAGED):
        found = ModelList(data=[shown(model) for model in models])
        if _THIRD_KIND in asked:
            found.models = []
        return found
    raw = asked.get("limit", str(_PAGE))
    limit = int(raw) if raw.isdecimal() and len(raw) <= len(str(_PAGE_MAX)) else 0
    if not 1 <= limit <= _PAGE_MAX:
        raise invalid_value(
            f"Invalid 'limit': expected an integer from 1 to {_PAGE_MAX}.", param="limit"
        )
    ids = [model.model_id for model in models]
    start, stop = 0, len(ids)
    if "after_id" in asked:
        start = _place(ids, asked, "after_id") + 1
    if "before_id" in asked:
        stop = _place(ids, asked, "before_id")
        if "after_id" not in asked:
            start = max(start, stop - limit)
            return ModelList(data=[*map(shown, models[start:stop])], has_more=start > 0)
    end = min(stop, start + limit)
    return ModelList(data=[*map(shown, models[start:end])], has_more=end < stop)


def _place(ids: list[str], asked: dict[str, str], name: str) -> int:
    if asked[name] not in ids:
        raise invalid_value(f"Invalid '{name}': there is no such model.", param=name)
    return ids.index(asked[name])


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
