from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import delete, event, update
from tests.control.conftest import Api
from tests.control.fakes import AcmeServer
from tests.control.health.parts import Clock, Watch, asked, failed, rows_of, store

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow, ProviderRow
from xrouter.control.db.tables.health import CheckRow, EndpointStateRow, IncidentRow, LeaseRow
from xrouter.control.health import prober
from xrouter.control.health.checker import Checked
from xrouter.control.health.events import Events, Queue
from xrouter.control.health.machine import Check, Health
from xrouter.control.health.prober import KEEP_S, ProberOptions
from xrouter.telemetry.logs import log

pytestmark = pytest.mark.usefixtures("acme_rows")


def told(queue: Queue) -> Iterator[tuple[str, Any]]:
    """What a listener has heard: names and items."""
    while not queue.empty():
        frame = queue.get_nowait()
        assert frame is not None
        name, data = frame.decode().removesuffix("\n\n").split("\n")
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def by_place(health: Api) -> dict[str, Any]:
    data = (await health.ask("GET", "/health"))["data"]
    return {each["endpoint"]: each for each in data}


async def test_endpoints_that_answer_are_healthy(watch: Watch, health: Api) -> None:
    before = await watch.revision()
    await watch.turns(3)
    found = await by_place(health)
    assert [each["state"] for each in found.values()] == ["healthy", "healthy"]
    last = found["primary"]["last_check"]
    assert last == {
        "at": watch.clock.now,
        "kind": "list",
        "ok": True,
        "took_ms": 0.0,
        "error_code": None,
        "model": None,
    }
    assert found["primary"]["p50_ms"] == 0.0
    assert found["primary"]["since"] is None
    assert len(await watch.checks()) == 6
    assert await watch.revision() == before
    assert watch.changes == []


async def test_an_endpoint_is_asked_every_fifteen_seconds(
    watch: Watch, acme_server: AcmeServer
) -> None:
    await watch.turns(1)
    await watch.turns(2, 5.0)
    assert len(acme_server.seen) == 2
    await watch.turns(1, 5.0)
    assert len(acme_server.seen) == 4


async def test_down_and_up_again(
    watch: Watch, acme_server: AcmeServer, health: Api, events: Events
) -> None:
    await watch.turns(2)
    before = await watch.revision()
    acme_server.key = "another"
    with events.listener() as queue, log.captured() as logs:
        await watch.turns(2)
        assert await watch.states() == {}
        await watch.turns(1)
        assert set((await watch.states()).values()) == {"down"}
        assert watch.changes == [None]
        assert await watch.revision() > before
        heard = list(told(queue))
        assert [name for name, _ in heard] == ["incident", "incident", "state", "state"]
        assert heard[2][1] == {
            "provider": "acme",
            "endpoint": "primary",
            "state": "down",
            "before": "healthy",
            "since": "2026-01-02T12:01:15Z",
            "cause": "upstream_auth_failed",
        }
        found = (await by_place(health))["standby"]
        assert (found["state"], found["cause"]) == ("down", "upstream_auth_failed")
        assert found["since"] == "2026-01-02T12:01:15Z"
        acme_server.key = "acme-key"
        await watch.turns(1)
        assert set((await watch.states()).values()) == {"down"}
        await watch.turns(1)
        assert set((await watch.states()).values()) == {"healthy"}
        again = list(told(queue))
    assert {item["state"] for name, item in again if name == "state"} == {"healthy"}
    ended = [item["ended_at"] for name, item in again if name == "incident"]
    assert ended == ["2026-01-02T12:01:45Z"] * 2
    assert watch.changes == [None, None]
    said = [(each["event"], each["log_level"], each["state"]) for each in logs]
    assert (
        said
        == [("endpoint_state", "error", "down")] * 2 + [("endpoint_state", "info", "healthy")] * 2
    )


async def test_an_unwell_endpoint_is_asked_five_times_as_often(
    watch: Watch, acme_server: AcmeServer
) -> None:
    await watch.turns(1)
    acme_server.key = "another"
    await watch.turns(1)
    await watch.turns(4, 1.5)
    assert set((await watch.states()).values()) == {"down"}
    acme_server.key = "acme-key"
    await watch.turns(4, 1.5)
    assert set((await watch.states()).values()) == {"healthy"}
    asked = len(acme_server.seen)
    await watch.turns(4, 1.5)
    assert len(acme_server.seen) == asked


