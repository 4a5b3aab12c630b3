"""What the publisher knows of the keys: a shelf of very many, and what has changed since.

A key that changes is stamped with the revision in which it does, so that only those above the last
revision are read. What is deleted leaves no stamp: for that the rows are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.publish.keys import GOOD, records
from xrouter.control.publish.press import Pressed
from xrouter.domain.identity import KeyRecord, KeyShelf
from xrouter.stores.key_file import KeyFile

FOREIGN = "API key made with another master key"
UNREADABLE = "API key held to what makes no sense"
NOTHING = -1
"""Lower than all revisions."""
_PART = 1000

Skip = Callable[[str, str], None]
"""Told the reason and the name of each row that is left out."""


class KeyChanges(Struct):
    """What was read of the keys. revision: up to which. revoked: numbers of rows.

    is_whole: all that there is beside the shelf, not only what has changed since the last time.
    """

    revision: int
    rows: list[Row[*tuple[Any, ...]]]
    revoked: Sequence[int]
    is_whole: bool


class Keys(Struct):
    """For the snapshot. known: how many are of this master key; foreign: how many are not.

    is_partial: new and changed keys are still to be read, only the revoked ones are up to date.
    """

    good: dict[bytes, KeyRecord]
    shelf: KeyShelf | None
    unshelved: frozenset[int]
    known: int
    foreign: int
    is_partial: bool = False


class KeyStock:
    """Belongs to one publisher, which reads, takes what was read, and reads again.

    awaits_shelf: so much has changed that it waits for a new shelf; until then only what was
    revoked is read. known: about how many good keys there were at the last time.
    """

    def __init__(self, pepper_id: str, most: int | None = None) -> None:
        """most: keys that are read, for who only wants to see some; None for all."""
        self.awaits_shelf = False
        self.known = 0
        self._pepper_id = pepper_id
        self._most = most
        self._shelf: KeyFile | None = None
        self._pressed: Pressed | None = None
        self._read_to = NOTHING
        self._held: dict[int, tuple[KeyRecord, ...]] = {}
        self._foreign: set[int] = set()

    @property
    def size(self) -> int:
        """How many rows are known beside the shelf."""
        return len(self._held)

    @property
    def has_shelf(self) -> bool:
        """Whether there is one."""
        return self._shelf is not None

    @property
    def is_damaged(self) -> bool:
        """Whether the shelf was found damaged."""
        return self._shelf is not None and self._shelf.is_damaged

    async def waiting(self, session: AsyncSession, revision: int, most: int) -> int:
        """How many good keys are to be read, counted up to `most`. revision: as for `read`."""
        self._follow(revision)
        if revision == self._read_to:
            return 0
        some = select(KeyRow.id).where(KeyRow.revision > self._read_to, KeyRow.revoked_at.is_(None))
        query = select(func.count()).select_from(some.limit(most).subquery())
        return (await session.scalars(query)).one()

    async def is_short(self, session: AsyncSession) -> bool:
        """Whether rows are gone that were there when the shelf was made."""
        return self._pressed is not None and await is_short(session, self._pressed)

    async def read(self, session: AsyncSession, revision: int) -> KeyChanges:
        """What has changed. revision: that the session sees; a lower one than the last begins anew.

        Of rows that are gone, those are missed that were there when the shelf was made.
        """
        self._follow(revision)
        if self.awaits_shelf:
            revoked = await _revoked(session, self._read_to)
            return KeyChanges(revision=self._read_to, rows=[], revoked=revoked, is_whole=False)
        changes = await self._since(session, self._read_to, revision)
        if not changes.is_whole and await self._is_off(session, changes):
            return await self._since(session, self._begins, revision)
        return changes

    def take(self, changes: KeyChanges, skip: Skip) -> Keys:
        """Know what was read. Rows of no sense are left out; so are those of another master key."""
        if changes.is_whole:
            self._held, self._foreign = {}, set()
        for row in changes.rows:
            self._held[row.id] = self._records(row, skip)
        for number in changes.revoked:
            self._held[number] = ()
            self._foreign.discard(number)
        self._read_to = changes.revision
        return self._keys()

    def adopt(self, pressed: Pressed, folder: Path) -> None:
        """Go on with a new shelf: what has changed since it was made is read next.

        Raises OSError, VaultError.
        """
        self._shelf, self._pressed = KeyFile(folder, pressed.info), pressed
        self._read_to = pressed.revision
        self._held, self._foreign = {}, set()

    def forget(self) -> None:
        """Go on without a shelf: all is read next."""
        self._shelf = self._pressed = None
        self._read_to = NOTHING

    @property
    def _begins(self) -> int:
        """The revision above which changes are held beside the shelf."""
        return NOTHING if self._pressed is None else self._pressed.revision

    @property
    def _last(self) -> int:
        """The last row that can be on the shelf."""
        return 0 if self._pressed is None else self._pressed.last

    def _follow(self, revision: int) -> None:
        """A database that was put back to an earlier state is another database."""
        if revision < self._read_to:
            self.forget()

    async def _since(self, session: AsyncSession, since: int, revision: int) -> KeyChanges:
        changed = KeyRow.revision > since
        rows: list[Row[*tuple[Any, ...]]] = []
        query = GOOD.where(changed).limit(self._most).execution_options(yield_per=_PART)
        result = await session.stream(query)
        async for part in result.partitions():  # others get their turn between them
            rows.extend(part)
        return KeyChanges(
            revision=revision,
            rows=rows,
            revoked=await _revoked(session, since),
            is_whole=since == self._begins,
        )

    async def _is_off(self, session: AsyncSession, changes: KeyChanges) -> bool:
        """Whether there are not as many rows beside the shelf as there should be."""
        known: set[int] = {*self._held, *(row.id for row in changes.rows), *changes.revoked}
        query = select(func.count()).select_from(KeyRow).where(KeyRow.id > self._last)
        there: int = (await session.scalars(query)).one()
        return there != sum(number > self._last for number in known)

    def _records(self, row: Row[Any], skip: Skip) -> tuple[KeyRecord, ...]:
        self._foreign.discard(row.id)
        if row.pepper_id != self._pepper_id:
            self._foreign.add(row.id)
            skip(FOREIGN, row.key_id)
            return ()
        try:
            return records(row)
        except ValueError as error:
            skip(f"{UNREADABLE}: {error}", row.key_id)
            return ()

    def _keys(self) -> Keys:
        good = {record.mac: record for held in self._held.values() for record in held}
        foreign, unshelved = len(self._foreign), frozenset[int]()
        self.known = len(good)
        if self._pressed is not None:
            unshelved = frozenset(number for number in self._held if number <= self._last)
            self.known += max(0, self._pressed.count - len(unshelved))
            foreign += self._pressed.foreign
        return Keys(good, self._shelf, unshelved, self.known, foreign, self.awaits_shelf)


async def is_short(session: AsyncSession, pressed: Pressed) -> bool:
    """Whether rows are gone that were there when a shelf was made. Reads an index."""
    query = select(func.count()).select_from(KeyRow).where(KeyRow.id <= pressed.last)
    there: int = (await session.scalars(query)).one()
    return there < pressed.rows  # more: those whose transactions were under way


async def _revoked(session: AsyncSession, since: int) -> Sequence[int]:
    query = select(KeyRow.id).where(KeyRow.revision > since, KeyRow.revoked_at.is_not(None))
    return (await session.scalars(query)).all()
