"""Projects' own accounts at providers, as the data plane needs them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from msgspec import DecodeError

from xrouter.control.catalog.adapters import Adapters
from xrouter.control.credentials import own
from xrouter.control.db.tables.identity import CredentialRow
from xrouter.control.publish.tenants import Skip
from xrouter.domain.catalog import Endpoint
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault, VaultError

Accounts = dict[str, dict[int, Endpoint]]


def accounts(
    found: Iterable[CredentialRow],
    endpoints: Mapping[str, tuple[Endpoint, ...]],
    adapters: Adapters,
    vault: Vault,
    skip: Skip,
) -> Accounts:
    """As `Snapshot.accounts`. What cannot be opened becomes an account that is refused: a project
    that may go there on no other must not go on the router's.
    """
    made: Accounts = defaultdict(dict)
    for row in found:
        secrets: dict[str, Secret] = {}
        try:
            secrets = own.unseal(vault, row)
        except (VaultError, DecodeError):
            skip("credential of a project that cannot be opened", f"{row.project}/{row.provider}")
        for ours in endpoints.get(row.provider, ()):
            kind = adapters.classes[ours.adapter_class]
            made[row.project][ours.id] = own.endpoint(
                ours, kind, row.project, secrets, is_only=row.is_only
            )
    return dict(made)
