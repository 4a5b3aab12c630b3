"""Shapes of the registry's API: one document for all of the catalog, changes, and their undoing."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, SecretStr, field_validator

from xrouter.control.catalog.objects import unpacked
from xrouter.control.catalog.schemas import (
    AsSent,
    Calls,
    Country,
    PolicyIn,
    ProviderSettings,
    TimeoutsIn,
    Tokens,
)
from xrouter.control.kit.schemas import (
    MAX_PAGE,
    BaseUrl,
    Dotted,
    File,
    In,
    Moment,
    Name,
    Out,
    Title,
    Url,
    Word,
)
from xrouter.control.releases.schemas import ReleasePlan
from xrouter.domain.catalog import Kind
from xrouter.domain.limits import Meter, Window

Format = Literal["xrouter-registry-1", "xrouter-registry-2", "xrouter-registry-3"]
FORMAT: Format = "xrouter-registry-3"
"""What is exported. The first one had no rates and no limits, the second no releases; they are read
as they were."""

MOST = 20_000
_MOST_INSIDE = 200

Text = Annotated[str, Field(max_length=2048)]
Priority = Annotated[int, Field(ge=0, le=1_000_000)]
Weight = Annotated[int, Field(ge=0, le=1000)]
Amount = Annotated[int, Field(ge=0, le=2**62)]


def _sealed(text: str) -> str:
    unpacked(text)
    return text


class EndpointDoc(In):
    """An endpoint. credential: secrets in the clear, for documents written by hand; sealed: as
    exported, for the same master key, null for none. Without both it keeps what it has.

    credential_fields: what an export without secrets says instead; not read.
    """

    name: Name
    base_url: BaseUrl
    adapter_class: Dotted | None = None
    priority: Priority = 0
    options: dict[Word, Text] = Field(default={}, max_length=64)
    timeouts: TimeoutsIn = TimeoutsIn()
    ca_bundle: File | None = None
    client_cert: File | None = None
    client_key: File | None = None
    proxy: Annotated[Url, Field()] | None = None
    max_running: Calls | None = None
    max_waiting: Calls | None = None
    country: Country | None = None
    is_enabled: bool = True
    credential: dict[Word, SecretStr] | None = Field(default=None, max_length=32)
    sealed: Annotated[str, Field(max_length=200_000), AfterValidator(_sealed)] | None = None
    credential_fields: list[str] | None = None


class ProviderDoc(In):
    """A provider. endpoints: those that it has besides stay, unless the import prunes."""

    name: Name
    display_name: Title | None = None
    adapter_class: Dotted
    is_enabled: bool = True
    country: Country | None = None
    settings: Annotated[dict[str, Any], AsSent(ProviderSettings)] = Field(default={})
    endpoints: list[EndpointDoc] = Field(default=[], max_length=_MOST_INSIDE)


class VersionDoc(In):
    """A version."""

    label: Word
    upstream: Annotated[str, Field(min_length=1, max_length=500)]
    channel: Word | None = None
    status: Literal["active", "deprecated", "retired"] = "active"
    released_at: Moment | None = None
    retires_at: Moment | None = None
    weight: Weight = 1
    successor: Word | None = None
    origin: Literal["operator", "shipped", "live"] = "operator"


class ModelDoc(In):
    """A model. versions: all of them; the first is what the bare id means."""

    model_id: Word
    provider: Name
    adapter_class: Dotted | None = None
    display_name: Title | None = None
    kind: Kind = "chat"
    context_length: Tokens | None = None
    is_available: bool = True
    listed: dict[str, Any] = Field(default={})
    capabilities: dict[str, Any] = Field(default={})
    access_group: Name | None = None
    limits: dict[str, Any] = Field(default={})
    policy: PolicyIn = Field(default={})
    origin: Literal["operator", "shipped", "live"] = "operator"
    vanished_at: Moment | None = None
    versions: list[VersionDoc] = Field(default=[], max_length=_MOST_INSIDE)

    @field_validator("versions")
    @classmethod
    def _distinct(cls, versions: list[VersionDoc]) -> list[VersionDoc]:
        for what in ("label", "channel"):
            given = [name for v in versions if (name := getattr(v, what)) is not None]
            if len(given) != len(set(given)):
                raise ValueError(f"two versions have the same {what}")
        return versions


class PriceDoc(In):
    """A price. Amounts: billionths of the currency's unit, per million tokens."""

    version: Word | None = None
    mode: Literal["sync", "deferred"] = "sync"
    effective_from: Moment
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    input: Amount
    output: Amount
    cached_input: Amount | None = None
    cache_write: Amount | None = None
    reasoning: Amount | None = None
    request: Amount = 0
    image: Amount | None = None
    source: Title


