from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, true
from tests.control.health.parts import NOON, Watch, asked, failed, rows_of, store

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.health import AttemptCountRow, IncidentRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.health import prober
from xrouter.control.health.attempts import ANSWERED, attempts, counts, windows
from xrouter.control.health.counting import AttemptCounter, counted
from xrouter.control.health.machine import Window
from xrouter.domain.usage import UsageEvent

TWICE = {
    "attempts": 3,
    "endpoint": "standby",
    "tried": [
        {"provider": "acme", "endpoint": "primary", "model": "m", "version": "v", "code": code}
        for code in ("upstream_timeout", "upstream_error", "context_length_exceeded")
    ]
    + [{"provider": "acme", "endpoint": "standby", "model": "m", "version": "v"}],
}
BROKE = {"outcome": "error", "status": 502}
EVENTS: list[dict[str, Any]] = [
    asked(NOON),
    asked(NOON),
    asked(NOON, endpoint="standby"),
    asked(NOON, provider=None),
    asked(NOON, attempts=0, cached=True),
    asked(NOON, cached=True),
    asked(NOON, outcome="cancelled", status=499, error_code="client_disconnected"),
    asked(NOON, **BROKE, error_code="upstream_malformed"),
    asked(NOON, **BROKE, error_code="invalid_value"),
    failed(NOON),
    failed(NOON, saved_by="standby"),
    failed(NOON, "context_length_exceeded"),
    asked(NOON, **TWICE),
    asked(NOON, **TWICE | BROKE, error_code="upstream_malformed"),
    asked(NOON, **TWICE | {"outcome": "cancelled"}, error_code="client_disconnected"),
]


def told(*events: dict[str, Any]) -> list[UsageEvent]:
    return [msgspec.convert(event, UsageEvent) for event in events]


async def test_counts_are_what_the_events_themselves_tell(db: Database) -> None:
    async with db.write() as session:
        await session.execute(insert(UsageRow), EVENTS)
        each = attempts(db.dialect, true())
        found = (await session.execute(select(each))).all()
    wanted: Counter[tuple[str, str, str]] = Counter()
    saved: dict[tuple[str, str], set[str]] = {}
    for row in found:
        wanted[row.provider, row.endpoint, ANSWERED if row.answered else row.code] += 1
        if row.outcome == "ok" and not row.answered:
            saved.setdefault((row.provider, row.endpoint), set()).add(row.event_id)
    ours = counted(told(*EVENTS))
    assert {place[1:]: numbers[0] for place, numbers in ours.items()} == wanted
    assert sum(wanted.values()) > 10
    ours_saved: Counter[tuple[str, str]] = Counter()
    for (_, provider, endpoint, _), numbers in ours.items():
        ours_saved[provider, endpoint] += numbers[1]
    assert +ours_saved == {place: len(ids) for place, ids in saved.items()}


async def test_windows_and_counts_read_what_was_counted(db: Database) -> None:
    await store(db, asked(NOON - 100), asked(NOON - 5), failed(NOON - 5))
    await store(db, asked(NOON - 5), failed(NOON - 5, saved_by="standby"), failed(NOON + 10))
    async with db.read() as session:
        assert await windows(session, NOON - 60) == {
            ("acme", "primary"): Window(5, 3, "upstream_timeout"),
            ("acme", "standby"): Window(1, 0, None),
        }
        found = await counts(session, "acme", "primary", NOON - 60, NOON + 10)
        assert (found.failed, found.saved) == (2, 1)
        found = await counts(session, "acme", "primary", NOON - 60, NOON + 11)
        assert (found.failed, found.saved) == (3, 1)
        found = await counts(session, "acme", "nowhere", NOON - 60, NOON + 11)
        assert (found.failed, found.saved) == (0, 0)


@pytest.mark.parametrize("at", [-5.0, 0.0, 1e300])
async def test_clocks_that_are_wrong_do_no_harm(db: Database, at: float) -> None:
    event = UsageEvent(
        **{**msgspec.structs.asdict(told(asked(NOON))[0]), "at": at, "event_id": "e"}
    )
    async with db.write() as session:
        await AttemptCounter().take(session, [event])
    assert len(await rows_of(db, AttemptCountRow)) == 1


async def test_several_processes_count_at_once(db: Database, db_url: str) -> None:
    """Each begins with another endpoint; on PostgreSQL they would wait for each other for ever."""
    events = told(*(asked(NOON, endpoint=f"e{number}") for number in range(50)))
    others = [db] if db.dialect == "sqlite" else [db, Database(db_url)]

    async def count(database: Database, mine: list[UsageEvent]) -> None:
        for _ in range(5):
            async with database.write() as session:
                await AttemptCounter().take(session, mine)

    async with asyncio.timeout(60):
        await asyncio.gather(count(others[0], events), count(others[-1], events[::-1]))
    assert {row.attempts for row in await rows_of(db, AttemptCountRow)} == {10}
    for other in others[1:]:
        await other.close()


async def test_old_counts_are_forgotten(
    watch: Watch, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober, "_BATCH", 3)
    day = prober.COUNTS_KEEP_S
    old = [failed(NOON - day - 100 - 10 * number) for number in range(7)]
    await store(db, *old, failed(NOON - day + 100))
    await watch.turns(1, 0.0)
    assert len(await rows_of(db, AttemptCountRow)) == 1


async def test_what_open_incidents_need_is_kept(watch: Watch, db: Database) -> None:
    day = prober.COUNTS_KEEP_S
    for seconds in (100, 1000):
        await store(db, failed(NOON - day - seconds))
    began = datetime.fromtimestamp(NOON - day - 500, UTC)
    async with db.write() as session:
        session.add(
            IncidentRow(
                provider="acme", endpoint="primary", state="down", started_at=began, cause="x"
            )
        )
    ledger = watch.prober._ledger
    async with db.read() as session:
        kept = await ledger.needs_from(session, NOON - day)
    assert int((NOON - day - 1000) // 10) < kept < int((NOON - day - 100) // 10)
