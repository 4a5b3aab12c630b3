from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, update

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.releases import BuildRow
from xrouter.control.releases import builds
from xrouter.control.releases.builds import GONE_S, BuildKeeper
from xrouter.domain.usage import UsageEvent, new_id

NOW = 1_767_355_200.0


def answered(build: str, at: float = NOW, **more: Any) -> UsageEvent:
    given: dict[str, Any] = {
        "event_id": new_id(),
        "request_id": "req",
        "at": at,
        "operation": "chat",
        "model_served": "acme/one",
        "version": "v1",
        "provider": "acme",
        "endpoint": "primary",
        "build": build,
    }
    return UsageEvent(**given | more)


async def take(db: Database, keeper: BuildKeeper, *events: UsageEvent) -> None:
    async with db.write() as session:
        await keeper.take(session, events)


async def kept(db: Database) -> list[BuildRow]:
    async with db.read() as session:
        return list(await session.scalars(select(BuildRow).order_by(BuildRow.id)))


async def test_builds_are_counted_with_their_first_and_last_time(db: Database) -> None:
    keeper = BuildKeeper()
    await take(db, keeper, answered("a", NOW, total_ms=500.0), answered("a", NOW - 7))
    await take(db, keeper, answered("a", NOW + 5))
    await take(db, keeper, answered("a", NOW - 9), answered("a", NOW + 3))
    (row,) = await kept(db)
    assert (row.first_seen, row.last_seen, row.answers) == (NOW - 9, NOW + 5, 5)
    assert (row.provider, row.noted) == ("acme", False)


async def test_updates_use_no_ids_up(db: Database) -> None:
    """An id has 31 bits, and each second of each process would take some."""
    keeper = BuildKeeper()
    for number in range(30):
        await take(db, keeper, answered("a", NOW + number))
    await take(db, keeper, answered("a"), answered("b"))
    rows = await kept(db)
    assert [row.build for row in rows] == ["a", "b"]
    assert rows[1].id - rows[0].id <= 4


async def test_builds_of_one_batch_that_begin_after_a_silence(db: Database) -> None:
    """The one that goes on is written last, and was not away for the other's sake."""
    keeper = BuildKeeper()
    await take(db, keeper, answered("a", NOW - 2), answered("b", NOW - 1))
    later = NOW + 2 * GONE_S
    await take(db, keeper, answered("b", later), answered("a", later + 1))
    a, b = await kept(db)
    assert (a.first_seen, b.first_seen) == (later + 1, NOW - 1)


async def undone(db: Database, keeper: BuildKeeper) -> None:
    async with db.write() as session:
        await keeper.take(session, [answered("a")])
        raise KeyboardInterrupt


async def test_what_was_undone_is_not_taken_for_known(db: Database) -> None:
    keeper = BuildKeeper()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            await undone(db, keeper)
    await take(db, keeper, answered("a"))
    assert [row.answers for row in await kept(db)] == [1]


async def test_builds_that_another_process_has_written(db: Database) -> None:
    one, two = BuildKeeper(), BuildKeeper()
    await take(db, one, answered("a"))
    await take(db, two, answered("b"))
    for _ in range(2):
        await take(db, one, answered("a"), answered("b"))
        await take(db, two, answered("a"), answered("b"))
    assert [(row.build, row.answers) for row in await kept(db)] == [("a", 5), ("b", 5)]


async def test_several_processes_write_at_once(db: Database, db_url: str) -> None:
    """Each meets other builds first, and some that only it knows."""
    others = [db] if db.dialect == "sqlite" else [db, Database(db_url)]
    names = [f"b{number:02d}" for number in range(30)]

    async def write(database: Database, mine: list[str]) -> None:
        keeper = BuildKeeper()
        for end in range(3, len(mine) + 1, 3):
            await take(database, keeper, *(answered(name) for name in mine[:end]))

    async with asyncio.timeout(60):
        await asyncio.gather(write(others[0], names), write(others[-1], names[::-1]))
    rows = await kept(db)
    assert {row.build: row.answers for row in rows} == dict.fromkeys(names, 11)
    for other in others[1:]:
        await other.close()


async def test_places_and_builds_in_memory_are_bounded(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "MOST_PLACES", 3)
    monkeypatch.setattr(builds, "MOST_BUILDS", 2)
    keeper = BuildKeeper()
    for number in range(8):
        events = [answered(f"b{each}", version=f"v{number}") for each in range(5)]
        await take(db, keeper, *events)
        await take(db, keeper, *events)
        assert len(keeper._known) <= 3
    rows = await kept(db)
    assert len(rows) == 16
    assert {row.answers for row in rows} == {2}
    async with db.write() as session:
        await session.execute(update(BuildRow).values(answers=0))
    await take(db, keeper, answered("unheard", version="v7"), answered("b0", version="v7"))
    assert sum(row.answers for row in await kept(db)) == 1
