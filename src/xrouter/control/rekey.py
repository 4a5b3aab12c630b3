"""Sealing all that the database holds with the newest master key, in one transaction.

The history holds credentials too, as the endpoints had them: what was equal stays equal, so that a
change can still be undone.
"""

from __future__ import annotations

import base64
from typing import Any

from msgspec import Struct, field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.catalog import objects
from xrouter.control.catalog import rows as words
from xrouter.control.credentials import own
from xrouter.control.db.engine import Database
from xrouter.control.db.move import require_nobody
from xrouter.control.db.tables.catalog import EndpointRow
from xrouter.control.db.tables.identity import CredentialRow
from xrouter.control.db.tables.oauth import SigningKeyRow
from xrouter.control.db.tables.releases import ChangeRow
from xrouter.control.oauth import signing
from xrouter.control.registry.documents import lock
from xrouter.stores.vault import Vault, VaultError

_SEALED = "sealed"
_PAGE = 500


class Resealed(Struct):
    """Values that were sealed anew, by table; and those that no key of the ring opens."""

    done: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)


async def reseal(db: Database, vault: Vault) -> Resealed:
    """What the newest key has sealed already stays as it is. Raises DatabaseError, Conflict.

    No server may use the database meanwhile: DatabaseError when one does.
    """
    async with db.write() as session:
        await require_nobody(session)
        await lock(session)
        work = _Work(session, vault)
        await work.endpoints()
        await work.credentials()
        await work.signing_keys()
        await work.history()
    return work.found


async def require_stopped(db: Database) -> None:
    """Raises DatabaseError when a server uses the database."""
    async with db.read() as session:
        await require_nobody(session)


class _Work:
    """One pass through the tables. Equal blobs become equal blobs."""

    def __init__(self, session: AsyncSession, vault: Vault) -> None:
        self.found = Resealed()
        self._session = session
        self._vault = vault
        self._known: dict[bytes, bytes] = {}

    async def endpoints(self) -> None:
        """The router's own credentials."""
        for row in await self._session.scalars(select(EndpointRow).order_by(EndpointRow.id)):
            if row.credential is not None:
                row.credential = self._renewed(row, row.credential, words.context(row.id))

    async def credentials(self) -> None:
        """Those of projects."""
        query = select(CredentialRow).order_by(CredentialRow.id).with_for_update()
        for row in await self._session.scalars(query):
            context = own.context(row.project, row.provider)
            row.credential = self._renewed(row, row.credential, context)

    async def signing_keys(self) -> None:
        """With which access tokens are signed."""
        query = select(SigningKeyRow).order_by(SigningKeyRow.kid).with_for_update()
        for row in await self._session.scalars(query):
            row.private = self._renewed(row, row.private, signing.context(row.kid))

    async def history(self) -> None:
        """Credentials as endpoints had them."""
        last = 0
        while rows := await self._changes_behind(last):
            for row in rows:
                last = row.id
                row.before = self._document(row, row.before)
                row.after = self._document(row, row.after)
            await self._session.flush()
            for row in rows:
                self._session.expunge(row)

    async def _changes_behind(self, last: int) -> list[ChangeRow]:
        query = select(ChangeRow).where(ChangeRow.id > last, ChangeRow.kind == "provider")
        return list(await self._session.scalars(query.order_by(ChangeRow.id).limit(_PAGE)))

    def _document(self, row: ChangeRow, given: dict[str, Any] | None) -> dict[str, Any] | None:
        if given is None or "endpoints" not in given:
            return given
        return given | {"endpoints": [self._endpoint(row, each) for each in given["endpoints"]]}

    def _endpoint(self, row: ChangeRow, given: dict[str, Any]) -> dict[str, Any]:
        text = given.get(_SEALED)
        if text is None:
            return given
        number, blob = objects.unpacked(text)
        fresh = self._renewed(row, blob, words.context(number))
        return given | {_SEALED: f"{number}:{base64.b64encode(fresh).decode()}"}

    def _renewed(self, row: Any, blob: bytes, context: str) -> bytes:
        table: str = row.__tablename__
        fresh = self._known.get(blob)
        if fresh is None:
            try:
                fresh = self._vault.renewed(blob, context)
            except VaultError:
                self.found.left[table] = self.found.left.get(table, 0) + 1
                return blob
            self._known[blob] = fresh
        if fresh != blob:
            self.found.done[table] = self.found.done.get(table, 0) + 1
        return fresh