class PricesDoc(In):
    """The prices of a model. Those that it has besides stay, unless the import prunes."""

    model_id: Word
    prices: list[PriceDoc] = Field(max_length=1000)


class TargetDoc(In):
    """Where a route may go."""

    model: Word
    endpoint: Name | None = None
    weight: Weight = 1
    priority: Priority = 0


class RouteDoc(In):
    """A route. targets: all of them."""

    name: Name
    display_name: Title | None = None
    aliases: list[Word] = Field(default=[], max_length=_MOST_INSIDE)
    policy: PolicyIn = Field(default={})
    access_group: Name | None = None
    is_enabled: bool = True
    targets: list[TargetDoc] = Field(min_length=1, max_length=_MOST_INSIDE)


class RateDoc(In):
    """A rate of a day. rubles: billionths of a ruble for one unit."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    day: date
    rubles: Annotated[int, Field(ge=1, le=2**62)]


class LimitDoc(In):
    """A limit. amount: of money in billionths of a ruble."""

    subject: Annotated[Title, Field(max_length=300)]
    model: Word | None = None
    meter: Meter
    window: Window
    amount: Amount
    time_zone: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] = "Europe/Moscow"
    warn_at: Annotated[int, Field(ge=1, le=100)] | None = None
    is_enabled: bool = True


class RegistryDoc(In):
    """The whole registry. A part that is absent is left as it is, also by an import that prunes.

    rates: none is ever deleted. limits: those that there are besides stay, unless it prunes.
    releases: the planned and the running ones, one at a time for a channel of a model.
    """

    format: Format = FORMAT
    providers: list[ProviderDoc] | None = Field(default=None, max_length=MOST)
    models: list[ModelDoc] | None = Field(default=None, max_length=MOST)
    prices: list[PricesDoc] | None = Field(default=None, max_length=MOST)
    routes: list[RouteDoc] | None = Field(default=None, max_length=MOST)
    rates: list[RateDoc] | None = Field(default=None, max_length=MOST)
    limits: list[LimitDoc] | None = Field(default=None, max_length=MOST)
    releases: list[ReleasePlan] | None = Field(default=None, max_length=MOST)


class ExportQuery(In):
    """secrets: `sealed` adds credentials that only the same master key opens."""

    secrets: Literal["none", "sealed"] = "none"


class DryRunQuery(In):
    """dry_run: only tell."""

    dry_run: bool = False


class ImportQuery(DryRunQuery):
    """prune: delete what the document does not have."""

    prune: bool = False


class RestoreIn(In):
    """dry_run: only tell."""

    dry_run: bool = False


class DifferenceOut(Out):
    """path: as `versions[v2].channel`. Credentials are `sealed`, a new one `changed`."""

    path: str
    old: JsonValue
    new: JsonValue


class ChangedOut(Out):
    """What becomes of an object. action: `create`, `update` or `delete`."""

    kind: str
    object: str
    action: str
    diff: list[DifferenceOut]


class OutcomeOut(Out):
    """What was done, or would be. warnings: what needs an operator's eye."""

    dry_run: bool
    revision: int
    changed: list[ChangedOut]
    warnings: list[str]


class ChangeQuery(In):
    """Which changes, and which part of them: those before the change `after`."""

    kind: str | None = None
    object: str | None = None
    author: str | None = None
    after: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100


class ChangeOut(Out):
    """A change. revision: that of the catalog after it."""

    id: int
    revision: int
    at: Moment
    author: str
    action: str
    kind: str
    object: str
    diff: list[DifferenceOut]
