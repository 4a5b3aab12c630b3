"""Shapes of the catalog's API. Times are ISO 8601, durations seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, JsonValue, SecretStr, field_validator
from pydantic_core import core_schema

from xrouter.control.kit.etag import TaggedOut
from xrouter.control.kit.schemas import (
    BaseUrl,
    Dotted,
    File,
    In,
    Moment,
    Name,
    Out,
    PageQuery,
    Seconds,
    Title,
    Url,
    Word,
    unset,
)
from xrouter.domain.abilities import Degree, Feature
from xrouter.domain.catalog import Kind

Secretive = Annotated[SecretStr, Field(max_length=65536)]
Priority = Annotated[int, Field(ge=0, le=1_000_000)]
Text = Annotated[str, Field(max_length=2048)]
Status = Literal["active", "deprecated", "retired"]
Tokens = Annotated[int, Field(ge=1, le=2_000_000_000)]
Calls = Annotated[int, Field(ge=0, le=1_000_000)]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]


Names = Annotated[list[Word], Field(max_length=20)]
Speed = Annotated[float, Field(ge=0, le=1_000_000)]


class PatienceIn(In):
    """Seconds in place of the endpoint's. min_speed: characters a second."""

    first_token: Seconds | None = None
    idle: Seconds | None = None
    total: Seconds | None = None
    min_speed: Speed | None = None


class CacheIn(In):
    """Answers that are kept. ttl: seconds. scope: who may share one."""

    ttl: Annotated[float, Field(gt=0, le=30 * 86400)]
    scope: Literal["key", "project"] = "project"


class PolicyFields(In):
    """The fields of `domain.routes.Policy`. max_price: billionths of a ruble."""

    strategy: Name = "priority"
    options: dict[str, Any] = Field(default={}, max_length=64)
    versions: Names | None = None
    missing: Literal["refuse", "next"] = "refuse"
    fallbacks: Names = Field(default=[])
    on_overflow: Names = Field(default=[])
    on_refusal: Names = Field(default=[])
    countries: Annotated[list[Country], Field(max_length=300)] = Field(default=[])
    max_price: Annotated[int, Field(ge=0, le=2**62)] | None = None
    require_price: bool | None = None
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    borders: Literal["open", "country", "price", "both"] = "open"
    patience: PatienceIn = PatienceIn()
    cache: CacheIn | None = None


