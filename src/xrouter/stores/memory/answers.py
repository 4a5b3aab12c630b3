"""Kept answers in memory: bounded by their bytes, the least used go first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from typing_extensions import override

from xrouter.domain.ports import AnswerStore

MAX_BYTES = 64 << 20
_LARGEST = MAX_BYTES // 16
_OVERHEAD = 200

Entry = tuple[float, bytes]


class MemoryAnswers(AnswerStore):
    """Of one process."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max = max_bytes
        self._clock = clock
        self._kept: OrderedDict[bytes, Entry] = OrderedDict()
        self.size = 0

    @override
    async def get(self, key: bytes) -> bytes | None:
        found = self._kept.get(key)
        if found is None:
            return None
        ends_at, value = found
        if ends_at <= self._clock():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return value

    @override
    async def put(self, key: bytes, value: bytes, ttl: float) -> None:
        self._drop(key)
        if len(value) > min(_LARGEST, self._max):
            return
        self._kept[key] = (self._clock() + ttl, value)
        self.size += len(value) + _OVERHEAD
        while self.size > self._max:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self.size -= len(gone[1]) + _OVERHEAD
