from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from tests.control.billing.conftest import NOON, Book, asked, charge
from typing_extensions import override

from xrouter.control.billing.closing import Months
from xrouter.control.billing.draw import Attempt, Drawn
from xrouter.control.billing.owners import Calendar
from xrouter.control.billing.taker import Charges
from xrouter.control.db.engine import Database
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.tables.billing import ClosedMonthRow
from xrouter.control.drain import Drain, Taker
from xrouter.domain.answer import Usage
from xrouter.domain.catalog import Price
from xrouter.domain.limits import Tenant
from xrouter.domain.money import (
    BILLION,
    MILLION,
    MOST_TOKENS,
    RUBLE,
    UNKNOWN,
    Charge,
    charge_of,
)
from xrouter.domain.usage import Tried, UsageEvent
from xrouter.stores.journal.reader import Batch, JournalReader
from xrouter.telemetry.logs import log


class Pages(JournalReader):
    """A journal of batches that are read again until they are committed."""

    def __init__(self, batches: Sequence[Sequence[UsageEvent]]) -> None:
        self.batches = [list(batch) for batch in batches]

    @override
    def batch(self, limit: int) -> Batch:
        events = self.batches[0] if self.batches else []
        return Batch(events, {Path("x"): 1} if events else {})

    @override
    def commit(self, position: dict[Path, int]) -> None:
        self.batches.pop(0)


async def drained(db: Database, batches: Sequence[Sequence[UsageEvent]], *more: Taker) -> None:
    drain = Drain(db, Pages(batches), takers=(Charges(), *more))
    while await drain.drain_once():
        pass


async def test_a_charge_is_a_row_and_an_even_transfer(book: Book) -> None:
    event = asked(700, end_user="u-1")
    await book.take(event)
    (row,) = await book.charges()
    assert (row.event_id, row.month, row.organization) == (event.event_id, "2026-01", "alfa")
    assert (row.project, row.key_id, row.end_user) == ("alfa-bot", "key_1", "u-1")
    assert (row.cost, row.margin, row.vat, row.total) == (700, 70, 154, 924)
    assert (row.currency, row.rate, row.price_id) == (RUBLE, BILLION, None)
    assert await book.balances() == {
        "project:alfa-bot": -924,
        "provider:acme": 700,
        "margin": 70,
        "vat": 154,
    }
    assert {line.transfer for line in await book.lines()} == {event.event_id}
    assert {(line.kind, line.author) for line in await book.lines()} == {("charge", "drain")}
    await book.check()


async def test_only_lines_that_are_not_zero_are_written(book: Book) -> None:
    await book.take(asked(charge=charge(5, None)))
    assert await book.balances() == {"project:alfa-bot": -5, "provider:acme": 5}


async def test_events_that_nobody_charges_for_leave_nothing(book: Book) -> None:
    await book.take(asked(None), asked(None))
    assert not await book.charges()


async def test_a_project_that_nobody_made_is_the_default_organisations(book: Book) -> None:
    await book.take(asked(project="ghost"), asked(project=None))
    assert {(row.organization, row.project) for row in await book.charges()} == {
        ("default", "ghost"),
        ("default", "default"),
    }
    await book.check()


async def test_the_month_is_the_organisations(book: Book, db: Database) -> None:
    last = 1_769_893_199.0  # 2026-01-31 23:59:59 in Moscow, 20:59:59 UTC
    await book.take(asked(at=last), asked(at=last + 1))
    assert sorted(row.month for row in await book.charges()) == ["2026-01", "2026-02"]
    async with db.write() as session:
        await session.execute(
            text("UPDATE organizations SET time_zone = 'Asia/Vladivostok' WHERE slug = 'alfa'")
        )
    await book.take(asked(at=last - 6 * 3600, event_id="Z"))
    assert (await book.charges())[-1].month == "2026-02"


