"""What was used before a process began."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.limits.spent import spent
from xrouter.domain.limits import Limit, Tenant
from xrouter.domain.snapshot import EMPTY

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
DAY = 86400


def event(number: int, at: float, **more: Any) -> UsageRow:
    given: dict[str, Any] = {
        "event_id": f"e{number}",
        "request_id": "r",
        "at": at,
        "operation": "chat",
        "key_id": "one",
        "project": "demo",
        "model_served": "acme/one",
        "version": "v1",
        "attempts": 1,
        "streamed": False,
        "status": 200,
        "outcome": "ok",
        "tokens_in": 10,
        "tokens_out": 5,
        "tokens_cached": 0,
        "tokens_reasoning": 0,
        "tokens_estimated": False,
        "queue_ms": 0.0,
        "total_ms": 0.0,
    }
    return UsageRow(**given | more)


def charge(number: int, at: float, **more: Any) -> ChargeRow:
    given: dict[str, Any] = {
        "event_id": f"e{number}",
        "at": at,
        "month": "2026-11",
        "organization": "acme",
        "project": "demo",
        "key_id": "one",
        "end_user": "ann",
        "provider": "acme",
        "model": "acme/one",
        "version": "v1",
        "cost": 7,
        "margin": 0,
        "vat": 0,
        "total": 7,
        "is_estimated": False,
    }
    return ChargeRow(**given | more)


async def test_sums_of_each_window(db: Database) -> None:
    async with db.write() as session:
        for number, at in enumerate((NOW - 60, NOW - DAY, NOW - 40 * DAY)):
            session.add(event(number, at))
            session.add(charge(number, at))
        session.add(event(9, NOW - 60, key_id="two", project="other", model_served="acme/two"))
        session.add(charge(9, NOW - 60, key_id="two", project="other", end_user=None))
    limits = (
        Limit(subject="key:*", meter="requests", window="day", amount=9),
        Limit(subject="key:*", meter="requests", window="minute", amount=9),
        Limit(subject="key:*", meter="running", window="now", amount=9),
        Limit(subject="key:*", meter="streams", window="now", amount=9),
        Limit(subject="project:demo", meter="tokens", window="month", amount=9),
        Limit(subject="organization:acme", meter="money", window="total", amount=9),
        Limit(subject="user:*", meter="money", window="month", amount=9),
        Limit(subject="model:*", meter="tokens", window="total", amount=9),
        Limit(subject="version:acme/one:v1", meter="requests", window="total", amount=9),
        Limit(subject="key:one", meter="tokens", window="total", amount=9, model="acme/two"),
    )
    by_subject: dict[str, tuple[Limit, ...]] = {}
    for limit in limits:
        by_subject[limit.subject] = (*by_subject.get(limit.subject, ()), limit)
    tenants = {"demo": Tenant(project="demo", organization="acme")}
    snapshot = structs.replace(EMPTY, limits=by_subject, tenants=tenants)

    found = {each.counter: each.amount for each in await spent(db, snapshot, NOW)}
    assert found == {
        "key:one|*|requests|day": 1,
        "key:two|*|requests|day": 1,
        "project:demo|*|tokens|month": 30,
        "organization:acme|*|money|total": 21,
        "user:demo/ann|*|money|month": 14,
        "model:acme/one|*|tokens|total": 45,
        "model:acme/two|*|tokens|total": 15,
        "version:acme/one:v1|*|requests|total": 3,
    }


async def test_what_was_given_back_is_not_among_it(db: Database) -> None:
    """As the meters count: refused requests are none, kept answers are requests of no tokens."""
    async with db.write() as session:
        session.add(event(1, NOW))
        session.add(event(2, NOW, attempts=0, status=429, outcome="error"))
        session.add(event(3, NOW, attempts=0, cached=True))
    limits = (
        Limit(subject="key:one", meter="requests", window="day", amount=9),
        Limit(subject="key:one", meter="tokens", window="day", amount=9),
    )
    found = await spent(db, structs.replace(EMPTY, limits={"key:one": limits}), NOW)
    assert {each.counter: each.amount for each in found} == {
        "key:one|*|requests|day": 2,
        "key:one|*|tokens|day": 15,
    }
