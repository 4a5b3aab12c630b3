"""Counts attempts as events are drained: who asks how endpoints fare reads a small table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import override

from xrouter.control.drain import Taker
from xrouter.control.health.attempts import ANSWERED, BUCKET_S, FAILURES
from xrouter.domain.usage import UsageEvent

_LAST_BUCKET = 2**31 - 1
_FAILURES = frozenset(FAILURES)
_ADD = text(
    "INSERT INTO attempt_counts (bucket, provider, endpoint, code, attempts, saved) "
    "VALUES (:bucket, :provider, :endpoint, :code, :attempts, :saved) "
    "ON CONFLICT (bucket, provider, endpoint, code) DO UPDATE SET "
    "attempts = attempt_counts.attempts + excluded.attempts, "
    "saved = attempt_counts.saved + excluded.saved"
)
_COLUMNS = ("bucket", "provider", "endpoint", "code")

Place = tuple[int, str, str, str]
"""Bucket, provider, endpoint, code."""


class AttemptCounter(Taker):
    """Adds to `attempt_counts`, in the order of its key."""

    @override
    async def take(self, session: AsyncSession, events: Sequence[UsageEvent]) -> None:
        found = counted(events)
        if not found:
            return
        rows = [
            {**dict(zip(_COLUMNS, place, strict=True)), "attempts": attempts, "saved": saved}
            for place, (attempts, saved) in sorted(found.items())
        ]
        await session.execute(_ADD, rows)


def counted(events: Iterable[UsageEvent]) -> dict[Place, list[int]]:
    """Attempts, and requests that were answered elsewhere, by place.

    Attempts that only the caller could have saved, and those that were broken off, are left out.
    """
    found: dict[Place, list[int]] = {}
    for event in events:
        if not event.attempts or event.cached or event.provider is None:
            continue
        bucket = _bucket(event)
        if not event.tried and event.outcome == "ok":
            place = (bucket, event.provider, event.endpoint or "", ANSWERED)
            if (counts := found.get(place)) is None:
                found[place] = [1, 0]
            else:
                counts[0] += 1
            continue
        saved: set[tuple[str, str]] = set()
        for provider, endpoint, code in _attempts(event):
            counts = found.setdefault((bucket, provider, endpoint, code), [0, 0])
            counts[0] += 1
            if code and event.outcome == "ok" and (provider, endpoint) not in saved:
                saved.add((provider, endpoint))
                counts[1] += 1
    return found


def _bucket(event: UsageEvent) -> int:
    """Of the moment at which the request ended."""
    return max(0, min(int((event.at + event.total_ms / 1000) // BUCKET_S), _LAST_BUCKET))


def _attempts(event: UsageEvent) -> Iterator[tuple[str, str, str]]:
    """(provider, endpoint, code) of those that count."""
    last = ANSWERED if event.outcome == "ok" else None
    if event.outcome == "error" and event.error_code in _FAILURES:
        last = event.error_code
    if not event.tried and last is not None:
        yield event.provider or "", event.endpoint or "", last
    for each in event.tried:
        code = last if each.code is None else each.code
        if code is not None and (each.code is None or code in _FAILURES):
            yield each.provider, each.endpoint, code
