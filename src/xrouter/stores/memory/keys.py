"""Finding the owner of an API key in the snapshot: one HMAC and one look-up.

What is too long for a key and may be an access token goes to the book of tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from typing_extensions import override

from xrouter.domain.errors import Forbidden, NotReady, Unauthenticated
from xrouter.domain.identity import KeyRecord, Principal, well_formed
from xrouter.domain.ports import KeyBook
from xrouter.domain.snapshot import Snapshot
from xrouter.stores.memory.tokens import MemoryTokenBook

MAX_KEY_LENGTH = 256
TOKEN_BEGINS = "ey"  # noqa: S105 - no secret
"""Of an access token, which is longer than any key: `{"` in base64."""
_SHOWN = 4


class MemoryKeyBook(KeyBook):
    """mac: the keyed hash under which keys are stored. tokens: None for a book of its own."""

    def __init__(
        self,
        mac: Callable[[str], bytes],
        now: Callable[[], float] = time.time,
        tokens: MemoryTokenBook | None = None,
    ) -> None:
        self._mac = mac
        self._now = now
        self._tokens = tokens or MemoryTokenBook(now)

    @override
    def find(self, key: str, snapshot: Snapshot) -> Principal:
        principal = self._found(key, snapshot)
        tenant = snapshot.tenants.get(principal.project)
        if tenant is not None and not tenant.is_active:
            raise Forbidden(
                "The project of this API key is switched off.",
                code="project_inactive",
                hint="Ask the operator of this router.",
            )
        return principal if tenant is None else tenant.entitle(principal)

    def _found(self, key: str, snapshot: Snapshot) -> Principal:
        if len(key) > MAX_KEY_LENGTH:
            if not key.startswith(TOKEN_BEGINS):
                raise _incorrect(key)
            return self._tokens.find(key, snapshot)
        record = snapshot.key(self._mac(key))
        if record is None:
            raise self._unknown(key, snapshot)
        if record.expires_at is not None and record.expires_at <= self._now():
            raise _over(record)
        return record.principal

    def _unknown(self, key: str, snapshot: Snapshot) -> Unauthenticated | NotReady:
        if not well_formed(key):
            return _incorrect(key)
        if snapshot.revision < 0 or snapshot.stale:
            return NotReady(
                "The API key cannot be checked at the moment. Try again.",
                retry_after=5.0,
                hint="The database of keys is not reachable.",
            )
        return _incorrect(key)


def _over(record: KeyRecord) -> Unauthenticated:
    if record.is_replaced:
        return Unauthenticated(
            "This API key was replaced by a new one.",
            code="api_key_rotated",
            hint="Whoever rotated it has the new one.",
        )
    return Unauthenticated("This API key has expired.", hint="Ask your operator for a new key.")


def _incorrect(key: str) -> Unauthenticated:
    shown = f"{key[:_SHOWN]}***{key[-_SHOWN:]}" if len(key) > 4 * _SHOWN else "***"
    if not shown.isprintable() or not shown.isascii():
        shown = "***"
    return Unauthenticated(
        f"Incorrect API key provided: {shown}.",
        hint="Keys of this router begin with 'sk-xr-'; it may be revoked or mistyped.",
    )
