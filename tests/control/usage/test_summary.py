from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.control.billing.conftest import Book, asked, book
from tests.control.billing.test_taker import Pages
from tests.control.billing.test_tenants import ids, signed_in
from tests.control.conftest import Api

from xrouter.control.billing.taker import Charges
from xrouter.control.db.engine import Database
from xrouter.control.drain import Drain
from xrouter.control.kit.actor import actor
from xrouter.control.usage.clocks import changes
from xrouter.control.usage.schemas import EventQuery, SummaryQuery
from xrouter.control.usage.service import UsageService
from xrouter.domain.errors import Forbidden, NotFound
from xrouter.domain.money import UNKNOWN
from xrouter.domain.usage import UsageEvent

__all__ = ["book"]

ONE_DATABASE = pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""
NIGHT = datetime(2026, 1, 15, 22, 30, tzinfo=UTC).timestamp()
"""The 16th in Moscow."""


async def kept(db: Database, *events: UsageEvent) -> None:
    await Drain(db, Pages([events]), takers=(Charges(),)).drain_once()


@pytest.fixture
async def usage(book: Book) -> Book:
    """Of alfa-bot: two answers and one failure; of ghost: one from the cache, one without price."""
    await kept(
        book.db,
        asked(700, route="fast", end_user="ann", tokens_cached=3, tokens_reasoning=2),
        asked(900, model_served="acme/two", key_id="key_2", at=NIGHT, streamed=True),
        asked(None, outcome="error", status=502, error_code="upstream_error", tokens_in=0),
        asked(0, project="ghost", cached=True, at=NIGHT),
        asked(project="ghost", charge=UNKNOWN, outcome="cancelled"),
    )
    return book


async def summed(api: Api, group_by: str, *shown: str, **query: Any) -> dict[Any, Any]:
    params = {"group_by": group_by, **query}
    found = await api.ask("GET", "/usage/summary", params=params)
    names = group_by.split(",")
    return {
        tuple(row["group"][name] for name in names)
        if len(names) > 1
        else row["group"][group_by]: tuple(row[each] for each in shown or ("requests",))
        for row in found["data"]
    }


@pytest.mark.usefixtures("usage")
async def test_usage_by_any_dimension(api: Api) -> None:
    expected: dict[str, dict[Any, int]] = {
        "organization": {"alfa": 3, "default": 2},
        "project": {"alfa-bot": 3, "ghost": 2},
        "key": {"key_1": 4, "key_2": 1},
        "end_user": {None: 4, "ann": 1},
        "model": {"acme/one": 4, "acme/two": 1},
        "version": {"v1": 5},
        "provider": {"acme": 5},
        "endpoint": {"main": 5},
        "route": {None: 4, "fast": 1},
        "operation": {"chat": 5},
        "status": {200: 4, 502: 1},
        "outcome": {"ok": 3, "error": 1, "cancelled": 1},
        "error": {None: 4, "upstream_error": 1},
        "streamed": {False: 4, True: 1},
        "cached": {False: 4, True: 1},
        "hour": {"2026-01-15T12:00": 3, "2026-01-15T22:00": 2},
        "day": {"2026-01-15": 5},
        "month": {"2026-01": 5},
        "project,model": {
            ("alfa-bot", "acme/one"): 2,
            ("alfa-bot", "acme/two"): 1,
            ("ghost", "acme/one"): 2,
        },
    }
    for group_by, groups in expected.items():
        found = await summed(api, group_by)
        assert found == {name: (n,) for name, n in groups.items()}, group_by


@pytest.mark.usefixtures("usage")
async def test_sums_hold_tokens_and_money(api: Api) -> None:
    shown = (
        "requests",
        "errors",
        "cancelled",
        "from_cache",
        "tokens_in",
        "tokens_cached",
        "unknown",
    )
    assert await summed(api, "project", *shown) == {
        "alfa-bot": (3, 1, 0, 0, 20, 3, 0),
        "ghost": (2, 0, 1, 1, 20, 0, 1),
    }
    money = await summed(api, "model", "cost", "margin", "vat", "total", project="alfa-bot")
    assert {model: [amount["billionths"] for amount in row] for model, row in money.items()} == {
        "acme/one": [700, 70, 154, 924],
        "acme/two": [900, 90, 198, 1188],
    }


@pytest.mark.usefixtures("usage")
async def test_days_begin_where_one_says(api: Api) -> None:
    days = await summed(api, "day", time_zone="Europe/Moscow")
    assert list(days.items()) == [("2026-01-16", (2,)), ("2026-01-15", (3,))]
    hours = await summed(api, "hour", time_zone="Asia/Kolkata")
    assert list(hours) == ["2026-01-16T04:00", "2026-01-15T17:00"]
    await api.error("GET", "/usage/summary?time_zone=Mars", status=400)


