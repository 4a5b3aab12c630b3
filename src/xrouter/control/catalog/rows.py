"""From rows to the domain's words, and secrets into rows and out of them.

A row comes from any writer, also from a person with a database shell: what it holds is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from xrouter.control.db.tables.catalog import EndpointRow
from xrouter.domain.catalog import Endpoint, Timeouts
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault

PROXY_AUTH = "proxy_auth"
"""The secret that holds `user:password` of a proxy's address."""


def context(endpoint_id: int) -> str:
    """Where the credential of this endpoint lies."""
    return f"provider_endpoints/{endpoint_id}/credential"


def seal(vault: Vault, endpoint_id: int, secrets: Mapping[str, Secret]) -> bytes | None:
    """Secrets as they are stored, None for none."""
    if not secrets:
        return None
    plain = {name: secret.reveal() for name, secret in sorted(secrets.items())}
    return vault.seal(msgspec.json.encode(plain), context(endpoint_id))


def unseal(vault: Vault, row: EndpointRow) -> dict[str, Secret]:
    """The secrets of a row. Raises VaultError."""
    if row.credential is None:
        return {}
    plain = vault.open(row.credential, context(row.id))
    found = msgspec.json.decode(plain, type=dict[str, str])
    return {name: Secret(text) for name, text in found.items()}


def endpoint(row: EndpointRow, adapter_class: str, secrets: Mapping[str, Secret]) -> Endpoint:
    """The endpoint of a row. Raises msgspec.ValidationError for options or timeouts of no sense."""
    credential = dict(secrets)
    user = credential.pop(PROXY_AUTH, None)
    return Endpoint(
        id=row.id,
        provider=row.provider,
        name=row.name,
        adapter_class=row.adapter_class or adapter_class,
        base_url=row.base_url,
        credential=credential,
        options=msgspec.convert(row.options, dict[str, str]),
        priority=row.priority,
        timeouts=msgspec.convert(row.timeouts, Timeouts),
        ca_bundle=row.ca_bundle,
        client_cert=row.client_cert,
        client_key=row.client_key,
        proxy=_with_user(row.proxy, user),
        max_running=row.max_running,
        max_waiting=row.max_waiting,
        country=row.country,
    )


def split_proxy(url: str) -> tuple[str, Secret | None]:
    """A proxy's address without its user and password, and these."""
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=place).geturl(), Secret(user) if at else None


def _with_user(proxy: str | None, user: Secret | None) -> str | None:
    if proxy is None or user is None:
        return proxy
    parts = urlsplit(proxy)
    return parts._replace(netloc=f"{user.reveal()}@{parts.netloc}").geturl()
