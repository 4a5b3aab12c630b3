"""Shapes of the keys' API."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from xrouter.control.kit.etag import TaggedOut
from xrouter.control.kit.schemas import Groups, In, Moment, Name, Out, PageQuery, Title, unset
from xrouter.domain.bounds import Scope, network

MAX_GRACE_S = 30 * 24 * 3600
"""For how long the secret before a rotation may stay good."""


def _range(text: str) -> str:
    try:
        return str(network(text))
    except ValueError:
        raise ValueError(
            "must be a range of addresses such as 10.0.0.0/8 or 2001:db8::/32"
        ) from None


def _model(text: str) -> str:
    provider, slash, rest = text.partition("/")
    if not (provider and slash and rest) or "*" in provider or ("*" in rest and rest != "*"):
        raise ValueError("must be provider/model, provider/* or route/name")
    return text


def _once(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


Rpm = Annotated[int, Field(gt=0, le=1_000_000)]
Scopes = Annotated[list[Scope], AfterValidator(_once)]
ModelName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=512, pattern=r"^[!-~]+$"),
    AfterValidator(_model),
]
Models = Annotated[list[ModelName], Field(max_length=1000), AfterValidator(_once)]
Range = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_range)]
Ranges = Annotated[list[Range], Field(max_length=100), AfterValidator(_once)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^,\s]+$")]
Tags = Annotated[list[Tag], Field(max_length=50), AfterValidator(_once)]


class KeyIn(In):
    """rpm: requests a minute, None for no limit. expires_at: None for never.

    groups: access groups whose models and routes it may use beside the common ones. scopes: what
    it may do. models: ids, `provider/*` and routes (`route/name`) that it may use. ip_ranges: from
    where it may be used. Of each, [] for all. tags: for those who make keys; nothing hangs on them.
    """

    name: Title
    project: Name = "default"
    rpm: Rpm | None = None
    expires_at: Moment | None = None
    groups: Groups = Field(default=[])
    scopes: Scopes = Field(default=[])
    models: Models = Field(default=[])
    ip_ranges: Ranges = Field(default=[])
    tags: Tags = Field(default=[])


class KeyPatch(In):
    """What to change of a key; null takes a limit or the end away. Lists are given whole."""

    name: Title = unset()
    project: Name = unset()
    rpm: Rpm | None = unset()
    expires_at: Moment | None = unset()
    groups: Groups = unset()
    scopes: Scopes = unset()
    models: Models = unset()
    ip_ranges: Ranges = unset()
    tags: Tags = unset()


class RotationIn(In):
    """grace_seconds: how long the secret that is replaced stays good; 0 ends it at once."""

    grace_seconds: Annotated[int, Field(ge=0, le=MAX_GRACE_S)] = 0


class KeyQuery(PageQuery):
    """Which keys: of one project, None for all."""

    project: Name | None = None


class LeakIn(In):
    """confirm: the project's name once more."""

    project: Name
    confirm: str


class KeyOut(TaggedOut):
    """What may be known of a key. last4: its last characters, to recognise it by.

    previous_until: when the secret before the last rotation ends, or has ended. last_used_at: to
    the minute.
    """

    key_id: str
    name: str
    project: str
    last4: str
    rpm: int | None
    groups: list[str]
    scopes: list[str]
    models: list[str]
    ip_ranges: list[str]
    tags: list[str]
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    previous_until: Moment | None
    last_used_at: Moment | None


class NewKeyOut(KeyOut):
    """A fresh key, or a fresh secret of one. `key` is shown this once and stored nowhere."""

    key: str


class RevokedOut(Out):
    """How many keys of the project were good until now."""

    project: str
    revoked: int
