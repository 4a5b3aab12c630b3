from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.control.billing.conftest import NOON, Book, asked, charge
from tests.control.conftest import Api

from xrouter.control.billing import exports
from xrouter.control.billing.closing import Months
from xrouter.control.db.engine import Database
from xrouter.domain.errors import Conflict
from xrouter.domain.money import UNKNOWN

DAY = 86_400


def shown(rows: Any) -> dict[str, tuple[int, int]]:
    return {row["group"]: (row["requests"], row["total"]["billionths"]) for row in rows["data"]}


async def test_charges_come_newest_first_in_pages(api: Api, book: Book) -> None:
    events = [asked(100 + n, at=NOON + n) for n in range(5)]
    await book.take(*events)
    first = await api.ask("GET", "/billing/charges", params={"limit": 3})
    rest = await api.ask("GET", "/billing/charges", params={"limit": 3, "after": first["next"]})
    seen = [row["event_id"] for row in first["data"] + rest["data"]]
    assert seen == [event.event_id for event in reversed(events)]
    assert rest["next"] is None
    row = rest["data"][-1]
    assert row["cost"] == {"rubles": "0.0000001", "billionths": 100}
    assert row["total"]["billionths"] == 132
    await api.error("GET", "/billing/charges", params={"after": "none"}, status=400)


@pytest.mark.parametrize(
    "wanted, found",
    [
        ({"project": "alfa-bot"}, 2),
        ({"project": "ghost"}, 1),
        ({"organization": "alfa"}, 2),
        ({"organization": "default"}, 1),
        ({"key_id": "key_2"}, 1),
        ({"model": "acme/two"}, 1),
        ({"provider": "acme"}, 3),
        ({"end_user": "u"}, 1),
        ({"month": "2026-02"}, 1),
        ({"since": NOON + 1}, 1),
        ({"until": NOON + 1}, 2),
    ],
)
async def test_charges_are_filtered(api: Api, book: Book, wanted: Any, found: int) -> None:
    await book.take(
        asked(1, key_id="key_2", model_served="acme/two"),
        asked(1, end_user="u"),
        asked(1, project="ghost", at=NOON + 20 * DAY),
    )
    data = (await api.ask("GET", "/billing/charges", params=wanted))["data"]
    assert len(data) == found
    total = await api.ask("GET", "/billing/summary", params=wanted)
    assert sum(row["requests"] for row in total["data"]) == found


@pytest.mark.parametrize(
    "group_by, groups",
    [
        ("project", {"alfa-bot": (2, 30), "ghost": (1, 5)}),
        ("organization", {"alfa": (2, 30), "default": (1, 5)}),
        ("key", {"key_1": (2, 15), "key_2": (1, 20)}),
        ("model", {"acme/one": (3, 35)}),
        ("provider", {"acme": (3, 35)}),
        ("month", {"2026-01": (3, 35)}),
        ("end_user", {None: (2, 15), "u": (1, 20)}),
        ("day", {"2026-01-15": (2, 30), "2026-01-16": (1, 5)}),
    ],
)
async def test_charges_are_summed(api: Api, book: Book, group_by: str, groups: Any) -> None:
    late = datetime(2026, 1, 15, 21, tzinfo=UTC).timestamp()  # the 16th in Moscow
    await book.take(
        asked(charge=charge(10, None), at=late - 1),
        asked(charge=charge(20, None), key_id="key_2", end_user="u"),
        asked(charge=charge(5, None), project="ghost", at=late),
    )
    found = await api.ask("GET", "/billing/summary", params={"group_by": group_by})
    assert shown(found) == groups


async def test_the_sums_are_those_of_the_raw_rows(api: Api, book: Book) -> None:
    """E18: by whatever it is summed, to the last billionth."""
    events = [asked(7 * n + 1, at=NOON + n * 50_000, project="alfa-bot") for n in range(40)]
    await book.take(*events)
    total = sum(event.charge.total for event in events if event.charge)
    for group_by in ("project", "key", "model", "provider", "day", "month", "end_user"):
        found = await api.ask("GET", "/billing/summary", params={"group_by": group_by})
        assert sum(row["total"]["billionths"] for row in found["data"]) == total
    months = {row["month"]: row for row in (await api.ask("GET", "/billing/months/alfa"))["data"]}
    assert sum(row["total"]["billionths"] for row in months.values()) == total
    for month in months:
        whole = await api.ask("GET", f"/billing/statements/alfa/{month}")
        assert whole["charged"] == months[month]["total"]
        assert (
            sum(row["total"]["billionths"] for row in whole["data"])
            == (whole["charged"]["billionths"])
        )


