"""The immutable copy of everything the data plane needs to know; replaced whole."""

from __future__ import annotations

from msgspec import Struct

from xrouter.domain.catalog import Endpoint, Model
from xrouter.domain.identity import KeyRecord
from xrouter.domain.limits import Limit, Tenant
from xrouter.domain.routes import Canary, Route
from xrouter.domain.tokens import Trust


class Snapshot(Struct, frozen=True, kw_only=True):
    """One revision of the catalog and the keys.

    models: by canonical id, also the switched-off ones (they answer "unavailable").
    endpoints: by provider, ordered by priority. keys: by MAC. routes: by every name that means
    them. rates: billionths of a ruble for one unit of a currency. canaries: by model id.
    limits: by subject. tenants: by project. tokens: how to check access tokens.
    built_at: unix seconds. valid_until: when a price or a date in it begins, None if none will.
    stale: the database cannot be asked at the moment, so that a key that is not in here may exist
    all the same.
    """

    revision: int
    built_at: float
    models: dict[str, Model]
    endpoints: dict[str, tuple[Endpoint, ...]]
    keys: dict[bytes, KeyRecord]
    routes: dict[str, Route] = {}
    rates: dict[str, int] = {}
    canaries: dict[str, Canary] = {}
    limits: dict[str, tuple[Limit, ...]] = {}
    tenants: dict[str, Tenant] = {}
    tokens: Trust = Trust()
    valid_until: float | None = None
    stale: bool = False


EMPTY = Snapshot(revision=-1, built_at=0.0, models={}, endpoints={}, keys={})
"""What there is before the first snapshot arrives; answers are NotReady."""
