"""Statements that name calls: what they make exact, what is booked beside, each once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import select
from tests.control.billing.conftest import ALFA, NOON, Book, asked, charge
from tests.control.billing.test_attempts import attempts, of
from tests.control.billing.test_packages import bought
from tests.control.billing.test_reconcile import compared, kept
from tests.control.conftest import Api

from xrouter.control.billing.closing import Months
from xrouter.control.billing.statements import read_calls, span_of
from xrouter.control.db.tables.billing import BilledCallRow, ChargeRow, SettlementRow
from xrouter.domain.errors import InvalidRequest
from xrouter.domain.money import BILLION, Charge, Part, on_top

HEAD = "call;at;model;tokens_in;tokens_out;amount\n"
TOKENS = "call;at;model;tokens_in;tokens_out\n"


@pytest.fixture
async def priced(api: Api, book: Book) -> Book:
    """A price of 1000 billionths for each token, since the year began."""
    await api.acme()
    given = {"currency": "RUB", "input": "1", "output": "1", "source": "a test"}
    for model in ("one", "two"):
        await api.acme_model(model)
        since = {"model": f"acme/{model}", "effective_from": "2026-01-01T00:00:00Z"}
        await api.ask("POST", "/prices", json=since | given, status=201)
    return book


def guessed(cost: int = 15_000, **more: Any) -> Any:
    """An estimate of 10 and 5 tokens."""
    made = replace(charge(cost), is_estimated=True, price_id=1)
    return asked(charge=made, **{"upstream_request_id": "c-1", "tokens_estimated": True, **more})


async def settled(api: Api, csv: str, **more: Any) -> Any:
    return (await compared(api, csv, settle=True, **more))["calls"]


def line(call: str = "c-1", told: str = "12;6;", at: float | str = NOON, model: str = "one") -> str:
    return f"{call};{at};{model};{told}\n"


async def provider_has(book: Book, name: str = "acme") -> int:
    return (await book.balances()).get(f"provider:{name}", 0)


async def test_an_estimate_becomes_what_the_bill_says(api: Api, priced: Book) -> None:
    await kept(priced.db, [guessed()])
    found = await settled(api, HEAD + line())
    assert (found["differ"], found["settled"], found["agreed"]) == (1, 1, 0)
    assert found["adjusted"]["billionths"] == 3_000
    (row,) = await priced.charges()
    margin, vat = on_top(18_000, ALFA)
    assert (row.cost, row.margin, row.vat, row.is_estimated) == (18_000, margin, vat, False)
    assert row.settled_at is not None
    (part,) = await attempts(priced)
    assert (part.tokens_in, part.tokens_out, part.cost, part.endpoint) == (12, 6, 18_000, "main")
    balances = await priced.balances()
    assert balances["provider:acme"] == 18_000
    assert balances["project:alfa-bot"] == -row.total
    assert await priced.number("SELECT count(DISTINCT transfer) FROM ledger_lines") == 2
    await priced.check()


async def test_a_statement_that_comes_again_books_nothing(api: Api, priced: Book) -> None:
    await kept(priced.db, [guessed()])
    csv = HEAD + line() + line("stray", "1;1;0,5")
    await settled(api, csv)
    lines = [row.id for row in await priced.lines()]
    found = await settled(api, csv)
    assert (found["agreed"], found["differ"], found["not_ours"]) == (2, 0, 0)
    assert (found["adjusted"]["billionths"], found["unattributed"]["billionths"]) == (0, 0)
    assert [row.id for row in await priced.lines()] == lines


async def test_two_at_once_book_it_once(api: Api, priced: Book) -> None:
    await kept(priced.db, [guessed(), guessed(upstream_request_id=None)])
    csv = HEAD + line() + line("stray", "30;0;")
    await asyncio.gather(*(settled(api, csv) for _ in range(3)))
    assert await provider_has(priced) == 18_000 + 30_000
    matched, noted, rest = 1, 1, 1
    assert await priced.number("SELECT count(*) FROM settlements") == matched + noted + rest
    await priced.check()


async def test_without_being_asked_it_only_tells(api: Api, priced: Book) -> None:
    await kept(priced.db, [guessed(), guessed(upstream_request_id="c-2")])
    csv = HEAD + line() + line("stray", "1;1;", NOON + 1)
    found = (await compared(api, csv))["calls"]
    rows = {row["what"]: row for row in found["data"]}
    assert rows.keys() == {"differs", "not_billed", "not_ours"}
    assert (rows["differs"]["our_tokens"], rows["differs"]["their_tokens"]) == (15, 18)
    assert rows["differs"]["their_cost"]["billionths"] == 18_000
    assert (rows["not_billed"]["call"], rows["not_ours"]["call"]) == ("c-2", "stray")
    assert rows["not_ours"]["their_cost"]["billionths"] == 2_000
    assert len(await priced.lines("charge")) == 2 * 4
    assert await priced.lines("adjustment") == []


async def test_the_amount_of_the_bill_goes_before_our_price(api: Api, priced: Book) -> None:
    await kept(priced.db, [asked(15_000, upstream_request_id="c-1")])
    found = await settled(api, HEAD + line(told="10;5;0,00002"))
    assert found["settled"] == 1
    assert await provider_has(priced) == 20_000
    await priced.check()


async def test_lines_of_one_call_are_one(api: Api, priced: Book) -> None:
    await kept(priced.db, [guessed()])
    await settled(api, HEAD + line(told="12;0;0,00002") + line(told="0;6;0,00001"))
    assert await provider_has(priced) == 30_000
    assert [(e.tokens_in, e.tokens_out) for e in await attempts(priced)] == [(12, 6)]


async def test_a_call_is_one_attempts(api: Api, priced: Book) -> None:
    await kept(priced.db, [guessed(), guessed()])
    await settled(api, HEAD + line())
    assert sorted(row.cost for row in await priced.charges()) == [0, 18_000]


async def test_what_agrees_is_left_alone(api: Api, priced: Book) -> None:
    await kept(priced.db, [asked(15_000, upstream_request_id="c-1")])
    found = await settled(api, TOKENS + line(told="10;5"))
    assert (found["agreed"], found["settled"], found["data"]) == (1, 0, [])
    (row,) = await priced.charges()
    assert row.settled_at is None


async def test_an_estimate_that_the_bill_has_not_costs_nothing(api: Api, priced: Book) -> None:
    """Only inside of the statement's time; and what is no estimate is told, not taken back."""
    heard = asked(15_000, upstream_request_id="heard")
    late = guessed(upstream_request_id="late", at=NOON + 60)
    await kept(priced.db, [guessed(), heard, late])
    lines = line("a", "1;1;", NOON - 1) + line("b", "1;1;", NOON + 1)
    found = await settled(api, HEAD + lines)
    assert (found["not_billed"], found["settled"], found["not_ours"]) == (2, 1, 2)
    rows = {row.event_id: row for row in await priced.charges()}
    assert sorted(row.cost for row in rows.values()) == [0, 15_000, 15_000]
    assert rows[late.event_id].is_estimated
    assert await provider_has(priced) == 34_000
    widened = {"since": NOON - 60, "until": NOON + 120}
    await settled(api, HEAD + lines, **widened)
    assert await provider_has(priced) == 19_000


