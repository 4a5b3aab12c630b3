from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, text

from xrouter.control.db.engine import Database
from xrouter.control.instances import EVERY_S, FORGET_S, Beat, Instances
from xrouter.telemetry.logs import log


class Process:
    """One that beats, and runs whichever revision it is told to."""

    def __init__(self, db: Database, clock: Any, name: str = "one") -> None:
        self.revision = -1
        self.instances = Instances(db, clock)
        self.beat = Beat(db, self.instances, name, "all", lambda: self.revision, clock=clock)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def one(db: Database, clock: Clock) -> Process:
    return Process(db, clock)


async def catalog(db: Database, revision: int) -> None:
    async with db.write() as session:
        await session.execute(text("UPDATE catalog_state SET revision = :r"), {"r": revision})


async def beats(clock: Clock, number: int, *processes: Process) -> None:
    for _ in range(number):
        clock.now += EVERY_S
        for process in processes:
            await process.beat.turn()


async def behind(process: Process) -> dict[str, bool]:
    return {each.instance_id: each.behind for each in (await process.instances.all()).data}


async def test_a_process_is_listed(db: Database, clock: Clock, one: Process) -> None:
    one.revision = 7
    await catalog(db, 7)
    await beats(clock, 2, one)
    (found,) = (await one.instances.all()).data
    assert (found.instance_id, found.role, found.revision) == ("one", "all", 7)
    assert (found.started_at, found.seen_at, found.behind) == (1000.0, 1010.0, False)
    assert found.pid > 0
    assert found.host


async def test_one_that_stays_behind_is_told_of_once(
    db: Database, clock: Clock, one: Process
) -> None:
    two = Process(db, clock, "two")
    one.revision = two.revision = 3
    await catalog(db, 3)
    await beats(clock, 1, one, two)
    await catalog(db, 4)
    one.revision = 4
    with log.captured() as logs:
        await beats(clock, 1, one, two)
        assert await behind(one) == {"one": False, "two": False}
        assert logs == []
        await beats(clock, 2, one)
        await beats(clock, 1, two, one)
        assert await behind(one) == {"one": False, "two": True}
        await beats(clock, 5, two, one)
        assert [each["event"] for each in logs] == ["revision_disagreement"] * 2
        assert logs[0] | {"host": ""} == {
            "event": "revision_disagreement",
            "log_level": "error",
            "instance": "two",
            "host": "",
            "revision": 3,
        }
        two.revision = 4
        await beats(clock, 2, two, one)
    assert [each["event"] for each in logs[2:]] == ["revision_agreement"] * 2
    assert await behind(one) == {"one": False, "two": False}


async def test_one_that_follows_fast_changes_is_not_behind(
    db: Database, clock: Clock, one: Process
) -> None:
    with log.captured() as logs:
        for revision in range(1, 30):
            await catalog(db, revision)
            await beats(clock, 1, one)
            one.revision = revision
    assert logs == []


async def test_a_start_is_no_disagreement(db: Database, clock: Clock, one: Process) -> None:
    await catalog(db, 5)
    with log.captured() as logs:
        await beats(clock, 1, one)
        assert logs == []
        await beats(clock, 2, one)
        assert [each["event"] for each in logs] == ["revision_disagreement"]


async def test_a_change_of_this_moment_is_no_reproach(
    db: Database, clock: Clock, one: Process
) -> None:
    one.revision = 3
    await catalog(db, 3)
    await beats(clock, 1, one)
    clock.now += EVERY_S - 1
    await catalog(db, 4)
    assert await behind(one) == {"one": False}
    await beats(clock, 1, one)
    assert await behind(one) == {"one": False}
    await beats(clock, 1, one)
    assert await behind(one) == {"one": True}


async def test_who_only_looks_knows_no_grace(db: Database, clock: Clock, one: Process) -> None:
    await catalog(db, 5)
    await beats(clock, 1, one)
    (found,) = (await Instances(db, clock).all()).data
    assert found.behind


async def test_one_that_falls_silent_is_told_of_once(
    db: Database, clock: Clock, one: Process
) -> None:
    two = Process(db, clock, "two")
    one.revision = two.revision = 3
    await catalog(db, 3)
    await beats(clock, 1, one, two)
    with log.captured() as logs:
        await beats(clock, 3, one)
        assert logs == []
        await beats(clock, 3, one)
        assert {each.instance_id: each.silent for each in (await one.instances.all()).data} == {
            "one": False,
            "two": True,
        }
        assert [(each["event"], each["instance"]) for each in logs] == [("instance_silent", "two")]
        await beats(clock, 1, two, one)
    told = {(each["event"], each["instance"]) for each in logs[1:]}
    assert ("instance_heard_again", "two") in told


async def test_a_goodbye_that_fails_holds_nobody_up(db: Database, clock: Clock) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionResetError("gone")

    process = Process(db, clock)
    task = asyncio.create_task(process.beat.run())
    async with asyncio.timeout(20):
        while not (await process.instances.all()).data:
            await asyncio.sleep(0.01)
    event.listen(db._writer.sync_engine, "commit", refuse)
    task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    event.remove(db._writer.sync_engine, "commit", refuse)
    assert isinstance(ended, asyncio.CancelledError)


async def test_the_dead_are_forgotten(db: Database, clock: Clock, one: Process) -> None:
    two = Process(db, clock, "two")
    await beats(clock, 1, one, two)
    clock.now += FORGET_S - EVERY_S
    await beats(clock, 1, one)
    assert set(await behind(one)) == {"one", "two"}
    await beats(clock, 1, one)
    assert set(await behind(one)) == {"one"}


async def test_failures_are_told_once(db: Database, clock: Clock, one: Process) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionResetError("gone")

    with log.captured() as logs:
        event.listen(db._writer.sync_engine, "commit", refuse)
        await beats(clock, 3, one)
        event.remove(db._writer.sync_engine, "commit", refuse)
        one.revision = 0
        await beats(clock, 1, one)
    assert [each["event"] for each in logs] == ["instance_not_seen"]
    assert set(await behind(one)) == {"one"}


async def test_run_beats(db: Database) -> None:
    instances = Instances(db)
    revision = 0
    beat = Beat(db, instances, "one", "all", lambda: revision)
    task = asyncio.create_task(beat.run())
    async with asyncio.timeout(20):
        while not (await instances.all()).data:
            await asyncio.sleep(0.01)
    revision = 1
    async with asyncio.timeout(EVERY_S - 1):  # it does not wait for its next time
        while (await instances.all()).data[0].revision != 1:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await instances.all()).data == []  # it said goodbye: nobody misses it
