"""Kept answers for all processes: sealed, so that whoever reads Redis reads none of them."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial

from msgspec import Struct
from typing_extensions import override

from xrouter.domain.ports import AnswerStore
from xrouter.stores.redis.link import Client, Link, RedisAway
from xrouter.stores.vault import Vault, VaultError
from xrouter.telemetry.logs import log

PREFIX = b"xr:answer:"
LARGEST = 4 << 20
UNDER_WAY = 16 << 20
"""Bytes of answers on their way to Redis at a time; further ones are not kept."""


class _Entry(Struct, frozen=True):
    """What shall be kept; nothing where the value is None."""

    value: bytes | None
    ttl_ms: int = 0

    @property
    def size(self) -> int:
        return len(self.value or b"")


_NONE = _Entry(None)


class RedisAnswers(AnswerStore):
    """Misses while Redis is away. Writing costs nobody any time: what is being written is known."""

    def __init__(self, link: Link, vault: Vault) -> None:
        self._link = link
        self._vault = vault
        self._writing: dict[bytes, _Entry] = {}
        self._under_way = 0

    @override
    async def get(self, key: bytes) -> bytes | None:
        entry = self._writing.get(key)
        if entry is not None:
            return entry.value
        try:
            sealed = await self._link.call(lambda redis: redis.get(PREFIX + key))
        except RedisAway:
            return None
        try:
            return None if sealed is None else self._vault.open(sealed, _context(key))
        except VaultError as error:  # of another installation, or not ours at all
            log.warning("kept_answer_unreadable", error=error.message)
            return None

    @override
    async def put(self, key: bytes, value: bytes, ttl: float) -> None:
        before = self._writing.get(key)
        entry = _Entry(value, int(ttl * 1000))
        if len(value) > LARGEST or entry.ttl_ms < 1 or self._under_way + len(value) > UNDER_WAY:
            entry = _NONE
        self._under_way += entry.size - (0 if before is None else before.size)
        self._writing[key] = entry
        if before is None:
            self._link.later(self._write(key))

    async def _write(self, key: bytes) -> None:
        """Until the newest is written: two writers of a key could overtake each other."""
        entry = None
        try:
            while entry is not self._writing[key]:
                entry = self._writing[key]
                await self._link.call(partial(self._send, key, entry))
        finally:
            self._under_way -= self._writing.pop(key).size

    def _send(self, key: bytes, entry: _Entry, redis: Client) -> Awaitable[object]:
        done: Awaitable[object]
        if entry.value is None:
            done = redis.delete(PREFIX + key)
        else:
            sealed = self._vault.seal(entry.value, _context(key))
            done = redis.set(PREFIX + key, sealed, px=entry.ttl_ms)
        return done


def _context(key: bytes) -> str:
    return f"answer:{key.hex()}"