async def test_sums_come_in_pages(api: Api, book: Book) -> None:
    await book.take(*(asked(10 * n, end_user=f"u{n}") for n in range(1, 6)))
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        params = {"group_by": "end_user", "limit": 2, "after": after}
        page = await api.ask("GET", "/billing/summary", params=params)
        seen += [row["group"] for row in page["data"]]
        after = page["next"]
    assert seen == ["u5", "u4", "u3", "u2", "u1"]
    one = await api.ask("GET", "/billing/summary", params={"group_by": "day", "limit": 1})
    assert (len(one["data"]), one["next"]) == (1, None)


async def test_unknown_prices_are_counted(api: Api, book: Book) -> None:
    await book.take(asked(charge=UNKNOWN), asked(10))
    (row,) = (await api.ask("GET", "/billing/summary"))["data"]
    assert (row["requests"], row["unknown"]) == (2, 1)


async def test_statements_and_months_tell_what_had_no_price(api: Api, book: Book) -> None:
    await book.take(asked(charge=UNKNOWN), asked(charge=UNKNOWN), asked(10))

    found = await api.ask("GET", "/billing/statements/alfa/2026-01")
    assert (found["requests"], found["unknown"]) == (3, 2)
    assert [row["unknown"] for row in found["data"]] == [2]
    reply = await api.http.get("/control/v1/billing/statements/alfa/2026-01?format=csv")
    assert [line.split(";")[-1] for line in reply.text.splitlines()] == [
        "Запросов без цены",
        "2",
        "2",
    ]
    (before,) = (await api.ask("GET", "/billing/months/alfa"))["data"]
    closed = await api.ask("POST", "/billing/months/alfa/2026-01/close")
    (after,) = (await api.ask("GET", "/billing/months/alfa"))["data"]
    assert [month["unknown"] for month in (before, closed, after)] == [2, 2, 2]


async def test_a_statement_adds_up(api: Api, book: Book) -> None:
    await book.take(asked(700), asked(700, model_served="acme/two"), asked(9, project="ghost"))
    given = {"project": "alfa-bot", "amount": "100", "at": NOON - 30 * DAY}
    key = {"idempotency-key": "before"}
    await api.ask("POST", "/billing/top-ups", json=given, headers=key)
    given |= {"at": NOON, "amount": "5"}
    key = {"idempotency-key": "within"}
    await api.ask("POST", "/billing/top-ups", json=given, headers=key)
    for query in ({}, {"project": "alfa-bot"}):
        found = await api.ask("GET", "/billing/statements/alfa/2026-01", params=query)
        assert found["requests"] == 2
        assert found["opening"]["rubles"] == "100.00"
        assert found["top_ups"]["rubles"] == "5.00"
        assert found["charged"]["billionths"] == 2 * 924
        assert found["closing"]["billionths"] == 105 * 10**9 - 2 * 924
        rows = [
            (row["model"], row["net"]["billionths"], row["vat"]["billionths"])
            for row in found["data"]
        ]
        assert rows == [("acme/one", 770, 154), ("acme/two", 770, 154)]
    await api.error("GET", "/billing/statements/ghosts/2026-01", status=404)
    await api.error("GET", "/billing/statements/default/2026-01?project=alfa-bot", status=404)
    await api.error("GET", "/billing/statements/alfa/2026-13", status=400)


async def test_months_stay_in_the_time_zone_in_which_they_were_charged(
    api: Api, book: Book
) -> None:
    path, east = "/organizations/alfa", {"time_zone": "Asia/Vladivostok", "name": "Alfa"}
    await book.take(asked(charge=UNKNOWN))
    await api.ask("PATCH", path, json=east)
    await api.ask("PATCH", path, json={"time_zone": "Europe/Moscow"})
    edge = datetime(2026, 1, 31, 20, tzinfo=UTC).timestamp()  # February in Vladivostok
    await book.take(asked(700, at=edge))

    error = await api.error("PATCH", path, json=east, status=409)

    assert error["code"] == "time_zone_in_use"
    await api.ask("PATCH", path, json={"time_zone": "Europe/Moscow", "name": "Alfa"})
    found = await api.ask("GET", "/billing/statements/alfa/2026-01")
    assert found["charged"] == found["data"][0]["total"]


