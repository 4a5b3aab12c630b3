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
    plain: dict[tuple[float, str, str | None], int] = {}
    for event in events:
        if not event.attempts or event.cached or event.provider is None:
            continue
        buckets = (event.at + event.total_ms / 1000) // BUCKET_S
        if not event.tried and event.outcome == "ok":
            answer = (buckets, event.provider, event.endpoint)
            plain[answer] = plain.get(answer, 0) + 1
            continue
        bucket = _bucket(buckets)
        saved: set[tuple[str, str]] = set()
        for provider, endpoint, code in _attempts(event):
            counts = found.setdefault((bucket, provider, endpoint, code), [0, 0])
            counts[0] += 1
            if code and event.outcome == "ok" and (provider, endpoint) not in saved:
                saved.add((provider, endpoint))
                counts[1] += 1
    for (buckets, name, at), answers in plain.items():
        found.setdefault((_bucket(buckets), name, at or "", ANSWERED), [0, 0])[0] += answers
    return found


def _bucket(buckets: float) -> int:
    """The number of the one that begins so many of them after 1970."""
    return max(0, min(int(buckets), _LAST_BUCKET))


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
