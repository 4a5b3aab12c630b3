"""Requests of which more than one attempt may be charged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import select
from tests.control.billing.conftest import ALFA, Book, asked, charge
from tests.control.billing.test_packages import bought, left
from tests.control.billing.test_taker import Pages
from tests.control.conftest import Api

from xrouter.control.billing.taker import Charges
from xrouter.control.db.tables.billing import ChargeAttemptRow
from xrouter.control.drain import Drain
from xrouter.domain.money import BILLION, FREE, Charge, Part, on_top
from xrouter.domain.usage import UsageEvent
from xrouter.telemetry.logs import log

FIRST = Part(
    provider="other",
    endpoint="far",
    model="other/two",
    version="v2",
    tokens_in=8,
    tokens_out=2,
    cost=300,
    currency="USD",
    rate=80 * BILLION,
    price_id=5,
    is_estimated=True,
    calls=3,
    upstream_ids=("far-1", "far-2"),
)
LAST = Part(
    provider="acme",
    endpoint="main",
    model="acme/one",
    version="v1",
    tokens_in=10,
    tokens_out=5,
    cost=700,
    currency="RUB",
    rate=BILLION,
    price_id=6,
)


def of(*parts: Part, **more: Any) -> UsageEvent:
    cost = sum(part.cost for part in parts)
    margin, vat = on_top(cost, ALFA)
    shown = parts[-1]
    made = Charge(
        cost=cost,
        margin=margin,
        vat=vat,
        total=cost + margin + vat,
        currency=shown.currency,
        rate=shown.rate,
        price_id=shown.price_id,
        is_estimated=any(part.is_estimated for part in parts),
        parts=parts,
    )
    return asked(charge=made, **more)


async def attempts(book: Book) -> Sequence[ChargeAttemptRow]:
    query = select(ChargeAttemptRow).order_by(ChargeAttemptRow.event_id, ChargeAttemptRow.number)
    async with book.db.read() as session:
        return (await session.scalars(query)).all()


def values(row: ChargeAttemptRow) -> Part:
    found = {name: getattr(row, name) for name in Part.__struct_fields__ if name != "tokens_cached"}
    found["upstream_ids"] = tuple((row.upstream_ids or "").split())
    return Part(**found)


async def test_each_attempt_is_a_row_and_its_providers_line(book: Book) -> None:
    event = of(FIRST, LAST)
    await book.take(event)
    await book.take(event)
    rows = await attempts(book)
    assert [(row.event_id, row.number) for row in rows] == [(event.event_id, n) for n in (1, 2)]
    assert [values(row) for row in rows] == [FIRST, LAST]
    (row,) = await book.charges()
    assert (row.cost, row.provider, row.price_id, row.is_estimated) == (1000, "acme", 6, True)
    balances = await book.balances()
    assert (balances["provider:other"], balances["provider:acme"]) == (300, 700)
    assert balances["project:alfa-bot"] == -row.total
    await book.check()


async def test_two_attempts_at_one_provider_are_one_line_of_it(book: Book) -> None:
    again = replace(LAST, endpoint="spare", cost=50)
    await book.take(of(LAST, again))
    assert (await book.balances())["provider:acme"] == 750
    assert [row.endpoint for row in await attempts(book)] == ["main", "spare"]
    await book.check()


async def test_one_attempt_alone_has_no_row(book: Book) -> None:
    await book.take(asked(700, charge=replace(charge(700), price_id=9)))
    assert await attempts(book) == []
    assert [row.price_id for row in await book.charges()] == [9]


async def test_several_calls_of_one_attempt_are_a_row_that_says_so(book: Book) -> None:
    await book.take(asked(700, charge=replace(charge(700), calls=3)))
    (row,) = await attempts(book)
    assert (row.number, row.calls, row.upstream_ids) == (1, 3, None)
    assert (row.tokens_in, row.tokens_out, row.cost) == (10, 5, 700)
    await book.check()


async def test_the_one_that_is_charged_need_not_be_the_one_that_was_asked_last(book: Book) -> None:
    await book.take(of(FIRST, status=502, outcome="error"))
    assert [values(row) for row in await attempts(book)] == [FIRST]
    assert (await book.balances())["provider:other"] == 300
    assert "provider:acme" not in await book.balances()
    await book.check()


async def test_packages_cover_the_attempts_that_are_theirs(api: Api, book: Book) -> None:
    await api.acme()
    await bought(api, 100, "0.0000001")  # one billionth each
    cached = replace(LAST, tokens_cached=3)
    await book.take(of(FIRST, cached))
    assert await left(api) == [88]
    first, last = await attempts(book)
    assert (first.cost, first.price_id) == (300, 5)
    assert (last.cost, last.rate, last.price_id) == (12, BILLION, None)
    balances = await book.balances()
    assert (balances["provider:other"], balances["package:1"]) == (300, -88)
    (row,) = await book.charges()
    assert (row.cost, row.price_id) == (312, 6)
    await book.check()


async def test_the_operator_hears_of_the_attempt_whose_price_is_unknown(book: Book) -> None:
    unknown = replace(FIRST, cost=0, currency=None, rate=None, price_id=None)
    with log.captured() as logged:
        await book.take(of(unknown, LAST))
    assert [(line["model"], line["provider"]) for line in logged] == [("other/two", "other")]
    assert [row.rate for row in await attempts(book)] == [None, BILLION]


async def test_a_statement_of_a_provider_has_its_attempts(api: Api, book: Book) -> None:
    drain = Drain(book.db, Pages([[of(FIRST, LAST), asked(100)]]), takers=(Charges(),))
    await drain.drain_once()
    for provider, lines in {
        "other": "2026-01-15;two;10;0.0000003",
        "acme": "2026-01-15;one;30;0.0000008",
    }.items():
        csv = f"day;model;tokens;amount\n{lines}"
        given = {"provider": provider, "csv": csv}
        found = await api.ask("POST", "/billing/reconciliations", json=given)
        assert (found["data"], found["agreed"]) == ([], 1)


async def test_a_projects_own_account_takes_nothing_from_our_packages(api: Api, book: Book) -> None:
    await api.acme()
    await bought(api, 100)
    free = asked(charge=FREE, endpoint="main@own")
    await book.take(free, of(replace(LAST, endpoint="main@own", cost=0), LAST))
    assert await left(api) == [85]