async def test_what_comes_late_is_booked_in_the_first_open_month(book: Book, db: Database) -> None:
    """Of its own organisation; charges keep the moment at which they were made."""
    async with db.write() as session:
        for owner, month in (("alfa", "2026-01"), ("alfa", "2026-02"), ("default", "2026-01")):
            closed = {"organization": owner, "month": month, "author": "a"}
            session.add(ClosedMonthRow(**closed, total=0, requests=0))
    alfa = asked(event_id="1")
    ghost = asked(event_id="2", project="ghost")
    later = asked(event_id="3", at=NOON + 60 * 86_400)
    early = asked(event_id="4", at=NOON - 31 * 86_400)
    await book.take(alfa, ghost, later, early)
    rows = {row.event_id: (row.month, row.at) for row in await book.charges()}
    assert rows == {
        "1": ("2026-03", alfa.at),
        "2": ("2026-02", ghost.at),
        "3": ("2026-03", later.at),
        "4": ("2026-03", early.at),
    }
    zone = ZoneInfo("Europe/Moscow")
    begins = {line.transfer: line.at for line in await book.lines()}
    assert begins == {
        "1": datetime(2026, 3, 1, tzinfo=zone).timestamp(),
        "2": datetime(2026, 2, 1, tzinfo=zone).timestamp(),
        "3": later.at,
        "4": datetime(2026, 3, 1, tzinfo=zone).timestamp(),
    }
    await book.check()


def test_plain_charges_become_what_all_others_do() -> None:
    """They go a shorter way."""
    rng = random.Random(5)
    amounts = [0, 1, 700, 10**17]
    events = []
    for _ in range(300):
        cost, margin, vat = (rng.choice(amounts) for _ in range(3))
        given = Charge(
            cost=cost,
            margin=margin,
            vat=vat,
            total=cost + margin + vat,
            currency=RUBLE,
            rate=rng.choice([None, BILLION]),
            is_estimated=rng.random() < 0.5,
        )
        provider = rng.choice(["acme", "other", None])
        events.append(asked(charge=given, provider=provider, at=NOON + rng.uniform(-4e6, 4e6)))
    owner = Tenant(project="alfa-bot", organization="alfa", time_zone="Europe/Moscow")
    month = Calendar({"alfa": {"2026-01"}})
    drawn = {("another", 1): Drawn(1, 1, {})}  # makes all of them take the longer way

    def booked(drawn: dict[Attempt, Drawn]) -> object:
        return Charges()._booked(events, {"alfa-bot": owner}, month, drawn)

    assert booked({}) == booked(drawn)


@pytest.mark.parametrize("at", [-1e18, 1e18, 0.0])
async def test_a_clock_that_is_wrong_is_not_the_end(book: Book, at: float) -> None:
    await book.take(asked(at=at))
    await book.check()


async def test_an_unknown_price_is_told_once_an_hour(book: Book) -> None:
    now = [0.0]
    book.taker = Charges(lambda: now[0])
    with log.captured() as logged:
        await book.take(*(asked(charge=UNKNOWN) for _ in range(3)))
        now[0] = 3599.0
        await book.take(asked(charge=UNKNOWN))
        now[0] = 3601.0
        await book.take(asked(charge=UNKNOWN))
    told = [(line["event"], line["model"], line["requests"]) for line in logged]
    assert told == [("price_unknown", "acme/one", 1), ("price_unknown", "acme/one", 4)]
    assert {(row.total, row.rate) for row in await book.charges()} == {(0, None)}
    assert not await book.lines()


async def test_what_no_account_can_hold_is_not_charged(book: Book) -> None:
    with log.captured() as logged:
        await book.take(asked(charge=Charge(cost=2**80, total=2**80, rate=1)), asked(7))
    assert logged[0]["event"] == "charge_too_large"
    assert (await book.balances())["project:alfa-bot"] == -10
    await book.check()


@pytest.mark.parametrize("seed", range(4))
async def test_however_batches_come_every_event_counts_once(
    book: Book, db: Database, seed: int
) -> None:
    """E04, E05: batches are cut, repeated, overlap, come to two drains; some are refused."""
    rng = random.Random(seed)
    events = [
        asked(
            rng.choice([None, 0, 1, rng.randrange(10**6), 10**17]),
            project=rng.choice(["alfa-bot", "ghost", None]),
            at=NOON + rng.uniform(-4e6, 4e6),
        )
        for _ in range(60)
    ]
    broken = {event.event_id for event in rng.sample(events, 5)}
    for event in events:
        if event.event_id in broken:
            event.request_id = None  # type: ignore[assignment] # is refused, and its batch
    batches = [rng.sample(events, rng.randrange(1, 30)) for _ in range(8)]
    await drained(db, [*batches, events])
    await drained(db, [events])
    await book.check()
    wanted = {e.event_id: e.charge for e in events if e.charge and e.event_id not in broken}
    assert {row.event_id: row.total for row in await book.charges()} == {
        event_id: each.total for event_id, each in wanted.items()
    }


