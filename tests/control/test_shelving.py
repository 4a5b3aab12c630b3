"""Many keys: what has changed is read alone, and the others lie on a shelf. Both databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, text, update
from tests.control.fakes import adapters

from xrouter.control.catalog import repository
from xrouter.control.db.engine import Database
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.publish import press as pressing
from xrouter.control.publish.press import Order, Pressed, order, press, press_apart
from xrouter.control.publish.publisher import Publisher
from xrouter.control.publish.shelving import Sizes
from xrouter.control.publish.stock import KeyStock
from xrouter.domain.errors import NotReady, Unauthenticated
from xrouter.domain.identity import new_key
from xrouter.domain.snapshot import Snapshot
from xrouter.stores.key_file import KeyFile
from xrouter.stores.memory.keys import MemoryKeyBook
from xrouter.stores.vault import Vault
from xrouter.telemetry.logs import log

SIZES = Sizes(few=6, changed=4, most=12)
SOON_S = 20.0


class World:
    """A publisher over a database of keys that grow and change; no time passes by itself."""

    def __init__(self, db: Database, vault: Vault, folder: Path) -> None:
        self.db, self.vault, self.folder = db, vault, folder
        self.snapshots: list[Snapshot] = []
        self.orders: list[Order] = []
        self.may_press = asyncio.Event()
        self.may_press.set()
        self.fails: list[Exception] = []
        self.clock = 0.0
        self.keys: dict[int, str] = {}
        self.book = MemoryKeyBook(vault.mac)
        self.publisher = Publisher(db, vault, adapters(), self.deliver, folder, sizes=SIZES)
        shelving = self.publisher._shelving
        shelving._make = self.press
        shelving._clock = lambda: self.clock

    async def deliver(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    async def press(self, given: Order) -> Pressed:
        self.orders.append(given)
        await self.may_press.wait()
        if self.fails:
            raise self.fails.pop()
        return await press(given)

    @property
    def last(self) -> Snapshot:
        return self.snapshots[-1]

    @property
    def shelf(self) -> KeyFile | None:
        assert self.last.shelf is None or isinstance(self.last.shelf, KeyFile)
        return self.last.shelf

    async def turn(self) -> None:
        """One look."""
        await self.publisher.turn()
        await asyncio.sleep(0)  # what it has begun begins

    async def settled(self) -> None:
        """Looks until no shelf is being made."""
        await self.turn()
        await self.turn()
        async with asyncio.timeout(SOON_S):
            while (work := self.publisher._shelving._work) is not None:
                await asyncio.wait({work})
                await self.turn()

    async def make(self, count: int, **more: Any) -> list[int]:
        """Keys, as an operator's script would write them."""
        async with self.db.write() as session:
            first = len(self.keys) + 1
            rows = []
            for number in range(first, first + count):
                self.keys[number] = key = new_key()
                told = {"pepper_id": self.vault.pepper_id, "last4": key[-4:], "id": number}
                name = {"key_id": f"key_{number}", "name": f"n{number}"}
                rows.append(told | name | {"mac": self.vault.mac(key)} | more)
            await session.execute(insert(KeyRow), rows)
        return list(range(first, first + count))

    async def change(self, *numbers: int, **values: Any) -> None:
        async with self.db.write() as session:
            await session.execute(update(KeyRow).where(KeyRow.id.in_(numbers)).values(**values))

    async def revoke(self, *numbers: int) -> None:
        await self.change(*numbers, revoked_at=datetime.now(UTC))

    def good(self, snapshot: Snapshot | None = None) -> set[int]:
        """The keys that open the door."""
        return {number for number, key in self.keys.items() if self.opens(key, snapshot)}

    def opens(self, key: str, snapshot: Snapshot | None = None) -> bool:
        try:
            self.book.find(key, snapshot or self.last)
        except Unauthenticated:
            return False
        return True

    def name(self, number: int) -> str:
        return self.book.find(self.keys[number], self.last).name


@asynccontextmanager
async def world_of(db: Database, vault: Vault, folder: Path) -> AsyncIterator[World]:
    world = World(db, vault, folder)
    yield world
    await world.publisher._shelving.close()