async def test_a_bill_of_nothing_says_so_of_its_time(api: Api, priced: Book) -> None:
    await kept(priced.db, [guessed()])
    found = await settled(api, HEAD, since=NOON - 1, until=NOON + 1)
    assert (found["not_billed"], found["settled"]) == (1, 1)
    assert await provider_has(priced) == 0


async def test_what_is_no_requests_is_nobodys_project(api: Api, priced: Book) -> None:
    found = await settled(
        api, HEAD + line("stray", model="ONE") + line("far", "1;1;", NOON + 86400)
    )
    assert found["unattributed"]["billionths"] == 20_000
    assert await priced.balances() == {"provider:acme": 20_000, "unattributed": -20_000}
    shown = await api.ask("GET", "/billing/accounts/unattributed")
    assert shown["balance"]["billionths"] == -20_000
    async with priced.db.read() as session:
        assert len((await session.scalars(select(BilledCallRow))).all()) == 2
        rows = (await session.scalars(select(SettlementRow))).all()
    assert sorted((row.model, row.cost) for row in rows) == [
        ("acme/one", 2_000),
        ("acme/one", 18_000),
    ]


async def test_attempts_without_names_are_compared_by_their_sum(api: Api, priced: Book) -> None:
    """Those of a process that was killed, and those of several calls of which one is named."""
    killed = guessed(upstream_request_id=None, error_code="process_killed")
    several = asked(charge=replace(charge(30_000), calls=2), upstream_request_id="last")
    await kept(priced.db, [killed, several])
    csv = HEAD + line("x", "12;8;") + line("y", "10;5;") + line("last", "10;5;", NOON + 1)
    widened = {"since": NOON - 60, "until": NOON + 60}
    found = await settled(api, csv, **widened)
    assert (found["unnamed"], found["not_ours"], found["settled"]) == (2, 3, 0)
    assert found["unattributed"]["billionths"] == 5_000
    assert await provider_has(priced) == 50_000
    assert sorted(row.cost for row in await priced.charges()) == [15_000, 30_000]
    again = await settled(api, csv, **widened)
    assert (again["agreed"], again["unnamed"], again["unattributed"]["billionths"]) == (3, 0, 0)
    await priced.check()


