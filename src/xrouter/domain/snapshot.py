"""The immutable copy of everything the data plane needs to know; replaced whole."""

from __future__ import annotations

from msgspec import Struct

from xrouter.domain.catalog import Endpoint, Model
from xrouter.domain.identity import KeyRecord, KeyShelf
from xrouter.domain.limits import Limit, Tenant
from xrouter.domain.routes import Canary, Route
from xrouter.domain.tokens import Trust


class Snapshot(Struct, frozen=True, kw_only=True):
    """One revision of the catalog and the keys.

    models: by canonical id, also the switched-off ones (they answer "unavailable").
    endpoints: by provider, ordered by priority. keys: by MAC. routes: by every name that means
    them. rates: billionths of a ruble for one unit of a currency. canaries: by model id.
    limits: by subject. tenants: by project. tokens: how to check access tokens.
    accounts: by project, then by the id of the router's endpoint: the same with the project's own
    credential.
    shelf: where there are very many keys; `keys` are those alone that are not on it. unshelved:
    rows whose keys on it are no longer good, for they have changed or were revoked since.
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
    accounts: dict[str, dict[int, Endpoint]] = {}
    shelf: KeyShelf | None = None
    unshelved: frozenset[int] = frozenset()
    valid_until: float | None = None
    stale: bool = False

    def key(self, mac: bytes) -> KeyRecord | None:
        """By MAC. Raises NotReady when it cannot be known."""
        record = self.keys.get(mac)
        if record is None and self.shelf is not None:
            return self._good(self.shelf.find(mac))
        return record

    def key_named(self, key_id: str) -> KeyRecord | None:
        """By its public id; slower. Raises NotReady when it cannot be known."""
        for record in self.keys.values():
            if record.principal.key_id == key_id:
                return record
        return None if self.shelf is None else self._good(self.shelf.named(key_id))

    def _good(self, found: KeyRecord | None) -> KeyRecord | None:
        return None if found is None or found.row in self.unshelved else found


EMPTY = Snapshot(revision=-1, built_at=0.0, models={}, endpoints={}, keys={})
"""What there is before the first snapshot arrives; answers are NotReady."""
