"""Clients and grants as the control API shows them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.oauth import ClientRow, GrantRow
from xrouter.control.db.tables.people import OrganizationRow
from xrouter.control.identity.repository import organization
from xrouter.control.kit import etag
from xrouter.control.kit.actor import actor
from xrouter.control.kit.schemas import Page, PageQuery
from xrouter.control.oauth import ground
from xrouter.control.oauth.clients import secret_mac
from xrouter.control.oauth.schemas import (
    ClientIn,
    ClientOut,
    ClientPatch,
    GrantOut,
    NewClientOut,
)
from xrouter.control.people import access
from xrouter.domain.errors import Forbidden, InvalidRequest, NotFound
from xrouter.domain.usage import new_id
from xrouter.stores.vault import Vault

READ = "clients.read"
CHANGE = "clients.change"
SECRET = "xrs_"  # noqa: S105 - how secrets begin
_BYTES = 32
_CHANGED = ("name", "redirect_uris", "grant_types", "scopes", "is_first_party", "is_active")


class ClientService:
    """Every method is one transaction. changed: called after each that ended a grant.

    Whoever asks sees the clients of their projects; others are not there.
    """

    def __init__(
        self,
        db: Database,
        vault: Vault,
        changed: Callable[[], None],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._db = db
        self._vault = vault
        self._changed = changed
        self._now = now

    async def create(self, given: ClientIn) -> NewClientOut:
        """Register an application. Raises InvalidRequest, NotFound, Forbidden."""
        secret = None if given.is_public else SECRET + secrets.token_urlsafe(_BYTES)
        row = ClientRow(
            **given.model_dump(exclude={"is_public"}),
            client_id=new_id("client_").lower(),
            secret=None if secret is None else secret_mac(self._vault, secret),
            is_active=True,
        )
        _check(row)
        async with self._db.write() as session:
            if given.project is not None:
                project = await access.project(session, given.project, CHANGE)
                row.organization_id = project.organization_id
            elif not actor.get().is_operator:
                raise InvalidRequest(
                    "Missing required parameter: 'project'.",
                    param="project",
                    code="missing_required_parameter",
                )
            session.add(row)
            await session.flush()
            await _record(session, row, "client.create", _document(row))
        return NewClientOut(**_out(row).model_dump(), client_secret=secret)

    async def page(self, query: PageQuery) -> Page[ClientOut]:
        """Clients, the newest first, behind the id `query.after`."""
        wanted = select(ClientRow).order_by(ClientRow.client_id.desc()).limit(query.limit + 1)
        if query.after is not None:
            wanted = wanted.where(ClientRow.client_id < query.after)
        async with self._db.read() as session:
            among = await access.slugs(session, READ)
            if among is not None:
                wanted = wanted.where(ClientRow.project.in_(among))
            found = (await session.scalars(wanted)).all()
        data = [_out(row) for row in found[: query.limit]]
        return Page(data=data, next=data[-1].client_id if len(found) > query.limit else None)

    async def get(self, client_id: str) -> ClientOut:
        """One client. Raises NotFound."""
        async with self._db.read() as session:
            return _out(await _client(session, client_id, READ))

    async def change(
        self, client_id: str, patch: ClientPatch, if_match: str | None = None
    ) -> ClientOut:
        """Change a client; switched off, or with fewer scopes, all its grants end.

        Raises NotFound, InvalidRequest, Forbidden, PreconditionFailed.
        """
        async with self._db.write() as session:
            row = await _client(session, client_id, CHANGE, lock=True)
            before = _document(row)
            etag.require(if_match, before)
            for name, value in patch.sent().items():
                setattr(row, name, value)
            after = _document(row)
            _check(row, before)
            if not row.is_active or not set(before["scopes"]) <= set(row.scopes):
                await ground.revoke(session, self._now(), GrantRow.client_id == row.id)
            if before != after:
                detail = {"before": before, "after": after}
                await _record(session, row, "client.change", detail)
        self._changed()
        return _out(row)

    async def renew(self, client_id: str) -> NewClientOut:
        """A new secret; the old one ends now. Raises NotFound, Forbidden, InvalidRequest."""
        secret = SECRET + secrets.token_urlsafe(_BYTES)
        async with self._db.write() as session:
            row = await _client(session, client_id, CHANGE, lock=True)
            if row.secret is None:
                raise InvalidRequest("A public client has no secret.", code="public_client")
            row.secret = secret_mac(self._vault, secret)
            await _record(session, row, "client.secret", {})
        return NewClientOut(**_out(row).model_dump(), client_secret=secret)


class GrantService:
    """What the one who asks has allowed to applications. changed: as above."""

    def __init__(
        self, db: Database, changed: Callable[[], None], now: Callable[[], datetime] = utc_now
    ) -> None:
        self._db = db
        self._changed = changed
        self._now = now

    async def page(self, query: PageQuery) -> Page[GrantOut]:
        """Grants that are good or were, the newest first, behind the id `query.after`."""
        wanted = _mine().order_by(GrantRow.grant_id.desc()).limit(query.limit + 1)
        if query.after is not None:
            wanted = wanted.where(GrantRow.grant_id < query.after)
        async with self._db.read() as session:
            found = (await session.execute(wanted)).all()
        data = [_grant(*row) for row in found[: query.limit]]
        return Page(data=data, next=data[-1].grant_id if len(found) > query.limit else None)

    async def revoke(self, grant_id: str) -> GrantOut:
        """End a grant with all its tokens; again is the same as once. Raises NotFound."""
        query = _mine().where(GrantRow.grant_id == grant_id)
        async with self._db.write() as session:
            found = (await session.execute(query)).one_or_none()
            if found is None:
                raise NotFound(
                    f"There is no grant '{grant_id}'.", param="grant_id", code="grant_not_found"
                )
            grant, client = found
            if grant.revoked_at is None:
                grant.revoked_at = self._now()
                await session.flush()
                await audit.record(
                    session,
                    action="grant.revoke",
                    object=f"grant:{grant_id}",
                    organization=await organization(session, grant.project),
                )
        self._changed()
        return _grant(grant, client)


def _mine() -> Any:
    user = actor.get().person()
    return (
        select(GrantRow, ClientRow)
        .join(ClientRow, ClientRow.id == GrantRow.client_id)
        .where(GrantRow.user_id == user.row_id)
    )


def _grant(grant: GrantRow, client: ClientRow) -> GrantOut:
    return GrantOut(
        grant_id=grant.grant_id,
        client_id=client.client_id,
        client_name=client.name,
        project=grant.project,
        scopes=grant.scopes,
        created_at=grant.created_at,
        expires_at=grant.expires_at,
        revoked_at=grant.revoked_at,
    )


async def _client(
    session: AsyncSession, client_id: str, action: str, *, lock: bool = False
) -> ClientRow:
    """Raises NotFound, Forbidden."""
    query = select(ClientRow).where(ClientRow.client_id == client_id)
    row = await session.scalar(query.with_for_update() if lock else query)
    missing = NotFound(
        f"There is no client '{client_id}'.", param="client_id", code="client_not_found"
    )
    if row is None:
        raise missing
    if row.project is None:
        if not actor.get().is_operator:
            raise missing
        return row
    try:
        await access.project(session, row.project, action)
    except NotFound:
        raise missing from None
    return row


def _check(row: ClientRow, before: dict[str, Any] | None = None) -> None:
    """What must go together. before: what the client was. Raises InvalidRequest, Forbidden."""
    kinds = set(row.grant_types)
    if row.is_first_party and not actor.get().is_operator and _gets_more(row, before):
        raise Forbidden(
            "Only operators can say that a client needs no consent, and what such a one gets where."
        )
    if "authorization_code" in kinds and not row.redirect_uris:
        raise _wrong("redirect_uris", "authorization_code takes at least one")
    if "refresh_token" in kinds and "authorization_code" not in kinds:
        raise _wrong("grant_types", "refresh_token goes with authorization_code")
    if "client_credentials" in kinds and (row.secret is None or row.project is None):
        raise _wrong("grant_types", "client_credentials takes a secret and a project")


def _gets_more(row: ClientRow, before: dict[str, Any] | None) -> bool:
    """Whether other codes or tokens than before can come, or at other addresses."""
    if before is None or not before["is_first_party"]:
        return True
    is_on_again = row.is_active and not before["is_active"]
    return is_on_again or any(
        not set(getattr(row, name)) <= set(before[name])
        for name in ("redirect_uris", "grant_types", "scopes")
    )


def _wrong(param: str, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value for '{param}': {reason}.", param=param, code="invalid_value"
    )


def _document(row: ClientRow) -> dict[str, Any]:
    """What can be changed of a client."""
    return {name: getattr(row, name) for name in _CHANGED}


def _out(row: ClientRow) -> ClientOut:
    shown = {name: getattr(row, name) for name in ("client_id", "project", "created_at", *_CHANGED)}
    tag = etag.etag(_document(row))
    return ClientOut.model_validate({**shown, "is_public": row.secret is None, "etag": tag})


async def _record(
    session: AsyncSession, row: ClientRow, action: str, detail: dict[str, Any]
) -> None:
    owner = await session.get(OrganizationRow, row.organization_id) if row.organization_id else None
    await audit.record(
        session,
        action=action,
        object=f"client:{row.client_id}",
        organization=None if owner is None else owner.slug,
        detail=detail,
    )
