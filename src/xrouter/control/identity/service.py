"""API keys: made, listed, revoked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.base import utc_now
from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.identity import repository
from xrouter.control.identity.schemas import KeyIn, KeyOut, NewKeyOut
from xrouter.control.kit.schemas import Page
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.identity import new_key
from xrouter.domain.usage import new_id
from xrouter.stores.vault import Vault

_SHOWN = 4


class KeyService:
    """Every method is one transaction. changed: called after each that wrote something."""

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
        """Make a key; the answer alone holds it. Raises InvalidRequest."""
        if given.expires_at is not None and given.expires_at <= self._now():
            raise InvalidRequest(
                "Invalid value for 'expires_at': it has passed.",
                param="expires_at",
                code="invalid_value",
            )
        key = new_key()
        row = KeyRow(
            key_id=new_id("key_"),
            name=given.name,
            project=given.project,
            pepper_id=self._vault.pepper_id,
            mac=self._vault.mac(key),
            last4=key[-_SHOWN:],
            rpm=given.rpm,
            groups=given.groups,
            created_at=self._now(),
            expires_at=given.expires_at,
        )
        async with self._db.write() as session:
            session.add(row)
        self._changed()
        return NewKeyOut(**KeyOut.model_validate(row).model_dump(), key=key)

    async def page(self, *, after: str | None, limit: int) -> Page[KeyOut]:
        """Keys, the newest first, behind the id `after`."""
        async with self._db.read() as session:
            found = await repository.keys(session, after=after, limit=limit + 1)
        data = [KeyOut.model_validate(row) for row in found[:limit]]
        return Page(data=data, next=data[-1].key_id if len(found) > limit else None)

    async def revoke(self, key_id: str) -> KeyOut:
        """Revoke a key for good; the time of the first call stays. Raises NotFound."""
        async with self._db.write() as session:
            row = await repository.key(session, key_id)
            row.revoked_at = row.revoked_at or self._now()
        self._changed()
        return KeyOut.model_validate(row)
