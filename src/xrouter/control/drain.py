"""From the journal to the database: usage events, each once however often it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Executable, Table
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.usage import UsageRow
from xrouter.domain.errors import XRouterError
from xrouter.domain.usage import UsageEvent
from xrouter.stores.journal.reader import JournalReader
from xrouter.telemetry.logs import log

LIMIT = 500
EVERY_S = 0.2
MOST_S = 5.0
_MAX_INT = 2**31 - 1


class Drain:
    """Moves events in batches: first the database commits, then the journal may forget."""

    def __init__(
        self, db: Database, reader: JournalReader, *, limit: int = LIMIT, every_s: float = EVERY_S
    ) -> None:
        self._db = db
        self._reader = reader
        self._limit = limit
        self._every_s = every_s
        self._insert = _insert(db.dialect)
        self._one_at_a_time = asyncio.Lock()

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
            else:
                if failing:
                    log.info("usage_drained_again")
                wait_s, failing = self._every_s, False
            if moved < self._limit:
                await asyncio.sleep(wait_s)

    async def drain_once(self) -> int:
        """Move one batch; the number of events in it. Raises DatabaseError, OSError."""
        async with self._one_at_a_time:
            batch = await asyncio.to_thread(self._reader.batch, self._limit)
            if batch.events:
                await self._store(batch.events)
            await asyncio.to_thread(self._reader.commit, batch.position)
            return len(batch.events)

    async def _store(self, events: Sequence[UsageEvent]) -> None:
        rows = [_row(event) for event in events]
        try:
            await self._write(rows)
        except DBAPIError as error:
            log.error("usage_batch_refused", error=str(error.orig), events=len(rows))
            await self._store_singly(rows)

    async def _store_singly(self, rows: Sequence[dict[str, Any]]) -> None:
        """One event must not hold up all others: what the database refuses goes to the log."""
        for row in rows:
            try:
                await self._write([row])
            except DBAPIError as error:
                log.error("usage_event_refused", error=str(error.orig), lost=row)

    async def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        async with self._db.write() as session:
            await (await session.connection()).execute(self._insert, rows)


def _insert(dialect: str) -> Executable:
    table = UsageRow.__table__
    assert isinstance(table, Table)  # noqa: S101 - declared as one
    make = postgresql_insert if dialect == "postgresql" else sqlite_insert
    return make(table).on_conflict_do_nothing(index_elements=["event_id"])


def _row(event: UsageEvent) -> dict[str, Any]:
    """The event with values that both databases take: no NUL in text, numbers in range."""
    return {name: _storable(value) for name, value in msgspec.structs.asdict(event).items()}


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-_MAX_INT, min(value, _MAX_INT))
    return value