@pytest.fixture
async def world(db: Database, vault: Vault, tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(db, vault, tmp_path) as world:
        yield world


async def test_few_keys_are_in_the_snapshot_and_only_changes_are_read(world: World) -> None:
    await world.make(5)
    await world.turn()
    assert (world.shelf, world.good()) == (None, {1, 2, 3, 4, 5})
    before = world.last.keys
    await world.change(2, name="changed")
    await world.revoke(3)
    await world.turn()
    assert (world.good(), world.name(2)) == ({1, 2, 4, 5}, "changed")
    kept = [mac for mac in before if world.last.keys.get(mac) is before[mac]]
    assert len(kept) == 3, "those that did not change were not read again"
    assert world.orders == []


async def test_a_rotation_ends_the_secret_before_the_last(world: World) -> None:
    for shelved in (False, True):
        await world.make(3 if not shelved else 20)
        await world.settled()
        assert (world.shelf is not None) is shelved
        first, second, third = world.keys[1], new_key(), new_key()
        mac, until = world.vault.mac, datetime.now(UTC) + timedelta(hours=1)
        old, new = mac(first), mac(second)
        await world.change(1, mac=new, previous_mac=old, previous_until=until)
        await world.turn()
        assert [world.opens(key) for key in (first, second, third)] == [True, True, False]
        await world.change(1, mac=mac(third), previous_mac=new, previous_until=until)
        await world.turn()
        assert [world.opens(key) for key in (first, second, third)] == [False, True, True]
        await world.change(1, previous_until=datetime.now(UTC) - timedelta(hours=1))
        await world.turn()
        assert [world.opens(key) for key in (first, second, third)] == [False, False, True]
        world.keys[1] = third


async def test_many_keys_go_on_a_shelf_and_what_changes_stands_before_it(world: World) -> None:
    await world.make(30)
    await world.settled()
    assert (len(world.last.keys), len(world.orders)) == (0, 1)
    assert world.good() == set(range(1, 31))
    await world.change(7, name="changed")
    await world.revoke(8)
    (fresh,) = await world.make(1)
    await world.turn()
    assert world.last.unshelved == {7, 8}
    assert len(world.last.keys) == 2
    assert world.good() == set(range(1, 32)) - {8}
    assert (world.name(7), world.name(fresh)) == ("changed", "n31")
    with pytest.raises(Unauthenticated):
        world.book.find(new_key(), world.last)
    await world.revoke(fresh)
    await world.turn()
    assert world.good() == set(range(1, 31)) - {8}
    assert len(world.orders) == 1
    assert [p.name for p in world.folder.glob("keys-*")] == [world.shelf.info.name]  # type: ignore[union-attr]


async def test_a_new_shelf_is_made_behind_the_scenes(world: World) -> None:
    """What changes while it is made is not lost, whether its row was copied already or not."""
    await world.make(30)
    await world.settled()
    world.may_press.clear()
    await world.revoke(*range(1, 6))
    await world.turn()
    old = world.shelf
    await world.turn()
    assert len(world.orders) == 2
    await world.revoke(6)
    await world.change(7, name="meanwhile")
    await world.make(1)
    await world.turn()
    assert world.last.shelf is old
    assert world.good() == set(range(7, 32))
    world.may_press.set()
    await world.settled()
    assert world.last.shelf is not old
    assert world.last.unshelved == frozenset()
    assert world.good() == set(range(7, 32))
    assert world.name(7) == "meanwhile"
    assert len(world.orders) == 2


async def test_what_changes_after_a_shelf_was_begun_is_read_beside_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = pressing._copy

    async def late(*given: Any) -> Any:
        await world.revoke(2)
        await world.change(3, name="late")
        await world.make(1)
        seen = await copy(*given)
        await world.revoke(4)
        return seen

    monkeypatch.setattr(pressing, "_copy", late)
    await world.make(30)
    await world.settled()
    assert world.good() == set(range(1, 32)) - {2, 4}
    assert world.name(3) == "late"
    assert world.last.unshelved == {2, 3, 4}


async def test_a_growing_number_of_keys_gets_its_first_shelf_without_a_pause(world: World) -> None:
    await world.make(6)
    await world.turn()
    world.may_press.clear()
    await world.make(2)
    await world.turn()
    await world.turn()
    assert (len(world.orders), world.shelf, len(world.good())) == (1, None, 8)
    await world.make(1)
    await world.turn()
    assert len(world.good()) == 9
    world.may_press.set()
    await world.settled()
    assert world.shelf is not None
    assert len(world.good()) == 9


async def test_keys_that_come_by_the_thousands_do_not_delay_a_revocation(world: World) -> None:
    await world.make(30)
    await world.settled()
    world.may_press.clear()
    await world.make(40)
    await world.revoke(5)
    await world.turn()
    partial = world.last
    assert partial.stale, "there are keys that are not in it"
    with pytest.raises(NotReady):
        world.book.find(world.keys[50], partial)
    with pytest.raises(NotReady):
        world.book.find(world.keys[5], partial)
    count = len(world.snapshots)
    await world.turn()
    assert len(world.snapshots) == count, "nothing is delivered twice"
    await world.revoke(6)
    await world.turn()
    assert world.last.unshelved == {5, 6}
    world.may_press.set()
    await world.settled()
    assert not world.last.stale
    assert world.good() == set(range(1, 71)) - {5, 6}


@pytest.mark.parametrize("many", [False, True])
async def test_rows_that_are_deleted_by_hand_are_missed(world: World, many: bool) -> None:
    await world.make(30 if many else 5)
    await world.settled()
    await world.make(2)
    await world.turn()
    count = len(world.keys)

    async def remove(*numbers: int) -> None:
        async with world.db.write() as session:
            await session.execute(delete(KeyRow).where(KeyRow.id.in_(numbers)))

    await remove(count)  # what is not on a shelf is missed at once
    await world.turn()
    assert world.good() == set(range(1, count))
    await remove(2)
    world.clock += 5
    await world.settled()
    assert world.good() == set(range(1, count)) - {2}
    async with world.db.write() as session:
        await session.execute(delete(KeyRow))
    world.clock += 5
    await world.settled()
    assert world.good() == set()


async def test_rows_that_are_deleted_while_a_shelf_is_made_do_not_come_back(world: World) -> None:
    await world.make(8)
    await world.turn()
    await world.turn()
    work = world.publisher._shelving._work
    assert work is not None
    await asyncio.wait({work})
    async with world.db.write() as session:
        await session.execute(delete(KeyRow).where(KeyRow.id == 2))
    left = set(range(1, 9)) - {2}
    for _ in range(3):
        await world.turn()
        assert world.good() == left
    await world.settled()
    assert world.shelf is not None
    assert world.good() == left


async def test_a_number_that_is_used_again_means_the_new_key(world: World) -> None:
    await world.make(30)
    await world.settled()
    async with world.db.write() as session:
        await session.execute(delete(KeyRow).where(KeyRow.id == 30))
    old = world.keys.pop(30)
    await world.make(1)
    await world.settled()
    assert not world.opens(old)
    assert world.good() == set(range(1, 31))


async def test_a_database_that_was_put_back_is_read_anew(world: World) -> None:
    await world.make(30)
    await world.settled()
    await world.change(3, name="later")
    await world.turn()
    is_postgres = world.db.dialect == "postgresql"
    async with world.db.write() as session:
        if is_postgres:
            await session.execute(text("ALTER TABLE api_keys DISABLE TRIGGER USER"))
        await session.execute(text("UPDATE api_keys SET name = 'n3' WHERE id = 3"))
        await session.execute(text("DELETE FROM api_keys WHERE id = 4"))
        await session.execute(text("UPDATE api_keys SET revision = 2"))
        await session.execute(text("UPDATE catalog_state SET revision = 3"))
        if is_postgres:
            await session.execute(text("ALTER TABLE api_keys ENABLE TRIGGER USER"))
    await world.settled()
    assert len(world.orders) == 2
    assert world.good() == set(range(1, 31)) - {4}
    assert world.name(3) == "n3"


async def test_a_shelf_of_a_database_that_was_put_back_meanwhile_is_not_used(
    world: World,
) -> None:
    await world.make(30)
    await world.settled()
    shelf = world.shelf
    assert shelf is not None
    later = Pressed(
        info=shelf.info, revision=1 << 40, rows=0, last=0, count=0, foreign=0, unreadable=0
    )
    assert not await world.publisher._shelving._adopt(later, needed=False)
    await world.turn()
    assert world.shelf is shelf


async def test_what_comes_by_the_thousands_while_a_shelf_is_made_is_not_read_at_once(
    world: World,
) -> None:
    await world.make(30)
    await world.settled()
    await world.revoke(*range(1, 6))
    world.may_press.clear()
    await world.turn()
    await world.turn()
    world.may_press.set()
    work = world.publisher._shelving._work
    assert work is not None
    await asyncio.wait({work})
    await world.make(40)
    await world.turn()
    partial = world.last
    assert (partial.stale, len(partial.keys)) == (True, 0), "they wait for the next shelf"
    await world.settled()
    assert not world.last.stale
    assert world.good() == set(range(6, 71))


async def test_a_damaged_shelf_is_made_again(world: World) -> None:
    await world.make(30)
    await world.settled()
    shelf = world.shelf
    assert shelf is not None
    with (world.folder / shelf.info.name).open("r+b") as file:
        file.write(bytes(shelf.info.table))
    with log.captured(), pytest.raises(NotReady):
        world.opens(world.keys[1])
    await world.settled()
    assert world.last.shelf is not shelf
    assert world.good() == set(range(1, 31))


async def test_a_shelf_that_cannot_be_made_is_tried_again_later(world: World) -> None:
    world.fails = [DatabaseError("no")]
    await world.make(30)
    with log.captured() as logs:
        await world.publisher.turn()
        assert world.snapshots == []
        await world.settled()
        assert len(world.good()) == 30
        world.fails = [OSError("full")]
        await world.revoke(*range(1, 7))
        await world.settled()
        await world.settled()
        assert (len(world.orders), len(world.good())) == (3, 24)
        assert [each.is_urgent for each in world.orders] == [True, True, False]
        world.clock += 60
        await world.settled()
    assert (len(world.orders), world.last.unshelved) == (4, frozenset())
    assert len(world.good()) == 24
    events = [entry["event"] for entry in logs if "_not_" in entry["event"]]
    assert events == ["catalog_not_read", "key_file_not_made"]


async def test_keys_of_another_master_key_are_none(world: World) -> None:
    await world.make(30)
    await world.make(3, pepper_id="other")
    with log.captured() as logs:
        await world.settled()
    assert world.good() == set(range(1, 31))
    told = [(e["reason"], e["count"]) for e in logs if e["event"] == "keys_skipped"]
    assert told == [("foreign", 3)]
    await world.change(1, groups={"lab": 1})
    await world.turn()
    assert world.good() == set(range(2, 31)), "what cannot be read opens nothing"


async def test_the_wrong_master_key_is_told_with_many_keys_too(world: World) -> None:
    await world.make(30, pepper_id="other")
    with log.captured() as logs:
        await world.settled()
        await world.turn()
    assert world.snapshots == []
    (told,) = [entry for entry in logs if entry["event"] == "catalog_not_read"]
    assert "another master key" in told["error"]


async def test_a_stock_remembers_whose_keys_are_foreign(world: World) -> None:
    """Not only when it reads them."""
    await world.make(2, pepper_id="other")
    stock = KeyStock(world.vault.pepper_id)

    async def foreign() -> int:
        async with world.db.read() as session:
            changes = await stock.read(session, await repository.revision(session))
        return stock.take(changes, lambda *_: None).foreign

    assert [await foreign(), await foreign()] == [2, 2]
    await world.revoke(1)
    assert await foreign() == 1
    await world.change(2, pepper_id=world.vault.pepper_id)
    assert await foreign() == 0


# --- in a process of its own


async def test_a_shelf_is_made_in_a_process_of_its_own(world: World) -> None:
    await world.make(20)
    (world.folder / "keys-0.sealed.new").touch()  # left by one that was killed
    given = order(world.db, world.folder, world.vault.pepper_id)
    made = await press_apart(given)
    assert (made.rows, made.last, made.count, made.foreign) == (20, 20, 20, 0)
    (left,) = world.folder.glob("keys-*")
    left.rename(world.folder / given.name)
    shelf = KeyFile(world.folder, made.info)
    assert all(shelf.find(world.vault.mac(key)) for key in world.keys.values())


async def test_it_says_why_it_failed_and_ends_with_who_asked(
    sqlite_url: str, vault: Vault, tmp_path: Path
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'none' / 'none.db'}")
    with pytest.raises(DatabaseError) as refused:
        await press_apart(order(db, tmp_path, vault.pepper_id))
    assert "unable to open database file" in refused.value.message
    task = asyncio.create_task(press_apart(order(Database(sqlite_url), tmp_path, vault.pepper_id)))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < SOON_S
