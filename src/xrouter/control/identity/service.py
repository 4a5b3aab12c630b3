"""API keys: made, listed, changed, rotated, revoked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.identity import repository
from xrouter.control.identity.schemas import (
    KeyIn,
    KeyOut,
    KeyPatch,
    KeyQuery,
    LeakIn,
    NewKeyOut,
    RevokedOut,
    RotationIn,
)
from xrouter.control.kit import etag
from xrouter.control.kit.actor import actor
from xrouter.control.kit.schemas import Page
from xrouter.control.people import access
from xrouter.domain.errors import Conflict, Forbidden, InvalidRequest, NotFound
from xrouter.domain.identity import new_key
from xrouter.domain.usage import new_id
from xrouter.stores.vault import Vault

READ = "keys.read"
CHANGE = "keys.change"
_SHOWN = 4
_PLAIN = ("name", "project", "rpm", "groups", "scopes", "models", "ip_ranges", "tags")
_ENDS = ("expires_at", "revoked_at", "previous_until")
_APART = ("etag", "last_used_at")


class KeyService:
    """Every method is one transaction. changed: called after each that wrote something.

    Whoever asks sees the keys of their projects; others are not there.
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

    async def create(self, given: KeyIn) -> NewKeyOut:
        """Make a key; the answer alone holds it. Raises InvalidRequest, NotFound, Forbidden."""
        self._check_end(given.expires_at)
        _check_groups(given.groups)
        key = new_key()
        row = KeyRow(
            **given.model_dump(),
            key_id=new_id("key_"),
            pepper_id=self._vault.pepper_id,
            mac=self._vault.mac(key),
            last4=key[-_SHOWN:],
            created_at=self._now(),
        )
        async with self._db.write() as session:
            await access.project(session, given.project, CHANGE)
            session.add(row)
            await session.flush()
            await _record(session, row, "key.create", _document(row))
        self._changed()
        return NewKeyOut(**_out(row, None).model_dump(), key=key)

    async def page(self, query: KeyQuery) -> Page[KeyOut]:
        """Keys, the newest first, behind the id `query.after`."""
        limit = query.limit
        async with self._db.read() as session:
            found = await repository.keys(
                session,
                after=query.after,
                limit=limit + 1,
                project=query.project,
                among=await access.slugs(session, READ),
            )
            shown = found[:limit]
            used = await repository.used(session, [row.key_id for row in shown])
        data = [_out(row, used.get(row.key_id)) for row in shown]
        return Page(data=data, next=data[-1].key_id if len(found) > limit else None)

    async def get(self, key_id: str) -> KeyOut:
        """One key. Raises NotFound."""
        async with self._db.read() as session:
            return await _shown(session, await _key(session, key_id, READ))

    async def update(self, key_id: str, patch: KeyPatch, if_match: str | None = None) -> KeyOut:
        """Change a key; the key itself stays.

        if_match: the header of a write that goes only where the caller has seen (`kit.etag`).
        Raises NotFound, InvalidRequest, PreconditionFailed, Forbidden, and Conflict for one that is
        revoked.
        """
        new = patch.sent()
        self._check_end(new.get("expires_at"))
        async with self._db.write() as session:
            row = await _open_key(session, key_id, if_match)
            moves = new.get("project", row.project) != row.project
            if moves:
                await access.project(session, new["project"], CHANGE)
            groups = new.get("groups", row.groups)
            if moves or groups != row.groups:
                _check_groups(groups)
            before = _document(row)
            for name, value in new.items():
                setattr(row, name, value)
            if _document(row) != before:
                await _record_change(session, row, before)
            shown = await _shown(session, row)
        self._changed()
        return shown

    async def rotate(
        self, key_id: str, given: RotationIn, if_match: str | None = None
    ) -> NewKeyOut:
        """Put a fresh secret in place of the key's, which stays good for a while.

        The one before that ends now. Raises what `update` raises.
        """
        key, now = new_key(), self._now()
        async with self._db.write() as session:
            row = await _open_key(session, key_id, if_match)
            row.previous_mac = row.mac
            row.previous_until = now + timedelta(seconds=given.grace_seconds)
            row.mac = self._vault.mac(key)
            row.pepper_id = self._vault.pepper_id
            row.last4 = key[-_SHOWN:]
            await _record(session, row, "key.rotate", {"grace_seconds": given.grace_seconds})
            shown = await _shown(session, row)
        self._changed()
        return NewKeyOut(**shown.model_dump(), key=key)

    async def revoke(self, key_id: str) -> KeyOut:
        """Revoke a key for good; the time of the first call stays. Raises NotFound, Forbidden."""
        async with self._db.write() as session:
            row = await _key(session, key_id, CHANGE, lock=True)
            if row.revoked_at is None:
                row.revoked_at = self._now()
                await _record(session, row, "key.revoke", {})
            shown = await _shown(session, row)
        self._changed()
        return shown

    async def revoke_all(self, given: LeakIn) -> RevokedOut:
        """Revoke all keys of a project for good. Raises NotFound, Forbidden, InvalidRequest."""
        if given.confirm != given.project:
            raise InvalidRequest(
                "Revoking all keys of a project cannot be undone: 'confirm' must be its name.",
                param="confirm",
                code="confirmation_needed",
            )
        async with self._db.write() as session:
            await access.project(session, given.project, CHANGE)
            count = await repository.revoke_all(session, given.project, self._now())
            await audit.record(
                session,
                action="key.revoke_all",
                object=f"project:{given.project}",
                organization=await repository.organization(session, given.project),
                detail={"revoked": count},
            )
        self._changed()
        return RevokedOut(project=given.project, revoked=count)

    def _check_end(self, at: datetime | None) -> None:
        if at is not None and at <= self._now():
            raise InvalidRequest(
                "Invalid value for 'expires_at': it has passed.",
                param="expires_at",
                code="invalid_value",
            )


