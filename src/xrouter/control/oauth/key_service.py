"""Signing keys as the control API shows them."""

from __future__ import annotations

from collections.abc import Callable

from xrouter.control.db.engine import Database
from xrouter.control.kit.schemas import Deleted
from xrouter.control.oauth import signing
from xrouter.control.oauth.schemas import SigningKeyOut, SigningKeysOut
from xrouter.control.oauth.signing import SigningKeys
from xrouter.domain.errors import NotFound


class SigningKeyService:
    """changed: called after each that the data plane must know."""

    def __init__(self, db: Database, keys: SigningKeys, changed: Callable[[], None]) -> None:
        self._db = db
        self._keys = keys
        self._changed = changed

    async def every(self) -> SigningKeysOut:
        """All of them."""
        async with self._db.read() as session:
            rows = await signing.every(session)
        return SigningKeysOut(data=[SigningKeyOut.model_validate(row) for row in rows])

    async def rotate(self) -> SigningKeyOut:
        """Make the next one."""
        row = await self._keys.rotate()
        self._changed()
        return SigningKeyOut.model_validate(row)

    async def forget(self, kid: str) -> Deleted:
        """Take one away; where none is left to sign, another one is made. Raises NotFound."""
        if not await self._keys.forget(kid):
            raise NotFound(
                f"There is no signing key '{kid}'.", param="kid", code="signing_key_not_found"
            )
        await self._keys.turn()
        self._changed()
        return Deleted(id=kid)
