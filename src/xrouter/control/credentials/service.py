"""Projects' own credentials for providers: set, listed, removed. Secrets are never shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import DecodeError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.catalog import repository as catalog
from xrouter.control.catalog import rows
from xrouter.control.catalog.adapters import Adapters
from xrouter.control.credentials import own, repository
from xrouter.control.credentials.schemas import CredentialIn, CredentialOut
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow, ProviderRow
from xrouter.control.db.tables.identity import CredentialRow
from xrouter.control.db.tables.people import ProjectRow
from xrouter.control.kit import etag
from xrouter.control.kit.errors import missing
from xrouter.control.kit.schemas import Page
from xrouter.control.people import access
from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.secret import Secret
from xrouter.stores.vault import Vault, VaultError

READ = "credentials.read"
CHANGE = "credentials.change"
SET = "credential.set"
REMOVE = "credential.remove"
_SHOWN = 4
_LONG = 16
"""Characters; the end of a shorter secret would tell too much of it."""


class CredentialService:
    """Every method is one transaction. changed: called after each that wrote something.

    Projects that who asks has no part in are not there. if_match: see `kit.etag`.
    """

    def __init__(
        self, db: Database, vault: Vault, adapters: Adapters, changed: Callable[[], None]
    ) -> None:
        self._db = db
        self._vault = vault
        self._adapters = adapters
        self._changed = changed

    async def page(self, project: str) -> Page[CredentialOut]:
        """Those of a project, by provider. Raises NotFound, Forbidden."""
        async with self._db.read() as session:
            await access.project(session, project, READ)
            found = await repository.credentials(session, project)
            return Page(data=[self._out(row) for row in found])

    async def get(self, project: str, provider: str) -> CredentialOut:
        """One. Raises NotFound, Forbidden."""
        async with self._db.read() as session:
            await access.project(session, project, READ)
            return self._out(await repository.credential(session, project, provider))

    async def put(
        self, project: str, provider: str, given: CredentialIn, if_match: str | None = None
    ) -> CredentialOut:
        """Make or replace one. Raises NotFound, Forbidden, InvalidRequest, PreconditionFailed."""
        async with self._db.write() as session:
            owner = await access.project(session, project, CHANGE, lock=True)
            row = await repository.find(session, project, provider)
            if if_match is not None:
                etag.require(if_match, {} if row is None else _document(row))
            if given.credential is not None:
                secrets = {k: Secret(v.get_secret_value()) for k, v in given.credential.items()}
                await self._check(session, project, provider, secrets)
                row = row or CredentialRow(project=project, provider=provider)
                row.credential = own.seal(self._vault, project, provider, secrets)
                row.last4 = _end_of(secrets)
            elif row is None:
                raise missing("credential")
            row.is_only, row.is_enabled = given.is_only, given.is_enabled
            session.add(row)
            await session.flush()
            detail = _document(row) | {"replaced": given.credential is not None}
            await _record(session, owner, row, SET, detail)
            shown = self._out(row)
        self._changed()
        return shown

    async def delete(self, project: str, provider: str, if_match: str | None = None) -> None:
        """Remove one. Raises NotFound, Forbidden, PreconditionFailed."""
        async with self._db.write() as session:
            owner = await access.project(session, project, CHANGE, lock=True)
            row = await repository.credential(session, project, provider)
            etag.require(if_match, _document(row))
            await session.delete(row)
            await session.flush()
            await _record(session, owner, row, REMOVE, {"last4": row.last4})
        self._changed()

    async def _check(
        self, session: AsyncSession, project: str, provider: str, secrets: own.Secrets
    ) -> None:
        """Let the adapter say what is missing. Raises NotFound, InvalidRequest."""
        owner = await catalog.provider(session, provider)
        row = min(owner.endpoints, key=_rank, default=None)
        if row is None:
            raise InvalidRequest(f"The provider '{provider}' has no endpoint.", param="provider")
        ours = rows.endpoint(row, owner.adapter_class, {})
        kind = self._adapters.require(ours.adapter_class)
        spec = kind.environment
        known = set(kind.own_options) | self._fields(owner)
        if spec is not None:
            known |= {*spec.credential, *spec.credential_files}
        for name in sorted(secrets.keys() - known):
            raise InvalidRequest(
                f"'{provider}' has no credential '{name}'.",
                param=f"credential.{name}",
                code="unknown_parameter",
                hint=f"It takes: {', '.join(sorted(known)) or 'none'}.",
            )
        bare = own.endpoint(ours, kind, project, {}, is_only=True)
        if row.credential is None and self._is_sound(bare):
            raise InvalidRequest(
                f"The provider '{provider}' takes no credential here.", param="provider"
            )
        try:
            self._adapters.build(own.endpoint(ours, kind, project, secrets, is_only=True))
        except InvalidRequest as error:
            place, _, name = (error.param or "").partition(".")
            if place == "options" and name in kind.own_options:
                error.param = f"credential.{name}"
            raise

    def _is_sound(self, endpoint: Endpoint) -> bool:
        try:
            self._adapters.build(endpoint)
        except InvalidRequest:
            return False
        return True

    def _fields(self, owner: ProviderRow) -> set[str]:
        """Names of the secrets of the router's own endpoints."""
        found: set[str] = set()
        for row in owner.endpoints:
            try:
                found |= rows.unseal(self._vault, row).keys()
            except VaultError:
                continue
        return found - {rows.PROXY_AUTH}

    def _out(self, row: CredentialRow) -> CredentialOut:
        try:
            fields: list[str] | None = sorted(own.unseal(self._vault, row))
        except (VaultError, DecodeError):
            fields = None
        return CredentialOut(
            project=row.project,
            provider=row.provider,
            fields=fields,
            last4=row.last4,
            is_only=row.is_only,
            is_enabled=row.is_enabled,
            created_at=row.created_at,
            updated_at=row.updated_at,
            etag=etag.etag(_document(row)),
        )


def _rank(row: EndpointRow) -> tuple[bool, int, int]:
    """The endpoint that is tried first has the smallest."""
    return not row.is_enabled, row.priority, row.id


def _end_of(secrets: Mapping[str, Secret]) -> str:
    """Of the longest secret."""
    longest = max((secret.reveal().strip() for secret in secrets.values()), key=len)
    return longest[-_SHOWN:] if len(longest) >= _LONG else ""


def _document(row: CredentialRow) -> dict[str, Any]:
    """What is told of a credential; it changes whenever the row does."""
    return {
        "last4": row.last4,
        "is_only": row.is_only,
        "is_enabled": row.is_enabled,
        "updated_at": row.updated_at.isoformat(),
    }


async def _record(
    session: AsyncSession, owner: ProjectRow, row: CredentialRow, action: str, detail: Any
) -> None:
    await audit.record(
        session,
        action=action,
        object=f"credential:{row.project}/{row.provider}",
        organization=await repository.organization(session, owner),
        detail=detail,
    )