async def test_a_probe_that_hangs_makes_way_for_the_next_one(watch: Watch) -> None:
    """As long as it takes when all is well is not known, it may take its time."""
    limits: list[float | None] = []

    async def noted(seat: Any, kind: Any, limit_s: float | None = None) -> Any:
        limits.append(limit_s)
        return Checked(seat, kind, Check(2000.0, "upstream_timeout" if len(limits) > 4 else None))

    watch.prober._checker.ask = noted  # type: ignore[method-assign]
    await watch.turns(4)
    assert limits == [None] * 6 + [6.0] * 2

    options = ProberOptions()
    assert prober._limit_s(Health(failed=1), options) is None
    assert prober._limit_s(Health(failed=1, latencies=(10.0,)), options) == 3.0


async def test_a_state_that_stays_is_not_written_again(
    watch: Watch, acme_server: AcmeServer
) -> None:
    acme_server.key = "another"
    await watch.turns(4)
    before = await watch.revision()
    await watch.turns(6)
    assert await watch.revision() == before
    assert len(await watch.incidents()) == 2


async def test_a_server_that_is_not_there(watch: Watch, acme_server: AcmeServer) -> None:
    await acme_server.stop()
    await watch.turns(3)
    assert {row.cause for row in await watch.incidents()} == {"upstream_unreachable"}


async def test_what_callers_see_makes_an_incident(
    watch: Watch, db: Database, health: Api, clock: Clock
) -> None:
    """Ten attempts, six failed, of which the standby saved four."""
    at = clock.now
    await store(
        db,
        *(asked(at - 10) for _ in range(4)),
        *(failed(at - 5, saved_by="standby") for _ in range(4)),
        *(failed(at - 5, "upstream_error") for _ in range(2)),
    )
    await watch.turns(1, 0.0)
    assert list((await watch.states()).values()) == ["down"]
    await store(db, failed(at + 5, saved_by="standby"), failed(at - 100))
    await watch.turns(2, 15.0)
    (found,) = (await health.ask("GET", "/health/incidents", params={"open": True}))["data"]
    assert found == {
        "id": found["id"],
        "provider": "acme",
        "endpoint": "primary",
        "state": "down",
        "started_at": "2026-01-02T12:00:00Z",
        "ended_at": None,
        "cause": "upstream_timeout",
        "failed": 7,
        "saved": 5,
    }
    await watch.turns(3, 31.0)
    (closed,) = (await health.ask("GET", "/health/incidents"))["data"]
    assert closed["ended_at"] is not None
    assert (closed["failed"], closed["saved"]) == (7, 5)
    assert list((await watch.states()).values()) == ["healthy"]


async def test_mistakes_of_callers_say_nothing_of_an_endpoint(
    watch: Watch, db: Database, clock: Clock
) -> None:
    at = clock.now
    cached = {"cached": True, "attempts": 0}
    gone = {"outcome": "cancelled", "status": 499, "error_code": "client_disconnected"}
    refused = {"outcome": "error", "status": 400, "error_code": "invalid_value"}
    unasked = {"outcome": "error", "error_code": "upstream_timeout", "attempts": 0}
    await store(
        db,
        *(failed(at - 5, "context_length_exceeded") for _ in range(20)),
        *(asked(at - 5, **refused) for _ in range(20)),
        *(asked(at - 5, **gone) for _ in range(20)),
        *(asked(at - 5, **cached) for _ in range(20)),
        *(asked(at - 5, **unasked) for _ in range(20)),
    )
    await watch.turns(1, 0.0)
    assert await watch.states() == {}


async def test_a_stream_that_broke_off_is_a_failure(
    watch: Watch, db: Database, clock: Clock
) -> None:
    """With the first target, and with the one that had taken over."""
    broken = {"outcome": "error", "status": 502, "error_code": "upstream_malformed"}
    await store(db, *(asked(clock.now - 5, **broken) for _ in range(20)))
    late = (failed(clock.now - 5, saved_by="standby") | broken for _ in range(20))
    await store(db, *late)
    await watch.turns(1, 0.0)
    causes = {row.endpoint: row.cause for row in await watch.incidents()}
    assert causes == {"primary": "upstream_timeout", "standby": "upstream_malformed"}


async def test_degraded_then_down_is_one_incident(watch: Watch, db: Database, clock: Clock) -> None:
    await store(db, *(asked(clock.now) for _ in range(8)))
    await store(db, *(failed(clock.now) for _ in range(2)))
    await watch.turns(1, 1.0)
    assert list((await watch.states()).values()) == ["degraded"]
    await store(db, *(failed(clock.now) for _ in range(10)))
    await watch.turns(1, 1.0)
    assert list((await watch.states()).values()) == ["down"]
    (found,) = await watch.incidents()
    assert (found.state, found.ended_at) == ("down", None)


