from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import event, text

from xrouter.control.db.engine import Database
from xrouter.control.kit.lease import Lease, LeaseLost, database_now

TTL_S = 30.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease(db: Database, clock: Clock | None, holder: str = "one") -> Lease:
    return Lease(db, "job", holder, TTL_S, clock=clock)


async def guarded(db: Database, held: Lease) -> None:
    async with db.write() as session:
        await held.guard(session)


async def test_one_holds_it_until_it_runs_out(db: Database, clock: Clock) -> None:
    one, two = lease(db, clock), lease(db, clock, "two")
    assert await one.acquire()
    assert not await two.acquire()
    clock.now += TTL_S - 1
    assert await one.renew()
    clock.now += TTL_S - 1
    assert not await two.acquire()
    clock.now += 1
    assert await two.acquire()
    assert not await one.renew()
    assert [one.token, two.token] == [None, 2]


async def test_the_token_rises_with_every_holder(db: Database, clock: Clock) -> None:
    tokens = []
    for number in range(5):
        held = lease(db, clock, str(number % 2))
        assert await held.acquire()
        tokens.append(held.token)
        await held.release()
        assert held.token is None
    assert tokens == [1, 2, 3, 4, 5]


async def test_a_holder_that_slept_finds_out_when_it_writes(db: Database, clock: Clock) -> None:
    one, two = lease(db, clock), lease(db, clock, "two")
    await one.acquire()
    await guarded(db, one)
    clock.now += TTL_S
    await guarded(db, one)  # it has run out, but nobody else has taken it
    await two.acquire()
    with pytest.raises(LeaseLost):
        await guarded(db, one)
    with pytest.raises(LeaseLost):
        await guarded(db, one)
    await guarded(db, two)


async def test_what_a_late_holder_wrote_is_undone(db: Database, clock: Clock) -> None:
    one = lease(db, clock)
    await one.acquire()
    clock.now += TTL_S
    await lease(db, clock, "two").acquire()
    with pytest.raises(LeaseLost):
        await _raise_revision(db, one)
    async with db.read() as session:
        assert await session.scalar(text("SELECT revision FROM catalog_state")) != 77


async def test_who_never_held_it_may_not_write(db: Database, clock: Clock) -> None:
    with pytest.raises(LeaseLost):
        await guarded(db, lease(db, clock))


async def test_a_second_life_of_the_same_holder_ends_the_first(db: Database, clock: Clock) -> None:
    first, second = lease(db, clock), lease(db, clock)
    await first.acquire()
    assert await second.acquire()
    assert not await first.renew()
    assert await second.hold()
    assert second.token == 2


async def test_to_hold_takes_or_renews(db: Database, clock: Clock) -> None:
    one, two = lease(db, clock), lease(db, clock, "two")
    assert await one.hold()
    clock.now += TTL_S - 1
    assert await one.hold()
    assert one.token == 1
    assert not await two.hold()
    await one.release()
    assert await two.hold()
    assert not await one.hold()


async def test_to_release_what_is_anothers_does_nothing(db: Database, clock: Clock) -> None:
    one, two = lease(db, clock), lease(db, clock, "two")
    await one.acquire()
    clock.now += TTL_S
    await two.acquire()
    await one.release()
    await two.release()
    await two.release()
    assert await one.acquire()


async def test_leases_of_other_jobs_are_others(db: Database, clock: Clock) -> None:
    assert await lease(db, clock).acquire()
    assert await Lease(db, "other", "two", TTL_S, clock=clock).acquire()


async def test_only_one_of_many_gets_it(db: Database, clock: Clock) -> None:
    all_ = [lease(db, clock, str(number)) for number in range(8)]
    got = await asyncio.gather(*(each.acquire() for each in all_))
    assert sum(got) == 1


async def test_nobody_takes_it_in_the_middle_of_a_guarded_write(postgres_url: str) -> None:
    db, clock = Database(postgres_url), Clock()
    one, two = lease(db, clock), lease(db, clock, "two")
    await one.acquire()
    clock.now += TTL_S
    async with db.write() as session:
        await one.guard(session)
        taking = asyncio.create_task(two.acquire())
        async with asyncio.timeout(20):
            while not await _waiting(db):
                await asyncio.sleep(0.01)
        assert not taking.done()
        await session.execute(text("UPDATE catalog_state SET revision = 78"))
    assert await taking
    await db.close()


async def _raise_revision(db: Database, held: Lease) -> None:
    async with db.write() as session:
        await session.execute(text("UPDATE catalog_state SET revision = 77"))
        await held.guard(session)


async def _waiting(db: Database) -> int:
    async with db.read() as session:
        query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        found: int = (await session.scalars(query)).one()
    return found


async def test_the_database_has_the_time(db: Database) -> None:
    async with db.read() as session:
        assert abs(await database_now(session) - time.time()) < 60
        assert await database_now(session, lambda: 5.0) == 5.0
    held = lease(db, None)
    assert await held.acquire()
    assert await held.renew()


async def test_who_leaves_lets_others_have_it_at_once(db: Database, clock: Clock) -> None:
    one, two = lease(db, clock), lease(db, clock, "two")
    await one.leave()  # it never had it
    await one.acquire()
    await one.leave()
    assert await two.acquire()


async def test_a_leave_that_fails_holds_nobody_up(db: Database, clock: Clock) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionResetError("gone")

    one, two = lease(db, clock), lease(db, clock, "two")
    await one.acquire()
    event.listen(db._writer.sync_engine, "commit", refuse)
    await one.leave()
    event.remove(db._writer.sync_engine, "commit", refuse)
    assert not await two.acquire()
    clock.now += TTL_S
    assert await two.acquire()


def test_how_often_it_must_be_held(db: Database, clock: Clock) -> None:
    assert lease(db, clock).often_s == TTL_S / 3