async def test_clocks_that_change(api: Api, book: Book) -> None:
    """In Berlin 2026-03-29 has no hour from 2 to 3, and 2026-10-25 has it twice."""
    moments = [
        datetime(2026, 3, 28, 22, 59, tzinfo=UTC),
        datetime(2026, 3, 28, 23, 0, tzinfo=UTC),
        datetime(2026, 3, 29, 0, 59, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
        datetime(2026, 3, 29, 21, 59, tzinfo=UTC),
        datetime(2026, 3, 29, 22, 0, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    ]
    await kept(book.db, *[asked(1, at=moment.timestamp()) for moment in moments])
    zone = {"time_zone": "Europe/Berlin"}
    days = await summed(api, "day", **zone)
    assert days == {
        "2026-10-25": (2,), "2026-03-30": (1,), "2026-03-29": (4,), "2026-03-28": (1,),
    }  # fmt: skip
    hours = await summed(api, "hour", **zone, since="2026-03-29T00:00:00Z", until=moments[6])
    assert list(hours) == [
        "2026-03-30T00:00", "2026-03-29T23:00", "2026-03-29T03:00", "2026-03-29T01:00",
    ]  # fmt: skip
    assert (await summed(api, "hour", **zone))["2026-10-25T02:00"] == (2,)
    assert len(changes("Europe/Moscow")) == 1


@pytest.mark.usefixtures("usage")
async def test_filters(api: Api) -> None:
    for query, requests in (
        ({"organization": "alfa"}, 3),
        ({"project": "ghost"}, 2),
        ({"key_id": "key_2"}, 1),
        ({"end_user": "ann"}, 1),
        ({"version": "v1"}, 5),
        ({"provider": "other"}, 0),
        ({"route": "fast"}, 1),
        ({"operation": "chat"}, 5),
        ({"status": 502}, 1),
        ({"outcome": "cancelled"}, 1),
        ({"since": NIGHT}, 2),
        ({"until": NIGHT}, 3),
    ):
        found = await summed(api, "operation", **query)
        assert sum(n for (n,) in found.values()) == requests, query
        events = await api.ask("GET", "/usage", params=query)
        assert len(events["data"]) == requests, query


@pytest.mark.usefixtures("usage")
async def test_groups_come_in_pages(api: Api) -> None:
    query: dict[str, Any] = {"group_by": ["project", "model"], "limit": 2}
    first = await api.ask("GET", "/usage/summary", params=query)
    rest = await api.ask("GET", "/usage/summary", params=query | {"after": first["next"]})
    assert (len(first["data"]), len(rest["data"]), rest["next"]) == (2, 1, None)
    seen = [tuple(row["group"].values()) for row in first["data"] + rest["data"]]
    assert len({*seen}) == 3
    for wrong in ("moon", "day,day", "", "project,key,model,version,provider,route"):
        error = await api.error("GET", "/usage/summary", params={"group_by": wrong}, status=400)
        assert error["param"].startswith("group_by")


@ONE_DATABASE
@pytest.mark.usefixtures("usage")
async def test_usage_as_csv(api: Api) -> None:
    query = {"group_by": "day,project", "format": "csv", "limit": "1"}
    reply = await api.http.get("/control/v1/usage/summary", params=query)
    head, row = reply.content.decode("utf-8-sig").splitlines()
    assert head.startswith("day;project;requests;errors;")
    assert head.endswith(";cost;margin;vat;total")
    assert row.startswith("2026-01-15;alfa-bot;3;1;")
    assert row.endswith(";0,0000016;0,00000016;0,000000352;0,000002112")
    assert reply.headers["x-xrouter-next"] == "1"


@pytest.fixture
def nobody_else() -> Iterator[None]:
    before = actor.get()
    yield
    actor.set(before)


@ONE_DATABASE
@pytest.mark.usefixtures("nobody_else")
@pytest.mark.parametrize("role, pays", [("billing", True), ("viewer", False)])
async def test_members_see_their_own(usage: Book, role: str, pays: bool) -> None:
    organization, _ = await ids(usage)
    actor.set(await signed_in(usage.db, role, organization=organization, project=None))
    service = UsageService(usage.db)
    (row,) = (await service.summary(SummaryQuery(group_by=["project"]))).data
    assert (row.group, row.requests, row.cost, row.margin) == (
        {"project": "alfa-bot"}, 3, None, None,
    )  # fmt: skip
    assert (row.total.billionths if row.total else None) == (2112 if pays else None)
    events = (await service.page(EventQuery())).data
    assert {event.project for event in events} == {"alfa-bot"}
    assert {(event.endpoint, str(event.tried)) for event in events} == {(None, "[]")}
    for foreign in ({"project": "ghost"}, {"organization": "default"}):
        with pytest.raises(NotFound):
            await service.summary(SummaryQuery(**foreign))
        with pytest.raises(NotFound):
            await service.page(EventQuery(**foreign))
    with pytest.raises(Forbidden):
        await service.summary(SummaryQuery(group_by=["endpoint"]))


@ONE_DATABASE
@pytest.mark.usefixtures("nobody_else")
async def test_what_nobody_was_let_in_for_is_no_projects(usage: Book) -> None:
    await kept(usage.db, asked(None, project=None, status=401), asked(1, project="default"))
    default = await usage.number("SELECT id FROM organizations WHERE slug = 'default'")
    actor.set(await signed_in(usage.db, "owner", organization=default, project=None))
    service = UsageService(usage.db)
    (row,) = (await service.summary(SummaryQuery(group_by=["project", "status"]))).data
    assert (row.group, row.requests) == ({"project": "default", "status": 200}, 1)


@ONE_DATABASE
@pytest.mark.usefixtures("nobody_else")
async def test_who_pays_for_one_project_sees_no_other_sums(usage: Book) -> None:
    organization, project = await ids(usage)
    actor.set(await signed_in(usage.db, "billing", organization=organization, project=project))
    service = UsageService(usage.db)
    wanted = SummaryQuery(group_by=["project"], organization="alfa")
    (row,) = (await service.summary(wanted)).data
    assert row.total is not None
