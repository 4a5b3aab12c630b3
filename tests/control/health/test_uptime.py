from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, text
from tests.control.conftest import Api
from tests.control.health.parts import NOON, Clock, asked, failed, store

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.health import CheckRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.health.attempts import FAILURES, attempts
from xrouter.control.health.uptime import MAX_HOURS, Sums, Uptime, _pieces

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0
NUMBERS = ("asked", "answered", "uptime", "minutes", "good_minutes", "sla")


async def uptime(health: Api, **query: Any) -> dict[str, tuple[float, ...]]:
    answer = await health.ask("GET", "/health/uptime", params=query)
    return {row["name"]: tuple(row[name] for name in NUMBERS) for row in answer["data"]}


async def probed(db: Database, endpoint_id: int, *results: tuple[float, bool], **more: Any) -> None:
    async with db.write() as session:
        for at, ok in results:
            session.add(
                CheckRow(
                    **{"endpoint_id": endpoint_id, "at": at, "kind": "list"} | more,
                    ok=ok,
                    took_ms=1.0,
                    error_code=None if ok else "upstream_timeout",
                )
            )


def test_the_codes_of_failures() -> None:
    assert "upstream_timeout" in FAILURES
    assert "insufficient_quota" in FAILURES
    assert not {"context_length_exceeded", "client_disconnected", "model_not_found"} & set(FAILURES)


async def test_by_provider_endpoint_model_and_version(
    health: Api, db: Database, clock: Clock
) -> None:
    at = clock.now
    await store(
        db,
        *(asked(at - 5 * MINUTE) for _ in range(19)),
        failed(at - 5 * MINUTE, saved_by="standby"),
        *(asked(at - 10 * MINUTE) for _ in range(18)),
        *(failed(at - 10 * MINUTE, "upstream_error") for _ in range(2)),
        asked(at - 10 * MINUTE, model_served="acme/two", version="v2", provider="other"),
        failed(at - 10 * MINUTE, "context_length_exceeded"),
    )
    assert await uptime(health, window="1h") == {
        "acme": (41, 38, 92.683, 2, 1, 50.0),
        "other": (1, 1, 100.0, 1, 1, 100.0),
    }
    assert await uptime(health, window="1h", by="endpoint") == {
        "acme/primary": (40, 37, 92.5, 2, 1, 50.0),
        "acme/standby": (1, 1, 100.0, 1, 1, 100.0),
        "other/primary": (1, 1, 100.0, 1, 1, 100.0),
    }
    assert await uptime(health, window="1h", by="model") == {
        "acme/one": (41, 38, 92.683, 2, 1, 50.0),
        "acme/two": (1, 1, 100.0, 1, 1, 100.0),
    }
    versions = await uptime(health, window="1h", by="version")
    assert list(versions) == ["acme/one:v1", "acme/two:v2"]
    for window in ("24h", "30d"):
        assert await uptime(health, window=window, by="version") == versions


async def test_exactly_95_of_100_are_enough(health: Api, db: Database, clock: Clock) -> None:
    await store(db, *(asked(clock.now - 5) for _ in range(19)), failed(clock.now - 5))
    assert (await uptime(health, window="1h"))["acme"] == (20, 19, 95.0, 1, 1, 100.0)


async def test_probes_stand_in_where_nobody_asks(
    health: Api, db: Database, clock: Clock, acme_rows: Any
) -> None:
    at, primary = clock.now - 20 * MINUTE, acme_rows[0].id
    await store(db, asked(at))
    await probed(db, primary, (at, False), (at + 1, False))
    await probed(db, primary, (at + 5 * MINUTE, True), (at + 6 * MINUTE, False))
    await probed(db, primary, (at + 7 * MINUTE, False), kind="token", model="acme/one")
    assert await uptime(health, window="1h") == {"acme": (4, 2, 50.0, 4, 2, 50.0)}
    assert await uptime(health, window="1h", by="endpoint") == {
        "acme/primary": (4, 2, 50.0, 4, 2, 50.0)
    }
    assert await uptime(health, window="1h", by="model") == {"acme/one": (2, 1, 50.0, 2, 1, 50.0)}
    assert await uptime(health, window="1h", by="version") == {
        "acme/one:v1": (1, 1, 100.0, 1, 1, 100.0)
    }


