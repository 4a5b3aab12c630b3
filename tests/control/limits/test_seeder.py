"""Who tells meters what was used before, and when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import structs
from tests.control.limits.test_spent import event

from xrouter.control.db.engine import Database
from xrouter.control.limits.seeder import LOST_S, Seeder
from xrouter.domain.errors import OperatorError
from xrouter.domain.limits import Limit
from xrouter.domain.ports import Spent, Want
from xrouter.domain.snapshot import EMPTY, Snapshot
from xrouter.stores.memory.meters import MemoryMeters
from xrouter.stores.spent_file import SpentFile

NOW = 1_790_000_000.0
DAILY = Limit(subject="key:one", meter="requests", window="day", amount=9)
ALL_TIME = Limit(subject="key:*", meter="requests", window="total", amount=9)


class Rig:
    """A seeder, and everything that it asks."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.meters = MemoryMeters()
        self.snapshot: Snapshot = EMPTY
        self.drained = 0
        self.lost = False
        self.away = False
        self.now = 0.0
        self.told: list[Sequence[Spent]] = []
        self.file = SpentFile(folder / "limits.spent")
        self.seeder = Seeder(
            db,
            self.drain,
            self.meters,
            lambda: self.snapshot,
            lost=lambda: self.lost,
            asked=self.file.asked,
            publish=self.publish,
            clock=lambda: self.now,
        )

    async def drain(self) -> None:
        self.drained += 1
        if self.away:
            raise OperatorError("It is away.")

    def publish(self, spent: Sequence[Spent]) -> None:
        self.told.append(spent)
        self.file.write(spent)

    def use(self, *limits: Limit) -> None:
        found: dict[str, tuple[Limit, ...]] = {}
        for each in limits:
            found[each.subject] = (*found.get(each.subject, ()), each)
        self.snapshot = structs.replace(EMPTY, limits=found)

    async def used(self, limit: Limit, of: str = "one") -> int:
        counter = f"key:{of}|*|{limit.meter}|{limit.window}"
        want = Want(counter, limit.meter, limit.window, 9, 0, limit.time_zone)
        return 9 - (await self.meters.look([want]))[0].remaining


@pytest.fixture
def rig(db: Database, tmp_path: Path) -> Rig:
    return Rig(db, tmp_path)


@pytest.fixture
async def three(db: Database) -> None:
    """Three requests of the key `one`, long ago."""
    async with db.write() as session:
        for number in range(3):
            session.add(event(number, NOW - 1000 * 86400))


@pytest.mark.usefixtures("three")
class TestWhen:
    async def test_at_the_start_and_then_never_again(self, rig: Rig) -> None:
        rig.use(ALL_TIME)
        for _ in range(3):
            await rig.seeder.turn()
        assert await rig.used(ALL_TIME) == 3
        assert (rig.drained, len(rig.told)) == (1, 1)

    async def test_without_limits_nobody_asks_the_database(self, rig: Rig) -> None:
        await rig.seeder.turn()
        assert (rig.drained, rig.told) == (0, [[]])

    async def test_of_a_limit_that_is_made_later(self, rig: Rig, db: Database) -> None:
        rig.use(DAILY)
        await rig.seeder.turn()
        async with db.write() as session:
            session.add(event(7, NOW - 1000 * 86400, key_id="two"))
        rig.use(DAILY, ALL_TIME)
        await rig.seeder.turn()
        assert await rig.used(ALL_TIME) == 3
        assert await rig.used(ALL_TIME, "two") == 1
        assert {each.window for each in rig.told[-1]} == {"total"}

    async def test_of_one_that_was_switched_off_meanwhile(self, rig: Rig, db: Database) -> None:
        rig.use(ALL_TIME)
        await rig.seeder.turn()
        rig.use()
        await rig.seeder.turn()
        async with db.write() as session:
            session.add(event(8, NOW))
        rig.use(ALL_TIME)
        await rig.seeder.turn()
        assert await rig.used(ALL_TIME) == 4

    async def test_a_larger_amount_is_no_new_limit(self, rig: Rig) -> None:
        rig.use(ALL_TIME)
        await rig.seeder.turn()
        rig.use(structs.replace(ALL_TIME, amount=10))
        await rig.seeder.turn()
        assert rig.drained == 1

    async def test_when_shared_meters_have_lost_their_memory(self, rig: Rig) -> None:
        """After each process has said what it holds."""
        rig.use(ALL_TIME)
        await rig.seeder.turn()
        rig.lost = True
        await rig.seeder.turn()
        rig.now += LOST_S / 2
        await rig.seeder.turn()
        assert len(rig.told) == 1
        rig.now += LOST_S / 2
        await rig.seeder.turn()
        await rig.seeder.turn()
        assert len(rig.told) == 2

    async def test_when_the_database_is_back(self, rig: Rig) -> None:
        rig.use(ALL_TIME)
        rig.away = True
        for _ in range(2):
            await rig.seeder.turn()
        assert (rig.told, await rig.used(ALL_TIME)) == ([], 0)
        rig.away = False
        await rig.seeder.turn()
        assert await rig.used(ALL_TIME) == 3

    async def test_when_a_process_without_a_database_asks(self, rig: Rig, tmp_path: Path) -> None:
        theirs = SpentFile(tmp_path / "limits.spent")
        rig.use(ALL_TIME)
        await rig.seeder.turn()
        theirs.ask()
        for _ in range(2):
            await rig.seeder.turn()
        assert len(rig.told) == 2
        assert theirs.has_news()
        assert not theirs.has_news()
        (found,) = theirs.read()
        assert (found.counter, found.amount) == ("key:one|*|requests|total", 3)


def test_a_file_that_cannot_be_read_counts_as_absent(tmp_path: Path) -> None:
    path = tmp_path / "limits.spent"
    file = SpentFile(path)
    assert not file.has_news()
    assert file.read() == []
    path.write_bytes(b"\xff")
    assert file.has_news()
    assert file.read() == []
    file.write([])
    assert path.stat().st_mode & 0o777 == 0o600
