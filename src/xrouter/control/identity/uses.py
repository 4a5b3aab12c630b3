"""When keys were used last: told by the usage events, as they are drained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import override

from xrouter.control.db.tables.identity import KeyUseRow
from xrouter.control.drain import Taker
from xrouter.control.kit.bulk import Finder
from xrouter.domain.usage import UsageEvent

EVERY_S = 60.0
"""A key in use is written down so often."""

MOST_KEYS = 100_000
"""Whose last use is remembered."""

_KEYS = "key_"
_USES = Finder(KeyUseRow, "key_id", ["key_id", "at"])
_NOTE = text(
    "INSERT INTO key_uses (key_id, at) VALUES (:key_id, :at) "
    "ON CONFLICT (key_id) DO UPDATE SET at = excluded.at "
    "WHERE excluded.at >= key_uses.at + :every_s"
)


class UseKeeper(Taker):
    """Writes `key_uses`, in the order of its key.

    Remembers when keys were used last, as the database had it before it was written to.
    """

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    @override
    async def take(self, session: AsyncSession, events: Sequence[UsageEvent]) -> None:
        last: dict[str, float] = {}
        for event in events:
            key_id, at = event.key_id, event.at
            if key_id is not None and at > last.get(key_id, 0.0):
                last[key_id] = at
        due = self._due(last)
        if not due:
            return
        if len(self._known) + len(due) > MOST_KEYS:
            self._known.clear()
        self._known.update([tuple(row) for row in await _USES.find(session, due)])
        due = self._due(due)
        if due:
            rows = [
                {"key_id": key_id, "at": at, "every_s": EVERY_S}
                for key_id, at in sorted(due.items())
            ]
            await session.execute(_NOTE, rows)

    def _due(self, last: Mapping[str, float]) -> dict[str, float]:
        """Those whose use is to be written down."""
        known = self._known
        return {
            key_id: at
            for key_id, at in last.items()
            if key_id.startswith(_KEYS) and (key_id not in known or at >= known[key_id] + EVERY_S)
        }
