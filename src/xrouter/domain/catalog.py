"""What can be asked: providers' endpoints, models and their versions."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from xrouter.domain.abilities import Abilities
from xrouter.domain.routes import Policy
from xrouter.domain.secret import Secret

Kind = Literal["chat", "embeddings", "images", "speech", "transcription", "moderation"]
"""What a model is for; the operations of the door ask for one of them."""


Status = Literal["active", "deprecated", "retired"]
"""Of versions; retired ones are not served."""

State = Literal["healthy", "degraded", "down"]
"""Of endpoints, as the prober sees them."""

OWN = "@own"
"""How the names of endpoints end that are a project's own account; no other name holds an `@`."""


class Timeouts(Struct, frozen=True):
    """Seconds. first_token: from sending to the first delta; idle: between two reads.

    min_speed: characters a second below which a stream counts as stalled, 0 for no limit.
    """

    connect: float = 5.0
    first_token: float = 60.0
    idle: float = 60.0
    total: float = 600.0
    min_speed: float = 0.0


class Endpoint(Struct, frozen=True, kw_only=True):
    """One base URL with one credential of a provider.

    adapter_class: dotted path of the adapter that speaks its language.
    credential: what the adapter needs to authenticate, by name (`api_key`, `folder_id`, ...).
    options: what it needs besides (`scope`, `auth_url`, ...), not secret.
    priority: smaller is tried first.
    ca_bundle: PEM file to trust besides the system's; client_cert/client_key: PEM files for mTLS.
    proxy: URL of an HTTP proxy. None for all of these means: not used.
    max_running, max_waiting: calls at a time and in the queue, None for no limit of ours.
    country: where its machines stand (`RU`), None when unknown. state: see `State`.
    owner: the project whose account it is, None for the router's own; a project's has an id below
    0 and a name that ends with `OWN`. is_only: the owner asks this provider on no other account.
    """

    id: int
    provider: str
    name: str
    adapter_class: str
    base_url: str
    credential: dict[str, Secret] = {}
    options: dict[str, str] = {}
    priority: int = 0
    timeouts: Timeouts = Timeouts()
    ca_bundle: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = None
    max_running: int | None = None
    max_waiting: int | None = None
    country: str | None = None
    state: State = "healthy"
    owner: str | None = None
    is_only: bool = False


class Price(Struct, frozen=True, kw_only=True, omit_defaults=True, cache_hash=True):
    """What an answer costs now. Amounts: billionths of the currency's unit, per million tokens.

    request, image: each. What is None costs what `input` or, for reasoning, `output` costs.
    id: of its row, None for a price that stands in no table.
    """

    id: int | None = None
    currency: str
    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    request: int = 0
    image: int | None = None
    source: str = ""


class Version(Struct, frozen=True, kw_only=True):
    """What a model is at one time. `upstream` is the provider's own name for it.

    channel: moving name that leads here (`latest`, `rc`, `deprecated`), or None.
    weight: kept for people; a channel leads to one version, shares are of canaries and of routes.
    Dates: unix seconds. successor: the name to ask for instead of a deprecated one. price: None
    when unknown. deferred: of an answer that is left for later, or given by a tier that may wait;
    None where it costs the same.
    """

    label: str
    upstream: str
    channel: str | None = None
    status: Status = "active"
    weight: int = 1
    released_at: float | None = None
    retires_at: float | None = None
    successor: str | None = None
    price: Price | None = None
    deferred: Price | None = None

    def price_of(self, *, is_deferred: bool) -> Price | None:
        """What an answer costs."""
        return (self.deferred or self.price) if is_deferred else self.price


class Model(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the catalog. `model_id` is canonical: `provider/name`.

    versions: at least one; the first is what the bare model id means. retired: successors by the
    labels of those that are not served any more, None where none is known. variants: suffixes that
    the provider takes behind any name. vanished: the list that
    it came from does not have it any more; it answers all the same.
    context_length: tokens, prompt and answer together; None when unknown.
    created: unix seconds. abilities: the adapter's word, with the row's above it.
    access_group: that a key must have, None for all keys. policy: None for the default one.
    """

    model_id: str
    provider: str
    adapter_class: str
    display_name: str
    kind: Kind = "chat"
    context_length: int | None = None
    is_available: bool = True
    created: int = 0
    abilities: Abilities = Abilities()
    access_group: str | None = None
    policy: Policy | None = None
    versions: tuple[Version, ...]
    retired: dict[str, str | None] = {}
    variants: tuple[str, ...] = ()
    vanished: bool = False


class ModelDescription(Struct, frozen=True, kw_only=True):
    """A model as its adapter describes it, shipped (`supported_models`) or found (`discover`).

    name: without the provider; the canonical id is `provider/name`.
    abilities: what is known of this model beside `features` of the adapter.
    prices: what the live list says, per kind of token, in the provider's own unit; {} if nothing.
    """

    name: str
    display_name: str
    kind: Kind = "chat"
    context_length: int | None = None
    abilities: Abilities = Abilities()
    prices: dict[str, str] = {}
    versions: tuple[Version, ...]
