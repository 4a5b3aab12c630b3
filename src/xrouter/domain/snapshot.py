"""The immutable copy of everything the data plane needs to know; replaced whole."""

from __future__ import annotations

from msgspec import Struct

from xrouter.domain.catalog import Endpoint, Model
from xrouter.domain.identity import KeyRecord


class Snapshot(Struct, frozen=True, kw_only=True):
    """One revision of the catalog and the keys.

    models: by canonical id, also the switched-off ones (they answer "unavailable").
    endpoints: by provider, ordered by priority. keys: by MAC.
    built_at: unix seconds. stale: the database cannot be asked at the moment, so that a key that is
    not in here may exist all the same.
    """

    revision: int
    built_at: float
    models: dict[str, Model]
    endpoints: dict[str, tuple[Endpoint, ...]]
    keys: dict[bytes, KeyRecord]
    stale: bool = False


EMPTY = Snapshot(revision=-1, built_at=0.0, models={}, endpoints={}, keys={})
"""What there is before the first snapshot arrives; answers are NotReady."""
