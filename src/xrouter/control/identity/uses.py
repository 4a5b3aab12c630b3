"""When keys were used last: told by the usage events, as they are drained."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import override

from xrouter.control.drain import Taker
from xrouter.domain.usage import UsageEvent

EVERY_S = 60.0
"""A key in use is written down so often."""

_KEYS = "key_"
_NOTE = text(
    "INSERT INTO key_uses (key_id, at) VALUES (:key_id, :at) "
    "ON CONFLICT (key_id) DO UPDATE SET at = excluded.at "
    "WHERE excluded.at >= key_uses.at + :every_s"
)


class UseKeeper(Taker):
    """Writes `key_uses`, in the order of its key."""

    @override
    async def take(self, session: AsyncSession, events: Sequence[UsageEvent]) -> None:
        last: dict[str, float] = {}
        for event in events:
            key_id = event.key_id
            if key_id is not None and key_id.startswith(_KEYS):
                last[key_id] = max(event.at, last.get(key_id, 0.0))
        if last:
            rows = [
                {"key_id": key_id, "at": at, "every_s": EVERY_S}
                for key_id, at in sorted(last.items())
            ]
            await session.execute(_NOTE, rows)
