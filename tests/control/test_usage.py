from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession
from tests.control.conftest import Api
from tests.services.postgres import Postgres
from typing_extensions import override

from xrouter.control.db.engine import Database
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.drain import Drain, Taker
from xrouter.domain.usage import Tried, UsageEvent, new_id
from xrouter.stores.journal import reader as journal_reader
from xrouter.stores.journal.reader import JournalReader
from xrouter.stores.journal.writer import JournalWriter
from xrouter.telemetry.logs import log

DAY = 86400
TAKEN = {"charge", "end_user"}
"""Fields that are stored by takers alone."""
NOON = 1_767_355_200.0
"""2026-01-02 12:00 UTC."""


def happened(at: float = NOON, **more: Any) -> UsageEvent:
    given: dict[str, Any] = {
        "event_id": new_id("evt_"),
        "request_id": new_id("req_"),
        "at": at,
        "operation": "chat",
        "status": 200,
        "model_served": "acme/one",
        "provider": "acme",
        "key_id": "key_1",
        "tokens_in": 10,
        "tokens_out": 5,
    }
    return UsageEvent(**{**given, **more})


@pytest.fixture
def journal(tmp_path: Path) -> JournalWriter:
    return JournalWriter(tmp_path / "journal")


@pytest.fixture
async def drain(db: Database, journal: JournalWriter, tmp_path: Path) -> AsyncIterator[Drain]:
    yield Drain(db, JournalReader(tmp_path / "journal"), every_s=0.01)
    journal.close()


async def stored(db: Database) -> int:
    async with db.read() as session:
        found: int = (await session.scalars(text("SELECT count(*) FROM usage_events"))).one()
    return found


async def test_the_table_has_every_field_of_an_event() -> None:
    fields = {field.name for field in msgspec.structs.fields(UsageEvent)}
    assert set(UsageRow.__table__.columns.keys()) == fields - TAKEN


async def test_events_reach_the_database_as_they_were(
    api: Api, drain: Drain, journal: JournalWriter
) -> None:
    events = [
        happened(
            first_token_ms=12.5,
            total_ms=99.25,
            streamed=True,
            tokens_cached=3,
            tokens_reasoning=2,
            tokens_estimated=True,
            version="v1",
            finish_reason="stop",
            upstream_model="one@v1",
            route="bot",
            reason="priority",
            cached=True,
            build="one:7",
            tried=(Tried("p", "e", "p/one", "v1", "upstream_error", 1.5),),
        ),
        happened(status=502, outcome="error", error_code="upstream_error", model_served=None),
    ]
    for item in events:
        journal.append(item)
    assert await drain.drain_once() == 2
    assert await drain.drain_once() == 0
    found = {item["event_id"]: item for item in (await api.ask("GET", "/usage"))["data"]}
    assert found == {item.event_id: _whole(item) for item in events}


def _whole(event: UsageEvent) -> dict[str, Any]:
    values = msgspec.structs.asdict(event) | {"tried": list(msgspec.to_builtins(event.tried))}
    return {name: value for name, value in values.items() if name not in TAKEN}


async def test_an_event_read_twice_counts_once(
    db: Database, journal: JournalWriter, tmp_path: Path
) -> None:
    for _ in range(7):
        journal.append(happened())
    for _ in range(3):
        fresh = Drain(db, JournalReader(tmp_path / "journal"))
        assert await fresh.drain_once() == 7
        assert await stored(db) == 7
    journal.close()


async def test_a_crash_between_the_insert_and_the_commit_of_the_position(
    db: Database, journal: JournalWriter, tmp_path: Path
) -> None:
    class Crashing(JournalReader):
        @override
        def commit(self, position: dict[Path, int]) -> None:
            raise KeyboardInterrupt(position)

    journal.append(happened())
    with pytest.raises(KeyboardInterrupt):
        await Drain(db, Crashing(tmp_path / "journal")).drain_once()
    assert await stored(db) == 1
    journal.append(happened())
    journal.close()
    assert await Drain(db, JournalReader(tmp_path / "journal")).drain_once() == 2
    assert await stored(db) == 2
    assert list((tmp_path / "journal").iterdir()) == []