@pytest.mark.parametrize(
    "window,back,behind",
    [("1h", 59 * MINUTE, 60 * MINUTE + 1), ("24h", DAY, DAY + 1), ("30d", 30 * DAY, 30 * DAY + 1)],
)
async def test_windows_end(
    health: Api, db: Database, clock: Clock, window: str, back: float, behind: float
) -> None:
    await store(db, asked(clock.now), asked(clock.now - back), asked(clock.now - behind))
    answer = await health.ask("GET", "/health/uptime", params={"window": window})
    assert [row["asked"] for row in answer["data"]] == [2]
    assert (answer["window"], answer["by"]) == (window, "provider")
    assert answer["since"] <= "2026-01-02T12:00:00Z"


async def test_nothing_was_asked(health: Api) -> None:
    assert await uptime(health) == {}
    for wrong in ({"window": "2h"}, {"by": "mood"}, {"what": "1"}):
        error = await health.error("GET", "/health/uptime", params=wrong, status=400)
        assert error["param"] in wrong


async def test_hours_that_are_over_are_read_once(db: Database, clock: Clock) -> None:
    book = Uptime(db, clock)
    await store(db, *(asked(NOON - day * DAY) for day in range(30)))
    queries: list[tuple[float, float]] = []
    counting = book._between

    async def between(by: Any, since: float, until: float) -> Any:
        queries.append((since, until))
        return await counting(by, since, until)

    book._between = between  # type: ignore[method-assign]
    first = await book.read("30d", "provider")
    assert first[1]["acme"].asked == 30
    assert len(queries) == 31
    assert all(until - since <= DAY + 2 * HOUR for since, until in queries)
    queries.clear()
    assert await book.read("30d", "provider") == first
    assert (await book.read("24h", "provider"))[1]["acme"].asked == 2
    assert [until - since for since, until in queries] == [2 * HOUR + 1] * 2
    queries.clear()
    clock.go(HOUR)
    await store(db, asked(NOON + 60))
    later = await book.read("30d", "provider")
    assert later[1]["acme"].asked == 31
    assert len(queries) == 2


async def test_what_arrives_late_is_counted(db: Database, clock: Clock) -> None:
    book = Uptime(db, clock)
    await book.read("24h", "provider")
    await store(db, asked(NOON - HOUR - 1))
    assert (await book.read("24h", "provider"))[1]["acme"].asked == 1


def test_hours_in_pieces() -> None:
    assert list(_pieces([])) == []
    assert list(_pieces([5])) == [(5, 6)]
    assert list(_pieces([1, 2, 3, 7, 8])) == [(1, 4), (7, 9)]
    assert list(_pieces(list(range(50)))) == [(0, 24), (24, 48), (48, 50)]


def test_sums_add_up() -> None:
    assert Sums(1, 2, 3, 4) + Sums(1, 1, 1, 1) == Sums(2, 3, 4, 5)
    assert MAX_HOURS > 4 * 721


async def test_the_indexes_are_used(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    plans: list[str] = []

    def explain(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    statements: list[str] = []
    event.listen(db._reader.sync_engine, "before_cursor_execute", explain)
    clock = Clock(NOON)
    for window in ("1h", "30d"):
        await Uptime(db, clock).read(window, "endpoint")
    event.remove(db._reader.sync_engine, "before_cursor_execute", explain)
    async with db.read() as session:
        for statement in set(statements):
            connection = await session.connection()
            plan = await connection.exec_driver_sql(
                "EXPLAIN QUERY PLAN " + statement, tuple([1] * statement.count("?"))
            )
            plans += [row[-1] for row in plan]
        ids = attempts("sqlite", UsageRow.event_id >= "01", UsageRow.event_id < "02").select()
        compiled = ids.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
        found = await session.execute(text("EXPLAIN QUERY PLAN " + str(compiled)))
        plans += [row[-1] for row in found]
    await db.close()
    reads = [plan for plan in plans if "usage_events" in plan or "health_checks" in plan]
    assert reads
    assert all(plan.startswith("SEARCH") for plan in reads), reads