class AsSent:
    """Checked as these fields; the value is a dict of what was sent."""

    def __init__(self, fields: type[In]) -> None:
        self._fields = fields

    def __get_pydantic_core_schema__(
        self, _source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(
            _sent,
            handler.generate_schema(self._fields),
            serialization=core_schema.plain_serializer_function_ser_schema(_itself),
        )


def _sent(given: In) -> dict[str, Any]:
    return given.model_dump(exclude_unset=True)


def _itself(policy: dict[str, Any]) -> dict[str, Any]:
    return policy


PolicyIn = Annotated[dict[str, Any], AsSent(PolicyFields)]
"""What is said of a policy: what is absent has the default, or the word of who stands above."""


class TimeoutsIn(In):
    """Seconds; what is absent has the default. min_speed: characters a second, 0 for none."""

    connect: Seconds | None = None
    first_token: Seconds | None = None
    idle: Seconds | None = None
    total: Seconds | None = None
    min_speed: Speed | None = None


class Connection(In):
    """How to reach a provider. credential: secrets by name; they are never shown again.

    base_url: by default the usual one of a provider of this name, where it has one.
    """

    base_url: BaseUrl | None = None
    adapter_class: Dotted | None = None
    credential: dict[Word, Secretive] = Field(default={}, max_length=32)
    options: dict[Word, Text] = Field(default={}, max_length=64)
    priority: Priority | None = None
    timeouts: TimeoutsIn = TimeoutsIn()
    ca_bundle: File | None = None
    client_cert: File | None = None
    client_key: File | None = None
    proxy: Url | None = None
    max_running: Calls | None = None
    max_waiting: Calls | None = None


class EndpointIn(Connection):
    """A further endpoint. name: `standby-<n>` unless given; priority: behind all others."""

    name: Name | None = None
    country: Country | None = None
    is_enabled: bool = True


class ProviderSettings(In):
    """approve_new_models: those that a sync finds stay switched off until the operator approves.

    sync_every: seconds between two syncs with the provider's list, None for none.
    policy: what its models have where they say nothing (docs/routing.md).
    """

    approve_new_models: bool = False
    sync_every: Annotated[float, Field(ge=60, le=30 * 86400)] | None = None
    policy: PolicyIn = Field(default={})


class ProviderIn(Connection):
    """A provider with its primary endpoint.

    adapter_class: by default that of this provider's name, else of whoever answers at base_url.
    """

    name: Name
    display_name: Title | None = None
    country: Country | None = None
    settings: ProviderSettings = ProviderSettings()


class ProviderPatch(In):
    """What to change of a provider."""

    display_name: Title = unset()
    adapter_class: Dotted = unset()
    is_enabled: bool = unset()
    country: Country | None = unset()
    settings: ProviderSettings = unset()


class EndpointPatch(In):
    """What to change of an endpoint. credential: named secrets are replaced, null removes one."""

    base_url: BaseUrl = unset()
    adapter_class: Dotted | None = unset()
    credential: Annotated[dict[Word, Secretive | None], Field(max_length=32)] = unset()
    options: Annotated[dict[Word, Text], Field(max_length=64)] = unset()
    priority: Priority = unset()
    timeouts: TimeoutsIn = unset()
    ca_bundle: File | None = unset()
    client_cert: File | None = unset()
    client_key: File | None = unset()
    proxy: Url | None = unset()
    max_running: Calls | None = unset()
    max_waiting: Calls | None = unset()
    country: Country | None = unset()
    is_enabled: bool = unset()


class EndpointOut(TaggedOut):
    """An endpoint. credential_fields: names of its secrets, null if they cannot be opened."""

    id: int
    name: str
    base_url: str
    adapter_class: str
    credential_fields: list[str] | None
    options: JsonValue
    priority: int
    timeouts: JsonValue
    ca_bundle: str | None
    client_cert: str | None
    client_key: str | None
    proxy: str | None
    max_running: int | None
    max_waiting: int | None
    country: str | None
    is_enabled: bool
    created_at: Moment
    updated_at: Moment


class ProviderOut(TaggedOut):
    """A provider with its endpoints, in the order in which they are tried."""

    name: str
    display_name: str
    adapter_class: str
    is_enabled: bool
    country: str | None
    settings: JsonValue
    created_at: Moment
    updated_at: Moment
    endpoints: list[EndpointOut]


class VersionIn(In):
    """A version. upstream: the provider's own name for it."""

    label: Word
    upstream: Annotated[str, Field(min_length=1, max_length=500)]
    channel: Word | None = None
    status: Status = "active"
    released_at: Moment | None = None
    retires_at: Moment | None = None
    weight: Annotated[int, Field(ge=0, le=1000)] = 1
    successor: Word | None = None


def _distinct(versions: list[VersionIn]) -> list[VersionIn]:
    """Check that labels and channels lead to one version each."""
    for what in ("label", "channel"):
        given = [name for v in versions if (name := getattr(v, what)) is not None]
        if len(given) != len(set(given)):
            raise ValueError(f"two versions have the same {what}")
    return versions


class Capabilities(In):
    """What a model can do, where the operator knows better. max_output: tokens."""

    features: dict[Feature, Degree] = Field(default={})
    max_output: Tokens | None = None


class ModelIn(In):
    """A model. versions: the first is what the bare id means; one is made when none is given."""

    model_id: Word
    provider: Name
    adapter_class: Dotted | None = None
    display_name: Title | None = None
    kind: Kind = "chat"
    context_length: Tokens | None = None
    is_available: bool = True
    capabilities: Capabilities = Capabilities()
    access_group: Name | None = None
    limits: dict[str, Any] = Field(default={})
    policy: PolicyIn = Field(default={})
    versions: list[VersionIn] = Field(default=[], max_length=100)

    _versions = field_validator("versions")(_distinct)


class ModelPatch(In):
    """What to change of a model. versions: replaces the whole list."""

    adapter_class: Dotted = unset()
    display_name: Title = unset()
    kind: Kind = unset()
    context_length: Tokens | None = unset()
    is_available: bool = unset()
    capabilities: Capabilities = unset()
    access_group: Name | None = unset()
    limits: dict[str, Any] = unset()
    policy: PolicyIn = unset()
    versions: Annotated[list[VersionIn], Field(min_length=1, max_length=100)] = unset()

    _versions = field_validator("versions")(_distinct)


class ModelQuery(PageQuery):
    """Which models: of a provider, switched on or off."""

    provider: str | None = None
    available: bool | None = None


class VersionOut(Out):
    """A version."""

    label: str
    upstream: str
    channel: str | None
    status: str
    released_at: Moment | None
    retires_at: Moment | None
    weight: int
    successor: str | None
    origin: str


class ModelOut(TaggedOut):
    """A model. origin: `operator`, `shipped` or `live`; vanished_at: gone from that list since.

    listed: what that list says of it; capabilities: the operator's word, which stands above it.
    """

    model_id: str
    provider: str
    adapter_class: str
    display_name: str
    kind: str
    context_length: int | None
    is_available: bool
    listed: JsonValue
    capabilities: JsonValue
    access_group: str | None
    limits: JsonValue
    policy: JsonValue
    origin: str
    vanished_at: Moment | None
    created_at: Moment
    updated_at: Moment
    versions: list[VersionOut]


class SyncIn(In):
    """provider: None for all that are registered. live: also ask the providers for their lists."""

    provider: Name | None = None
    live: bool = False


class SyncFailure(Out):
    """What went wrong with one provider; the others are not affected."""

    provider: str
    error: str
    hint: str | None = None


class SyncOut(Out):
    """Models by what became of them. vanished: are in no list any more, and kept."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    vanished: int = 0
    failed: list[SyncFailure] = Field(default=[])


class AdapterOut(Out):
    """A supported adapter class. models: how many it describes without asking the provider."""

    adapter_class: str
    provider: str
    models: int