async def test_a_failed_insert_leaves_the_position(
    db: Database, drain: Drain, journal: JournalWriter
) -> None:
    journal.append(happened())

    def refuse(*_: object) -> None:
        raise ConnectionResetError("gone")

    event.listen(db._writer.sync_engine, "commit", refuse)
    with pytest.raises(DatabaseError):
        await drain.drain_once()
    event.remove(db._writer.sync_engine, "commit", refuse)
    assert await stored(db) == 0
    assert await drain.drain_once() == 1
    assert await stored(db) == 1


async def test_batches_are_bounded_and_run_moves_them_all(
    db: Database, journal: JournalWriter, tmp_path: Path
) -> None:
    drain = Drain(db, JournalReader(tmp_path / "journal"), limit=10, every_s=0.01)
    for _ in range(25):
        journal.append(happened())
    assert await drain.drain_once() == 10
    task = asyncio.create_task(drain.run())
    try:
        async with asyncio.timeout(30):
            while await stored(db) < 25:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        journal.close()


async def test_a_backlog_is_not_waited_with(
    db: Database, journal: JournalWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read at once may be less than a batch."""
    monkeypatch.setattr(journal_reader, "READ_BYTES", 1000)
    monkeypatch.setattr(journal_reader, "BATCH_BYTES", 3000)
    for _ in range(60):
        journal.append(happened())
    drain = Drain(db, JournalReader(tmp_path / "journal"), every_s=3600)
    task = asyncio.create_task(drain.run())
    try:
        async with asyncio.timeout(30):
            while await stored(db) < 60:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        journal.close()


async def test_numbers_out_of_range_leave_the_others_as_they_were(
    db: Database, drain: Drain, journal: JournalWriter
) -> None:
    events = [happened(), happened(tokens_in=2**40, tokens_out=-(2**40)), happened()]
    for each in events:
        journal.append(each)
    assert await drain.drain_once() == 3
    async with db.read() as session:
        query = text("SELECT event_id, tokens_in, tokens_out FROM usage_events")
        found = {row[0]: tuple(row[1:]) for row in await session.execute(query)}
    most = 2**31 - 1
    assert [found[each.event_id] for each in events] == [(10, 5), (most, -most), (10, 5)]


async def test_nothing_is_lost_while_the_database_is_away(
    postgres: Postgres, postgres_url: str, journal: JournalWriter, tmp_path: Path
) -> None:
    db = Database(postgres_url)
    drain = Drain(db, JournalReader(tmp_path / "journal"), every_s=0.01)
    journal.append(happened())
    assert await drain.drain_once() == 1
    with log.captured() as logs:
        postgres.stop()
        task = asyncio.create_task(drain.run())
        try:
            for _ in range(50):
                journal.append(happened())
            async with asyncio.timeout(30):
                while not logs:
                    await asyncio.sleep(0.01)
        finally:
            postgres.start()
        async with asyncio.timeout(60):
            while await _stored_or_none(db) != 51:
                await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    journal.close()
    await db.close()
    assert [entry["event"] for entry in logs] == ["usage_not_drained", "usage_drained_again"]


async def _stored_or_none(db: Database) -> int | None:
    try:
        return await stored(db)
    except DatabaseError:
        return None


async def test_odd_values_do_not_block_the_journal(
    db: Database, drain: Drain, journal: JournalWriter
) -> None:
    journal.append(happened(finish_reason="a\x00b", tokens_in=2**70, tokens_out=-(2**70)))
    journal.append(happened())
    assert await drain.drain_once() == 2
    assert await stored(db) == 2


async def test_an_event_the_database_refuses_does_not_hold_up_the_others(
    db: Database, drain: Drain, journal: JournalWriter
) -> None:
    refusal = (
        "CREATE TRIGGER refuse BEFORE INSERT ON usage_events WHEN NEW.operation = 'bad' "
        "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        if db.dialect == "sqlite"
        else "ALTER TABLE usage_events ADD CHECK (operation <> 'bad')"
    )
    async with db.write() as session:
        await session.execute(text(refusal))
    for operation in ("chat", "bad", "chat"):
        journal.append(happened(operation=operation))
    with log.captured() as logs:
        assert await drain.drain_once() == 3
    assert await stored(db) == 2
    lost = [entry["lost"] for entry in logs if entry["event"] == "usage_event_refused"]
    assert [row["operation"] for row in lost] == ["bad"]


class Notes(Taker):
    """Writes down whom it was given; fails when it is told to."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None

    @override
    async def take(self, session: AsyncSession, events: Sequence[UsageEvent]) -> None:
        for item in events:
            await session.execute(text("INSERT INTO notes VALUES (:id)"), {"id": item.event_id})
        if self.failure is not None:
            raise self.failure


@pytest.fixture
async def notes(db: Database) -> Notes:
    async with db.write() as session:
        await session.execute(text("CREATE TABLE notes (id text)"))
    return Notes()


async def noted(db: Database) -> list[str]:
    async with db.read() as session:
        return sorted(await session.scalars(text("SELECT id FROM notes")))


async def test_takers_see_each_event_once_whatever_is_read_again(
    db: Database, notes: Notes, journal: JournalWriter, tmp_path: Path
) -> None:
    """A server that starts again reads the whole open segment, in several batches."""
    events = [happened() for _ in range(7)]
    for item in events[:5]:
        journal.append(item)
    folder = tmp_path / "journal"
    drains = [Drain(db, JournalReader(folder), takers=[notes], limit=each) for each in (99, 2, 3)]
    for drain in drains:
        while await drain.drain_once():
            pass
        assert await noted(db) == sorted(item.event_id for item in events[:5])
    for item in events[5:]:
        journal.append(item)
        assert await drains[-1].drain_once() == 1
    assert await noted(db) == sorted(item.event_id for item in events)
    journal.close()


async def test_takers_after_a_crash_and_after_a_failure(
    db: Database, notes: Notes, journal: JournalWriter, tmp_path: Path
) -> None:
    class Crashing(JournalReader):
        crashes = 0

        @override
        def commit(self, position: dict[Path, int]) -> None:
            self.crashes -= 1
            if not self.crashes:
                raise OSError("no")
            super().commit(position)

    reader = Crashing(tmp_path / "journal")
    drain = Drain(db, reader, takers=[notes])
    events = [happened() for _ in range(6)]
    for item in events[:2]:
        journal.append(item)
        await drain.drain_once()
    journal.append(events[2])
    reader.crashes = 1
    with pytest.raises(OSError, match="no"):
        await drain.drain_once()
    journal.append(events[3])
    assert await drain.drain_once() == 2
    journal.append(events[4])
    notes.failure = KeyError("defect")
    with pytest.raises(KeyError):
        await drain.drain_once()
    assert await stored(db) == 4
    notes.failure = None
    journal.append(events[5])
    assert await drain.drain_once() == 2
    assert await noted(db) == sorted(item.event_id for item in events)
    assert await stored(db) == 6
    journal.close()


async def test_takers_are_not_told_of_what_the_database_refuses(
    db: Database, notes: Notes, journal: JournalWriter, tmp_path: Path
) -> None:
    unique = "CREATE UNIQUE INDEX one_of_each ON usage_events (operation)"
    async with db.write() as session:
        await session.execute(text(unique))
    drain = Drain(db, JournalReader(tmp_path / "journal"), takers=[notes])
    events = [happened(operation=name) for name in ("a", "b", "a", "c")]
    for item in events:
        journal.append(item)
    with log.captured():
        assert await drain.drain_once() == 4
    assert await noted(db) == sorted(events[n].event_id for n in (0, 1, 3))
    journal.close()


async def test_an_event_that_the_database_has_after_all_counts_once(
    db: Database, notes: Notes, journal: JournalWriter, tmp_path: Path
) -> None:
    """Not what happens, but what must not count twice."""
    drain = Drain(db, JournalReader(tmp_path / "journal"), takers=[notes])
    known, new = happened(), happened()
    for batch in ([], [known], [known, new]):
        for item in batch:
            journal.append(item)
        with log.captured():
            await drain.drain_once()
    assert await noted(db) == sorted([known.event_id, new.event_id])
    assert await stored(db) == 2
    journal.close()


async def test_a_defect_does_not_end_the_draining(
    db: Database, notes: Notes, journal: JournalWriter, tmp_path: Path
) -> None:
    drain = Drain(db, JournalReader(tmp_path / "journal"), takers=[notes], every_s=0.01)
    notes.failure = KeyError("defect")
    journal.append(happened())
    with log.captured() as logs:
        task = asyncio.create_task(drain.run())
        async with asyncio.timeout(30):
            while not logs:
                await asyncio.sleep(0.01)
            notes.failure = None
            while not await noted(db):
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    journal.close()
    assert logs[0]["event"] == "drain_defect"
    assert len(await noted(db)) == 1


async def fill(drain: Drain, journal: JournalWriter, *events: UsageEvent) -> None:
    for item in events:
        journal.append(item)
    while await drain.drain_once():
        pass


async def test_events_are_listed_newest_first_in_pages(
    api: Api, drain: Drain, journal: JournalWriter
) -> None:
    events = [happened(NOON + number // 2) for number in range(7)]
    await fill(drain, journal, *events)
    wanted = [e.event_id for e in sorted(events, key=lambda e: (e.at, e.event_id), reverse=True)]
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = await api.ask("GET", "/usage", params={"limit": 3, **after})
        found += [item["event_id"] for item in page["data"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert found == wanted
    error = await api.error("GET", "/usage", params={"after": "evt_no"}, status=400)
    assert error["param"] == "after"


async def test_events_are_found_by_model_key_and_time(
    api: Api, drain: Drain, journal: JournalWriter
) -> None:
    failed = {"model_served": None, "model_requested": "acme/two", "outcome": "error"}
    a = happened(NOON)
    b = happened(NOON + 60, key_id="key_2", model_served="acme/two", model_requested="x")
    c = happened(NOON + 120, **failed)
    await fill(drain, journal, a, b, c)
    names = {a.event_id: "a", b.event_id: "b", c.event_id: "c"}

    async def found(**query: Any) -> str:
        data = (await api.ask("GET", "/usage", params=query))["data"]
        return "".join(names[item["event_id"]] for item in data)

    assert await found() == "cba"
    assert await found(model="acme/two") == "cb"
    assert await found(model="acme/one") == "a"
    assert await found(key_id="key_1") == "ca"
    assert await found(since=NOON + 60) == "cb"
    assert await found(until=NOON + 60) == "a"
    assert await found(since="2026-01-02T15:01:00+03:00", until="2026-01-02T12:02:00Z") == "b"
    for wrong in ({"since": "yesterday"}, {"until": "2026-01-02T12:00:00"}):
        error = await api.error("GET", "/usage", params=wrong, status=400)
        assert error["param"] in wrong


async def test_usage_is_summed(api: Api, drain: Drain, journal: JournalWriter) -> None:
    failed = {"model_served": None, "model_requested": "acme/two", "provider": None}
    await fill(
        drain,
        journal,
        happened(NOON, tokens_cached=4, tokens_reasoning=1),
        happened(NOON + 43199, key_id="key_2"),
        happened(NOON + 43201, outcome="cancelled", tokens_out=1),
        happened(NOON - DAY, **failed, outcome="error", tokens_in=0, tokens_out=0, key_id=None),
    )

    async def summary(group_by: str, **query: Any) -> dict[str | None, tuple[int, ...]]:
        params = {"group_by": group_by, **query}
        answer = await api.ask("GET", "/usage/summary", params=params)
        assert answer["group_by"] == [group_by]
        shown = ("requests", "errors", "cancelled", "tokens_in", "tokens_out", "tokens_cached")
        return {
            row["group"][group_by]: tuple(row[name] for name in (*shown, "tokens_reasoning"))
            for row in answer["data"]
        }

    # requests, errors, cancelled, tokens in, out, cached, reasoning
    assert await summary("model") == {
        "acme/one": (3, 0, 1, 30, 11, 4, 1),
        "acme/two": (1, 1, 0, 0, 0, 0, 0),
    }
    assert await summary("key") == {
        "key_1": (2, 0, 1, 20, 6, 4, 1),
        "key_2": (1, 0, 0, 10, 5, 0, 0),
        None: (1, 1, 0, 0, 0, 0, 0),
    }
    assert (await summary("provider"))["acme"][0] == 3
    days = await summary("day")
    assert list(days) == ["2026-01-03", "2026-01-02", "2026-01-01"]
    assert [numbers[0] for numbers in days.values()] == [1, 2, 1]
    assert list(await summary("day", since=NOON, until=NOON + 43200)) == ["2026-01-02"]
    error = await api.error("GET", "/usage/summary", params={"group_by": "mood"}, status=400)
    assert error["param"] == "group_by[0]"