def _check_groups(groups: list[str]) -> None:
    """Access groups open what the operator keeps back: nobody else gives them."""
    if groups and not actor.get().is_operator:
        raise Forbidden("'groups' are for operators of this router to give.", param="groups")


async def _key(session: AsyncSession, key_id: str, action: str, *, lock: bool = False) -> KeyRow:
    """A key of a project in which who asks may do the action. Raises NotFound, Forbidden."""
    row = await repository.key(session, key_id, lock=lock)
    if not actor.get().is_operator:
        try:
            await access.project(session, row.project, action)
        except NotFound:
            raise repository.unknown(key_id) from None
    return row


async def _open_key(session: AsyncSession, key_id: str, if_match: str | None) -> KeyRow:
    """A key that may be changed now, locked."""
    row = await _key(session, key_id, CHANGE, lock=True)
    etag.require(if_match, _document(row))
    if row.revoked_at is not None:
        raise Conflict(
            f"The key '{key_id}' is revoked, for good.",
            param="key_id",
            code="key_revoked",
            hint="POST /control/v1/keys makes another one.",
        )
    return row


async def _record_change(session: AsyncSession, row: KeyRow, before: dict[str, Any]) -> None:
    """Also for the organisation that a key has left."""
    detail = _changes(before, _document(row))
    await _record(session, row, "key.change", detail)
    left = await repository.organization(session, before["project"])
    if left is not None and left != await repository.organization(session, row.project):
        await audit.record(
            session,
            action="key.leave",
            object=f"key:{row.key_id}",
            organization=left,
            detail={"project": before["project"]},
        )


async def _record(session: AsyncSession, row: KeyRow, action: str, detail: dict[str, Any]) -> None:
    await audit.record(
        session,
        action=action,
        object=f"key:{row.key_id}",
        organization=await repository.organization(session, row.project),
        detail=detail,
    )


async def _shown(session: AsyncSession, row: KeyRow) -> KeyOut:
    used = await repository.used(session, [row.key_id])
    return _out(row, used.get(row.key_id))


def _out(row: KeyRow, used: float | None) -> KeyOut:
    shown = {name: getattr(row, name) for name in KeyOut.model_fields if name not in _APART}
    last = None if used is None else datetime.fromtimestamp(used, UTC)
    return KeyOut.model_validate({**shown, "last_used_at": last, "etag": etag.etag(_document(row))})


def _document(row: KeyRow) -> dict[str, Any]:
    """What can be changed of a key."""
    fields: dict[str, Any] = {name: getattr(row, name) for name in _PLAIN}
    ends = {name: _text(getattr(row, name)) for name in _ENDS}
    return {**fields, **ends, "last4": row.last4}


def _changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The fields that differ, as they were and are."""
    names = [name for name in after if before[name] != after[name]]
    return {
        "before": {name: before[name] for name in names},
        "after": {name: after[name] for name in names},
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
