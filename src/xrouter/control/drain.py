"""From the journal to the database: usage events, each once however often it is read."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.kit.bulk import Bulk, Finder
from xrouter.domain.errors import XRouterError
from xrouter.domain.usage import UsageEvent
from xrouter.stores.journal.reader import Batch, JournalReader
from xrouter.telemetry.logs import log

LIMIT = 2000
"""Of one transaction: pages that many events touch are written once. Takers work through as many
without a pause.
"""

EVERY_S = 1.0
"""When nothing more was there: an event is safe in the journal meanwhile."""

MOST_S = 5.0
_MAX_INT = 2**31 - 1
_FIELDS = UsageEvent.__struct_fields__
_NOT_KEPT = ("charge", "end_user")
"""Fields that takers alone take in."""
_COUNTED = ("tokens_in", "tokens_out", "tokens_cached", "tokens_reasoning")
_TOKENS = itemgetter(*(place for place, name in enumerate(_FIELDS) if name in _COUNTED))
_ROWS = Bulk(
    UsageRow,
    [None if name in _NOT_KEPT else name for name in _FIELDS],
    made={"tried": lambda tried: msgspec.json.encode(tried).decode() if tried else "[]"},
)

_KNOWN = Finder(UsageRow, "event_id", ["event_id"])

Values = tuple[Any, ...]


class Taker(ABC):
    """Takes in what events tell, in the transaction that stores them: each event once.

    Several processes do it at once: rows must be written in an order that all of them keep.
    """

    @abstractmethod
    async def take(self, session: AsyncSession, events: Sequence[UsageEvent]) -> None:
        """Nothing of it may be taken for granted before the transaction is committed."""


class Drain:
    """Moves events in batches: first the database commits, then the journal may forget.

    What was committed but not forgotten is read again after a failure or a restart: until all that
    is there has come through, the database is asked which events it has.
    """

    def __init__(
        self,
        db: Database,
        reader: JournalReader,
        *,
        takers: Sequence[Taker] = (),
        limit: int = LIMIT,
        every_s: float = EVERY_S,
    ) -> None:
        self._db = db
        self._reader = reader
        self._takers = takers
        self._limit = limit
        self._every_s = every_s
        self._one_at_a_time = asyncio.Lock()
        self._all_new = self._has_more = False

    async def run(self) -> None:
        """Until cancelled. Failures are logged once and tried again, ever more slowly."""
        wait_s, failing = self._every_s, False
        while True:
            try:
                moved = await self.drain_once()
            except (XRouterError, SQLAlchemyError, OSError) as error:
                if not failing:
                    log.error("usage_not_drained", error=str(error) or type(error).__name__)
                failing, moved = True, 0
                wait_s = min(wait_s * 2, MOST_S)
            except Exception:  # noqa: BLE001 - a defect must not end the job
                if not failing:
                    log.exception("drain_defect")
                failing, moved = True, 0
                wait_s = min(wait_s * 2, MOST_S)
            else:
                if failing:
                    log.info("usage_drained_again")
                wait_s, failing = self._every_s, False
            if not moved or not self._has_more:
                await asyncio.sleep(wait_s)

    async def drain_once(self) -> int:
        """Move one batch; the number of events in it. Raises DatabaseError, OSError."""
        async with self._one_at_a_time:
            batch = await asyncio.to_thread(self._reader.batch, self._limit)
            self._has_more = not batch.whole
            if batch.position:
                all_new, self._all_new = self._all_new, False
                if batch.events:
                    await self._store(batch, all_new=all_new)
                await asyncio.to_thread(self._reader.commit, batch.position)
                self._all_new = all_new or batch.whole
            return len(batch.events)

    async def _store(self, batch: Batch, *, all_new: bool) -> None:
        events: Sequence[UsageEvent] = batch.events
        if batch.odd:
            events = [_storable(event) if _is_odd(event) else event for event in events]
        try:
            await self._write(events, all_new=all_new)
        except DBAPIError as error:
            log.error("usage_batch_refused", error=str(error.orig), events=len(events))
            await self._store_singly(events)

    async def _store_singly(self, events: Sequence[UsageEvent]) -> None:
        """One event must not hold up all others: what the database refuses goes to the log."""
        for event in events:
            try:
                await self._write([event], all_new=False)
            except DBAPIError as error:
                log.error(
                    "usage_event_refused",
                    error=str(error.orig),
                    lost=msgspec.to_builtins(event),
                )

    async def _write(self, events: Sequence[UsageEvent], *, all_new: bool) -> None:
        async with self._db.write() as session:
            new = events if all_new else await _missing(session, events)
            if not new:
                return
            await _ROWS.write(session, _rows(new))
            for taker in self._takers:
                await taker.take(session, new)


async def _missing(session: AsyncSession, events: Sequence[UsageEvent]) -> Sequence[UsageEvent]:
    """The events that the database has not, each once."""
    by_id = {event.event_id: event for event in events}
    for (event_id,) in await _KNOWN.find(session, by_id):
        del by_id[event_id]
    return list(by_id.values())


def _rows(events: Sequence[UsageEvent]) -> list[Values]:
    """The values of events, numbers that both databases take among them."""
    rows = list(map(msgspec.structs.astuple, events))
    tokens = list(chain.from_iterable(map(_TOKENS, rows)))
    if max(tokens) > _MAX_INT or min(tokens) < -_MAX_INT:
        return [msgspec.structs.astuple(_storable(event)) for event in events]
    return rows


def _is_odd(event: UsageEvent) -> bool:
    values = msgspec.structs.astuple(event)
    return any(type(value) is str and "\x00" in value for value in values)


def _storable(event: UsageEvent) -> UsageEvent:
    """The event with values that both databases take: no NUL in text, numbers in range."""
    odd = {name: _fitting(getattr(event, name)) for name in _FIELDS}
    return msgspec.structs.replace(event, **odd)


def _fitting(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-_MAX_INT, min(value, _MAX_INT))
    return value