async def test_an_endpoint_without_a_list_is_judged_by_what_callers_see(
    watch: Watch, db: Database, acme_server: AcmeServer, clock: Clock
) -> None:
    async with db.write() as session:
        await session.execute(update(EndpointRow).values(options={"no_list": "1"}))
    acme_server.key = "another"
    await watch.turns(5)
    assert (acme_server.seen, await watch.checks(), await watch.states()) == ([], [], {})
    await store(db, *(failed(clock.now) for _ in range(10)))
    await watch.turns(1)
    assert list((await watch.states()).values()) == ["down"]
    await watch.turns(1, 50.0)
    await store(db, asked(clock.now), asked(clock.now))
    await watch.turns(1)
    assert list((await watch.states()).values()) == ["healthy"]


async def test_a_deleted_endpoint_ends_its_incident(
    watch: Watch, db: Database, acme_server: AcmeServer, events: Events
) -> None:
    acme_server.key = "another"
    await watch.turns(3)
    async with db.write() as session:
        await session.execute(delete(EndpointRow).where(EndpointRow.name == "primary"))
    with events.listener() as queue:
        await watch.turns(1)
        heard = list(told(queue))
    assert [(name, item["endpoint"]) for name, item in heard] == [("incident", "primary")]
    ended = {row.endpoint: row.ended_at is not None for row in await watch.incidents()}
    assert ended == {"primary": True, "standby": False}


async def test_what_is_switched_off_has_no_state(
    watch: Watch, db: Database, acme_server: AcmeServer
) -> None:
    acme_server.key = "another"
    await watch.turns(3)
    async with db.write() as session:
        await session.execute(update(ProviderRow).values(is_enabled=False))
    await watch.turns(1)
    assert await watch.states() == {}
    assert all(row.ended_at is not None for row in await watch.incidents())
    asked_before = len(acme_server.seen)
    await watch.turns(3)
    assert len(acme_server.seen) == asked_before


async def test_a_renamed_provider_has_an_incident_of_its_new_name(
    watch: Watch, db: Database, acme_server: AcmeServer
) -> None:
    acme_server.key = "another"
    await watch.turns(3)
    async with db.write() as session:
        await session.execute(update(ProviderRow).values(name="acme2"))
    await watch.turns(1)
    lasting = {(row.provider, row.endpoint) for row in await watch.incidents() if not row.ended_at}
    assert lasting == {("acme2", "primary"), ("acme2", "standby")}


async def test_a_restart_goes_on_where_it_was(
    watch: Watch, db: Database, acme_server: AcmeServer, clock: Clock
) -> None:
    acme_server.key = "another"
    await store(db, failed(clock.now + 40, saved_by="standby"))
    await watch.turns(5)
    states, incidents = await watch.states(), len(await watch.incidents())
    watch.prober = watch.another("two")
    await watch.turns(1, 31.0)
    assert await watch.states() == states
    acme_server.key = "acme-key"
    await watch.turns(2)
    assert set((await watch.states()).values()) == {"healthy"}
    found = await watch.incidents()
    assert len(found) == incidents
    assert [(row.failed, row.saved) for row in found if row.endpoint == "primary"] == [(1, 1)]


async def test_two_failures_before_a_restart_and_one_after_it(
    watch: Watch, acme_server: AcmeServer
) -> None:
    acme_server.key = "another"
    await watch.turns(2)
    watch.prober = watch.another("two")
    await watch.turns(1, 31.0)
    assert set((await watch.states()).values()) == {"down"}


async def test_one_process_asks_and_all_tell(
    watch: Watch, acme_server: AcmeServer, events: Events
) -> None:
    others = Events()
    second = watch.another("two", others)
    acme_server.key = "another"
    with events.listener() as here, others.listener() as there:
        for _ in range(3):
            await watch.turns(1)
            await second.turn()
        assert len(acme_server.seen) == 6
        assert list(told(here)) == list(told(there)) != []


async def test_when_the_holder_dies_another_goes_on(
    watch: Watch, acme_server: AcmeServer, clock: Clock
) -> None:
    second = watch.another("two")
    await watch.turns(1)
    await second.turn()
    assert len(acme_server.seen) == 2
    clock.go(31.0)
    await second.turn()
    assert len(acme_server.seen) == 4
    await watch.prober.turn()
    assert len(acme_server.seen) == 4


async def test_a_holder_that_lost_its_lease_writes_nothing(
    watch: Watch, db: Database, acme_server: AcmeServer
) -> None:
    await watch.turns(1)
    acme_server.key = "another"
    await watch.turns(1)
    written = len(await watch.checks())

    async def steal(*given: Any) -> list[Any]:
        async with db.write() as session:
            await session.execute(update(LeaseRow).values(holder="two", token=LeaseRow.token + 1))
        return await asking(*given)

    asking = watch.prober._checks
    watch.prober._checks = steal  # type: ignore[method-assign,assignment]
    with log.captured() as logs:
        await watch.turns(1)
    assert len(await watch.checks()) == written
    assert [line["event"] for line in logs] == ["health_left"]
    assert await watch.states() == {}


