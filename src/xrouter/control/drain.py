"""From the journal to the database: usage events, each once however often it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
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
_FIELDS = UsageEvent.__struct_fields__

Values = tuple[Any, ...]


class Drain:
    """Moves events in batches: first the database commits, then the journal may forget."""

    def __init__(
        self, db: Database, reader: JournalReader, *, limit: int = LIMIT, every_s: float = EVERY_S
    ) -> None:
        self._db = db
        self._reader = reader
        self._limit = limit
        self._every_s = every_s
        self._statement = _statement(db.dialect)
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

    async def _store_singly(self, rows: list[Values]) -> None:
        """One event must not hold up all others: what the database refuses goes to the log."""
        for row in rows:
            try:
                await self._write([row])
            except DBAPIError as error:
                log.error(
                    "usage_event_refused",
                    error=str(error.orig),
                    lost=dict(zip(_FIELDS, row, strict=True)),
                )

    async def _write(self, rows: list[Values]) -> None:
        async with self._db.write() as session:
            await (await session.connection()).exec_driver_sql(self._statement, rows)


def _statement(dialect: str) -> str:
    """Written out, for the driver itself: building it for each row costs more than the row."""
    marks = [f"${n}" if dialect == "postgresql" else "?" for n in range(1, len(_FIELDS) + 1)]
    return (
        f"INSERT INTO {UsageRow.__tablename__} ({', '.join(_FIELDS)}) "  # noqa: S608 - our names
        f"VALUES ({', '.join(marks)}) ON CONFLICT (event_id) DO NOTHING"
    )


def _row(event: UsageEvent) -> Values:
    """The event with values that both databases take: no NUL in text, numbers in range."""
    values = (*msgspec.structs.astuple(event)[:-1], msgspec.json.encode(event.tried).decode())
    if all(map(_fits, values)):
        return values
    return tuple(_storable(value) for value in values)


def _fits(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return "\x00" not in value
    return kind is not int or -_MAX_INT <= value <= _MAX_INT


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-_MAX_INT, min(value, _MAX_INT))
    return value
