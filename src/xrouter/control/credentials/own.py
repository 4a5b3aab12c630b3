"""A project's own account at a provider: its secrets in rows, and the endpoints it makes."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from xrouter.control.db.tables.identity import CredentialRow
from xrouter.domain.catalog import OWN, Endpoint
from xrouter.domain.secret import Secret
from xrouter.providers.base import BaseAPIAdapter
from xrouter.stores.vault import Vault

Secrets = Mapping[str, Secret]


def context(project: str, provider: str) -> str:
    """Where a credential lies. A row that is moved to another project does not open."""
    return f"project_credentials/{project}/{provider}/credential"


def seal(vault: Vault, project: str, provider: str, secrets: Secrets) -> bytes:
    """Secrets as they are stored."""
    plain = {name: secret.reveal() for name, secret in sorted(secrets.items())}
    return vault.seal(msgspec.json.encode(plain), context(project, provider))


def unseal(vault: Vault, row: CredentialRow) -> dict[str, Secret]:
    """The secrets of a row. Raises VaultError, msgspec.DecodeError."""
    plain = vault.open(row.credential, context(row.project, row.provider))
    found = msgspec.json.decode(plain, type=dict[str, str])
    return {name: Secret(text) for name, text in found.items()}


def endpoint(
    ours: Endpoint, kind: type[BaseAPIAdapter], project: str, secrets: Secrets, *, is_only: bool
) -> Endpoint:
    """The router's endpoint on the project's account: nothing of the router's account is left.

    kind: the class of its adapter. The same secrets make the same id.
    """
    options = {k: v for k, v in ours.options.items() if k not in kind.account_options}
    said = {name: secrets[name].reveal() for name in kind.own_options if name in secrets}
    return replace(
        ours,
        id=_id(ours, project, secrets),
        name=ours.name + OWN,
        credential={k: v for k, v in secrets.items() if k not in kind.own_options},
        options=options | said,
        client_cert=None,
        client_key=None,
        state="healthy",
        owner=project,
        is_only=is_only,
    )


def _id(ours: Endpoint, project: str, secrets: Secrets) -> int:
    """Below 0, where no row's is; another one for other secrets: what failed was not they."""
    told = [project, ours.id, sorted((name, text.reveal()) for name, text in secrets.items())]
    digest = blake2b(msgspec.json.encode(told), digest_size=8).digest()
    return -1 - (int.from_bytes(digest, "big") >> 1)