async def test_failures_are_told_once(watch: Watch, db: Database) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionResetError("gone")

    await watch.turns(1)
    with log.captured() as logs:
        event.listen(db._writer.sync_engine, "commit", refuse)
        await watch.turns(3)
        event.remove(db._writer.sync_engine, "commit", refuse)
        await watch.turns(2)
    assert [each["event"] for each in logs] == ["health_not_looked_at", "health_looked_at_again"]


async def test_an_endpoint_deleted_while_it_is_asked(watch: Watch, db: Database) -> None:
    asking = watch.prober._checks

    async def deleting(*given: Any) -> list[Any]:
        done = await asking(*given)
        async with db.write() as session:
            await session.execute(delete(EndpointRow).where(EndpointRow.name == "primary"))
        return done

    watch.prober._checks = deleting  # type: ignore[method-assign,assignment]
    with log.captured() as logs:
        await watch.turns(1)
    assert logs == []
    assert len(await watch.checks()) == 1


async def test_old_checks_are_deleted(watch: Watch, db: Database, clock: Clock) -> None:
    await watch.turns(1)
    (first, second) = await watch.checks()
    async with db.write() as session:
        session.add_all(
            CheckRow(
                endpoint_id=first.endpoint_id,
                at=clock.now - KEEP_S - number,
                kind="list",
                ok=True,
                took_ms=1.0,
            )
            for number in range(1200)
        )
    await watch.turns(1)
    assert len(await watch.checks()) == 1204
    await watch.turns(1, 600.0)
    left = await watch.checks()
    assert len(left) == 6
    assert {first.id, second.id} <= {row.id for row in left}


async def test_only_so_many_are_asked_at_a_time_and_a_turn_does_not_wait_for_ever(
    watch: Watch,
) -> None:
    quick = ProberOptions(patience_s=0.0, at_once=1, spread=0.0)
    prober = watch.another("two", options=quick)
    running = most = 0

    async def held(seat: Any, kind: Any, limit_s: float | None = None) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return await asking(seat, kind, limit_s)

    gate = asyncio.Event()
    asking = prober._checker.ask
    prober._checker.ask = held  # type: ignore[method-assign]
    watch.prober = prober
    await watch.turns(3)
    assert (running, most, len(prober._running)) == (1, 1, 2)
    gate.set()
    async with asyncio.timeout(20):
        while not all(task.done() for task in prober._running.values()):
            await asyncio.sleep(0.01)
    await watch.turns(1)
    assert most == 1
    assert len(await watch.checks()) == 2
    await stopped(prober)


async def stopped(prober: Any) -> None:
    tasks = list(prober._running.values())
    prober._stand_by()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_run_looks_and_leaves(watch: Watch, db: Database) -> None:
    task = asyncio.create_task(watch.prober.run())
    async with asyncio.timeout(20):
        while not await watch.checks():
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (lease,) = await rows_of(db, LeaseRow)
    assert (lease.holder, lease.expires_at) == ("", 0.0)


async def test_a_state_that_nobody_knows_is_healthy(
    watch: Watch, db: Database, health: Api, acme_rows: Any
) -> None:
    row = EndpointStateRow(
        endpoint_id=acme_rows[0].id, state="tired", since=acme_rows[0].created_at
    )
    async with db.write() as session:
        session.add(row)
    assert (await by_place(health))["primary"]["state"] == "healthy"
    await watch.turns(1)
    assert (await watch.states())[acme_rows[0].id] == "healthy"


async def test_incidents_in_pages(health: Api, db: Database, acme_rows: Any) -> None:
    began = acme_rows[0].created_at
    async with db.write() as session:
        for number in range(7):
            session.add(
                IncidentRow(
                    provider=f"p{number % 2}",
                    endpoint="primary",
                    state="down",
                    started_at=began,
                    ended_at=None if number == 6 else began,
                    cause="slow",
                )
            )
    everything = (await health.ask("GET", "/health/incidents"))["data"]
    found: list[int] = []
    after: dict[str, int] = {}
    while True:
        page = await health.ask("GET", "/health/incidents", params={"limit": 3, **after})
        found += [each["id"] for each in page["data"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert found == sorted((each["id"] for each in everything), reverse=True)
    assert len(found) == 7

    async def number_of(**query: Any) -> int:
        return len((await health.ask("GET", "/health/incidents", params=query))["data"])

    assert await number_of(provider="p1") == 3
    assert await number_of(open=True) == 1
    assert await number_of(open=False, provider="p0") == 3
    error = await health.error("GET", "/health/incidents", params={"limit": 0}, status=400)
    assert error["param"] == "limit"