FAR = Part(
    provider="acme",
    endpoint="main",
    model="acme/two",
    version="v2",
    tokens_in=8,
    tokens_out=2,
    cost=10_000,
    currency="RUB",
    rate=BILLION,
    price_id=2,
    is_estimated=True,
    upstream_ids=("c-1",),
)
NEAR = replace(
    FAR, model="acme/one", price_id=1, is_estimated=False, upstream_ids=("c-2", "c-3"), calls=2
)


async def test_each_attempt_by_its_own_calls(api: Api, priced: Book) -> None:
    await kept(priced.db, [of(FAR, NEAR)])
    csv = HEAD + line("c-1", "9;3;", model="two") + line("c-2", "4;1;") + line("c-3", "4;1;")
    found = await settled(api, csv)
    assert (found["agreed"], found["settled"], found["not_ours"]) == (1, 1, 0)
    (row,) = await priced.charges()
    assert (row.cost, row.is_estimated) == (22_000, False)
    assert [(part.cost, part.is_estimated) for part in await attempts(priced)] == [
        (12_000, False),
        (10_000, False),
    ]
    await priced.check()


async def test_a_closed_month_stays_and_the_open_one_has_the_difference(
    api: Api, priced: Book
) -> None:
    event = guessed()
    await kept(priced.db, [event])
    await Months(priced.db, lambda: NOON + 40 * 86_400).close("alfa", "2026-01")
    for told, total in (("12;6;", 18_000), ("13;6;", 19_000), ("13;6;", 19_000)):
        await settled(api, HEAD + line(told=told))
        assert await provider_has(priced) == total
    rows = await priced.charges()
    assert [(row.month, row.cost) for row in rows] == [
        ("2026-01", 15_000),
        ("2026-02", 3_000),
        ("2026-02", 1_000),
    ]
    assert {row.is_estimated for row in rows} == {False}
    margin, vat = on_top(19_000, ALFA)
    assert sum(row.total for row in rows) == 19_000 + margin + vat
    month = await api.ask("GET", "/billing/statements/alfa/2026-01")
    assert month["charged"]["billionths"] == rows[0].total
    later = await api.ask("GET", "/billing/statements/alfa/2026-02")
    assert [row["is_correction"] for row in later["data"]] == [True]
    assert later["charged"]["billionths"] == rows[1].total + rows[2].total
    await priced.check()


async def test_other_shares_than_then_are_not_put_on_what_was_paid(api: Api, priced: Book) -> None:
    await kept(priced.db, [guessed(20_000)])
    (before,) = [(row.margin, row.vat) for row in await priced.charges()]
    await api.ask("PATCH", "/organizations/alfa", json={"margin": 5000, "vat": 0})
    await settled(api, HEAD + line(told="30;10;"))
    (row,) = await priced.charges()
    assert (row.cost, row.margin, row.vat) == (40_000, 2 * before[0], 2 * before[1])
    await priced.check()


async def test_prepaid_tokens_stay_drawn(api: Api, priced: Book) -> None:
    await bought(api, 100, "0.0000001")
    await kept(priced.db, [guessed()])
    held = await priced.balances()
    found = await settled(api, HEAD + line(told="12;6;0,1"))
    assert (found["settled"], found["in_packages"]) == (0, 1)
    assert await priced.balances() == held


async def test_without_a_price_tokens_settle_nothing(api: Api, priced: Book) -> None:
    unknown = asked(charge=Charge(is_estimated=True), upstream_request_id="c-1")
    await kept(priced.db, [unknown])
    csv = TOKENS + line(told="12;6") + line("stray", "1;1", model="nobody-knows")
    found = await settled(api, csv)
    assert (found["unpriced"], found["settled"], found["unattributed"]["billionths"]) == (2, 0, 0)
    found = await settled(api, HEAD + line(told=";;0,5") + line("stray", ";;0,5", model="strange"))
    assert (found["unpriced"], found["settled"]) == (0, 1)
    (row,) = await priced.charges()
    assert (row.cost, row.rate, row.currency) == (500_000_000, BILLION, "RUB")
    assert await provider_has(priced) == 1_000_000_000
    await priced.check()