async def test_a_closed_month_does_not_change(api: Api, book: Book) -> None:
    await book.take(asked(700))
    closed = await api.ask("POST", "/billing/months/alfa/2026-01/close")
    assert (closed["requests"], closed["total"]["billionths"]) == (1, 924)
    before = await api.ask("GET", "/billing/statements/alfa/2026-01")
    assert before["is_closed"]
    late = asked(10)
    await book.take(late)
    assert await api.ask("POST", "/billing/months/alfa/2026-01/close") == closed
    assert await api.ask("GET", "/billing/statements/alfa/2026-01") == before
    following = await api.ask("GET", "/billing/statements/alfa/2026-02")
    (row,) = following["data"]
    assert (row["is_correction"], row["total"]["billionths"]) == (True, 13)
    assert following["opening"] == before["closing"]
    assert following["charged"]["billionths"] == 13
    given = {"project": "alfa-bot", "amount": "5", "at": NOON}
    key = {"idempotency-key": "late"}
    error = await api.error("POST", "/billing/top-ups", json=given, headers=key, status=409)
    assert error["code"] == "month_closed"
    await book.take(asked(10, project="ghost"))
    assert (await api.ask("GET", "/billing/months/default"))["data"][0]["month"] == "2026-01"
    await book.check()


async def test_months_close_behind_one_another(api: Api, book: Book) -> None:
    for month in ("2026-01", "2026-02"):
        await api.ask("POST", f"/billing/months/alfa/{month}/close")
    await book.take(asked(10))
    assert [row.month for row in await book.charges()] == ["2026-03"]


async def test_nothing_is_booked_before_a_month_that_is_closed(api: Api, book: Book) -> None:
    path, february = "/billing/months/alfa", datetime(2026, 2, 10, tzinfo=UTC).timestamp()
    await book.take(asked(100), asked(10, at=february))
    error = await api.error("POST", f"{path}/2026-02/close", status=409)
    assert (error["code"], error["hint"]) == ("earlier_month_open", "Close 2026-01 first.")
    for month in ("2026-01", "2026-02"):
        await api.ask("POST", f"{path}/{month}/close")
    before = await api.ask("GET", "/billing/statements/alfa/2026-01")
    given = {"project": "alfa-bot", "amount": "5", "at": NOON - 40 * DAY}

    key = {"idempotency-key": "late"}
    error = await api.error("POST", "/billing/top-ups", json=given, headers=key, status=409)
    await book.take(asked(7, at=NOON - 40 * DAY))

    assert error["code"] == "month_closed"
    assert await api.ask("GET", "/billing/statements/alfa/2026-01") == before
    assert (await book.charges())[-1].month == "2026-03"
    await book.check()


@pytest.mark.usefixtures("book")
async def test_a_month_that_is_not_over_stays_open(db: Database) -> None:
    ends = datetime(2026, 1, 31, 21, tzinfo=UTC).timestamp()  # midnight in Moscow
    with pytest.raises(Conflict, match="not over"):
        await Months(db, lambda: ends - 1).close("alfa", "2026-01")
    assert (await Months(db, lambda: ends).close("alfa", "2026-01")).requests == 0


async def test_a_statement_as_1c_reads_it(api: Api, book: Book) -> None:
    await book.take(asked(700), asked(1_500_000_000, project="ghost"))
    reply = await api.http.get("/control/v1/billing/statements/alfa/2026-01?format=csv")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="alfa-2026-01.csv"' in reply.headers["content-disposition"]
    assert reply.content.startswith(b"\xef\xbb\xbf")
    head, row, last = reply.content.decode("utf-8-sig").splitlines()
    assert head.startswith("Проект;Модель;")
    assert row.endswith(";0,00000077;0,000000154;0,000000924;0")
    assert row.startswith("alfa-bot;acme/one;;1;")
    assert last.startswith("Итого;;;1;")
    english = await api.http.get(
        "/control/v1/billing/statements/alfa/2026-01?format=csv&language=en"
    )
    assert "Project;Model" in english.text


@pytest.mark.parametrize("text", ["=1+1", "+7", "-1", "@x", "\t=1", "\r=1", "|x", "%x"])
async def test_no_cell_is_a_formula(api: Api, book: Book, text: str) -> None:
    written = exports.written([[text, -5]])
    assert f"'{text}" in written
    assert written.rstrip().endswith(";-5")
    await book.take(asked(1, end_user=text))
    reply = await api.http.get("/control/v1/billing/charges?format=csv")
    assert f"'{text}" in reply.content.decode("utf-8-sig")
