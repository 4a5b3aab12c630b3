"""The current snapshot, in memory."""

from __future__ import annotations

import msgspec
from typing_extensions import override

from xrouter.domain.ports import SnapshotSource
from xrouter.domain.snapshot import EMPTY, Snapshot


class MemorySnapshots(SnapshotSource):
    """One reference, swapped whole: a request sees the old or the new, never half of each."""

    def __init__(self) -> None:
        self._current = EMPTY

    @property
    @override
    def current(self) -> Snapshot:
        return self._current

    def replace(self, snapshot: Snapshot) -> None:
        """Swap in a newer one."""
        self._current = snapshot

    def mark_stale(self, *, stale: bool) -> None:
        """Say whether the database can be asked: a key unknown to a stale snapshot may exist."""
        if self._current is not EMPTY and self._current.stale is not stale:
            self._current = msgspec.structs.replace(self._current, stale=stale)
