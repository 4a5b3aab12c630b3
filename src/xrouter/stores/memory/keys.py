"""Finding the owner of an API key in the snapshot: one HMAC and one look-up."""

from __future__ import annotations

import time
from collections.abc import Callable

from typing_extensions import override

from xrouter.domain.errors import NotReady, Unauthenticated
from xrouter.domain.identity import Principal, well_formed
from xrouter.domain.ports import KeyBook
from xrouter.domain.snapshot import Snapshot

MAX_KEY_LENGTH = 256
_SHOWN = 4


class MemoryKeyBook(KeyBook):
    """mac: the keyed hash under which keys are stored."""

    def __init__(self, mac: Callable[[str], bytes], now: Callable[[], float] = time.time) -> None:
        self._mac = mac
        self._now = now

    @override
    def find(self, key: str, snapshot: Snapshot) -> Principal:
        if len(key) > MAX_KEY_LENGTH:
            raise _incorrect(key)
        record = snapshot.keys.get(self._mac(key))
        if record is None:
            raise self._unknown(key, snapshot)
        if record.expires_at is not None and record.expires_at <= self._now():
            raise Unauthenticated(
                "This API key has expired.", hint="Ask your operator for a new key."
            )
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


def _incorrect(key: str) -> Unauthenticated:
    shown = f"{key[:_SHOWN]}***{key[-_SHOWN:]}" if len(key) > 4 * _SHOWN else "***"
    if not shown.isprintable() or not shown.isascii():
        shown = "***"
    return Unauthenticated(
        f"Incorrect API key provided: {shown}.",
        hint="Keys of this router begin with 'sk-xr-'; it may be revoked or mistyped.",
    )