async def test_a_batch_that_fails_half_way_leaves_nothing(book: Book, db: Database) -> None:
    """E04: charges, lines and events are one transaction."""

    class Fails(Taker):
        times = 1

        @override
        async def take(self, session: AsyncSession, events: Sequence[UsageEvent]) -> None:
            if self.times:
                self.times -= 1
                raise ConnectionResetError("gone")

    drain = Drain(db, Pages([[asked(), asked()]]), takers=(Charges(), Fails()))
    with pytest.raises(Exception, match="gone"):
        await drain.drain_once()
    assert not await book.charges()
    assert not await book.lines()
    await drain.drain_once()
    assert len(await book.charges()) == 2
    await book.check()


async def test_attempts_that_failed_are_one_charge(book: Book) -> None:
    """E06: two failures and an answer."""
    failed = tuple(Tried("acme", "main", "acme/one", "v1", "upstream_error") for _ in range(2))
    await book.take(asked(700, attempts=3, tried=failed))
    assert [row.cost for row in await book.charges()] == [700]
    await book.check()


async def test_a_kept_answer_is_a_request_that_costs_nothing(book: Book) -> None:
    """E07."""
    await book.take(asked(charge=Charge(currency=RUBLE, rate=BILLION), cached=True))
    assert [(row.total, row.rate) for row in await book.charges()] == [(0, BILLION)]
    assert not await book.lines()


async def test_small_amounts_add_up_without_drift(book: Book) -> None:
    """E17: 10,000 requests of 0.0000017."""
    for _ in range(10):
        await book.take(*(asked(charge=charge(1700, None)) for _ in range(1000)))
    assert (await book.balances())["project:alfa-bot"] == -17_000_000
    await book.check()


async def test_usage_without_sense_is_bounded(book: Book) -> None:
    """E09: a provider says that it has used less than nothing, or everything."""
    price = Price(currency=RUBLE, input=BILLION, output=BILLION)
    for prompt, answer in ((-(10**9), -1), (10**15, 2**70)):
        usage = Usage(prompt_tokens=prompt, completion_tokens=answer)
        await book.take(asked(charge=charge_of(usage, price, {}), tokens_in=prompt))
    costs = sorted(row.cost for row in await book.charges())
    assert costs == [0, 2 * MOST_TOKENS * BILLION // MILLION]
    await book.check()


async def test_a_commit_of_which_nobody_hears_counts_once(
    book: Book, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E05: the connection drops before the reply. E04: killed before the journal forgets."""

    write = db.write

    @asynccontextmanager
    async def deaf() -> AsyncIterator[AsyncSession]:
        async with write() as session:
            yield session
        raise DatabaseError("The connection dropped.")

    class Killed(Pages):
        @override
        def commit(self, position: dict[Path, int]) -> None:
            raise KeyboardInterrupt

    events = [asked(), asked()]
    with monkeypatch.context() as patched:
        patched.setattr(db, "write", deaf)
        with pytest.raises(DatabaseError):
            await Drain(db, Pages([events]), takers=(Charges(),)).drain_once()
    with pytest.raises(KeyboardInterrupt):
        await Drain(db, Killed([events]), takers=(Charges(),)).drain_once()
    await drained(db, [events])
    assert len(await book.charges()) == 2
    assert (await book.balances())["project:alfa-bot"] == -2 * 924
    await book.check()


async def test_no_charge_slips_into_a_month_while_it_is_closed(book: Book, db: Database) -> None:
    async with db.write() as session:
        await book.taker.take(session, [asked(700)])
        closing = asyncio.create_task(Months(db).close("alfa", "2026-01"))
        done, _ = await asyncio.wait([closing], timeout=0.2)
        assert not done, "it waits for whoever charges"
    assert (await closing).requests == 1