async def test_whose_bill_it_is_must_be_said_where_there_are_several(
    api: Api, priced: Book
) -> None:
    spare = guessed(endpoint="spare", upstream_request_id="c-2")
    await kept(priced.db, [guessed(), spare])
    given = {"provider": "acme", "csv": HEAD + line(), "settle": True}
    error = await api.error("POST", "/billing/reconciliations", json=given, status=400)
    assert error["param"] == "endpoints"
    assert "main, spare" in error["hint"]
    await settled(api, HEAD + line(), endpoints=["main"])
    rows = {row.event_id: row for row in await priced.charges()}
    assert rows[spare.event_id].cost == 15_000
    assert await provider_has(priced) == 33_000


async def test_what_was_kept_or_is_a_projects_own_is_on_no_bill(api: Api, priced: Book) -> None:
    own = guessed(endpoint="main@own", upstream_request_id="own")
    cached = asked(0, cached=True, upstream_request_id="kept")
    await kept(priced.db, [own, cached])
    found = await settled(api, HEAD + line(), since=NOON - 1, until=NOON + 1)
    assert (found["not_billed"], found["unnamed"], found["not_ours"]) == (0, 0, 1)


async def test_days_settle_what_is_left(api: Api, priced: Book) -> None:
    """One transfer for each model and day; what was booked beside counts the next time."""
    two = guessed(20_000, model_served="acme/two", upstream_request_id="c-2", at=NOON + 1)
    await kept(priced.db, [guessed(), two])
    await settled(api, HEAD + line() + line("stray", ";;0,001"))
    csv = "day;model;amount\n2026-01-15;one;0,002\n2026-01-15;two;0,00002\n"
    found = await compared(api, csv, settle=True)
    assert [row["model"] for row in found["data"]] == ["acme/one"]
    assert found["booked"]["billionths"] == 2_000_000 - 1_018_000
    assert await provider_has(priced) == 2_020_000
    again = await compared(api, csv, settle=True)
    assert (again["data"], again["booked"]["billionths"]) == ([], 0)
    assert await provider_has(priced) == 2_020_000
    assert all(row.transfer for row in await priced.lines("adjustment"))


async def test_days_that_tell_only_tokens_settle_nothing(api: Api, priced: Book) -> None:
    await kept(priced.db, [guessed()])
    found = await compared(api, "day;model;tokens\n2026-01-15;one;20\n", settle=True)
    assert (len(found["data"]), found["booked"]["billionths"]) == (1, 0)


@pytest.mark.parametrize(
    "csv, reason",
    [
        ("call;model;amount\nc;one;1", "must name"),
        ("call;at;model;tokens_in\nc;0;one;1", "must name"),
        (HEAD, "no lines"),
        (HEAD + line("", "1;1;"), "line 2 has no call"),
        (HEAD + "c;yesterday;one;1;1;\n", "is no at"),
        (HEAD + "c;9e99;one;1;1;\n", "is no at"),
        (HEAD + "c;99999999999999999;one;1;1;\n", "is no at"),
        (HEAD + line(told="-1;1;"), "is no tokens_in"),
        (HEAD + line(told="1;1;-1"), "is no amount"),
        (HEAD + line(told=";;"), "neither"),
        (HEAD + line(told="1;;"), "neither"),
        (HEAD + line() + line(model="two"), "another model"),
        (HEAD + line("a", at=0) + line("b"), "spans"),
    ],
)
def test_a_statement_at_fault_is_refused(csv: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refused:
        span_of(read_calls(csv, "Europe/Moscow").values(), None, NOON)
    assert refused.value.param == "csv"


def test_times_are_of_the_providers_zone() -> None:
    lines = line(at="2026-01-15T15:00:00") + line("b", at="2026-01-15T12:00:00Z")
    found = read_calls(HEAD + lines + line("c", at=f"{NOON:.1f}"), "Europe/Moscow")
    assert {each.at for each in found.values()} == {NOON}


async def test_corrections_are_no_calls(api: Api, priced: Book) -> None:
    """The row that corrects a closed month is not compared with the bill by itself."""
    await kept(priced.db, [guessed()])
    await Months(priced.db, lambda: NOON + 40 * 86_400).close("alfa", "2026-01")
    await settled(api, HEAD + line())
    found = await settled(api, HEAD + line(), since=NOON - 60, until=NOON + 60)
    assert (found["agreed"], found["unnamed"], found["data"]) == (1, 0, [])
    async with priced.db.read() as session:
        assert len((await session.scalars(select(ChargeRow))).all()) == 2
    days = await compared(api, "day;model;tokens;amount\n2026-01-15;one;18;0,000018\n")
    assert (days["agreed"], days["data"]) == (1, [])
