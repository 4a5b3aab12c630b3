"""Money in the summary is of whoever was asked, where one request was charged by several."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from tests.control.billing.conftest import Book, asked, book
from tests.control.conftest import Api
from tests.control.usage.test_summary import kept

from xrouter.domain.limits import Tenant
from xrouter.domain.money import BILLION, RUBLE, Charge, Part, on_top
from xrouter.domain.usage import UsageEvent

__all__ = ["book"]

TENANT = Tenant(project="alfa-bot", organization="alfa", margin=1000, vat=2000)
MONEY = ("cost", "margin", "vat", "total")


def part(provider: str, cost: int, version: str = "v1", endpoint: str = "main") -> Part:
    return Part(
        provider=provider,
        endpoint=endpoint,
        model=f"{provider}/one",
        version=version,
        cost=cost,
        currency=RUBLE,
        rate=BILLION,
    )


def charged(*parts: Part, **fields: Any) -> UsageEvent:
    """Answered by the provider `acme`."""
    cost = sum(each.cost for each in parts)
    margin, vat = on_top(cost, TENANT)
    charge = Charge(
        cost=cost,
        margin=margin,
        vat=vat,
        total=cost + margin + vat,
        currency=RUBLE,
        rate=BILLION,
        parts=parts,
    )
    return asked(charge=charge, **fields)


async def sums(api: Api, group_by: str, **query: Any) -> dict[Any, dict[str, int]]:
    found = await api.ask("GET", "/usage/summary", params={"group_by": group_by, **query})
    return {
        tuple(row["group"].values()): {
            name: row[name]["billionths"] if name in MONEY else row[name]
            for name in ("requests", "tokens_in", *MONEY)
        }
        for row in found["data"]
    }


def costs(found: dict[Any, dict[str, int]]) -> dict[Any, tuple[int, int]]:
    return {name[0]: (row["requests"], row["cost"]) for name, row in found.items()}


@pytest.fixture
async def several(book: Book) -> Book:
    await kept(
        book.db,
        asked(1000),
        charged(part("west", 300), part("acme", 700), route="fast"),
        charged(part("west", 40, "v2"), part("acme", 50, endpoint="spare"), part("acme", 60)),
        charged(part("west", 0), part("acme", 0)),
    )
    return book


@pytest.mark.usefixtures("several")
async def test_each_providers_own_money(api: Api) -> None:
    assert costs(await sums(api, "provider")) == {"acme": (4, 1810), "west": (0, 340)}
    assert costs(await sums(api, "endpoint")) == {"main": (4, 2100), "spare": (0, 50)}
    assert costs(await sums(api, "model")) == {"acme/one": (4, 1810), "west/one": (0, 340)}
    assert costs(await sums(api, "version")) == {"v1": (4, 2110), "v2": (0, 40)}
    both = await sums(api, "route,provider", project="alfa-bot")
    assert {name: row["cost"] for name, row in both.items()} == {
        (None, "acme"): 1110,
        (None, "west"): 40,
        ("fast", "acme"): 700,
        ("fast", "west"): 300,
    }


@pytest.mark.usefixtures("several")
async def test_filters_look_at_who_was_asked(api: Api) -> None:
    assert costs(await sums(api, "project", provider="west")) == {"alfa-bot": (0, 340)}
    assert costs(await sums(api, "project", provider="acme")) == {"alfa-bot": (4, 1810)}
    assert costs(await sums(api, "day", model="west/one", version="v2")) == {"2026-01-15": (0, 40)}
    assert costs(await sums(api, "provider", version="v1")) == {
        "acme": (4, 1810),
        "west": (0, 300),
    }
    assert costs(await sums(api, "organization", provider="west")) == {"alfa": (0, 340)}
    assert await sums(api, "provider", since="2026-02-01T00:00:00Z") == {}


@pytest.mark.usefixtures("several")
async def test_other_sums_are_of_the_whole(api: Api) -> None:
    assert costs(await sums(api, "project")) == {"alfa-bot": (4, 2150)}
    assert costs(await sums(api, "route")) == {None: (3, 1150), "fast": (1, 1000)}


async def test_no_billionth_is_lost(api: Api, book: Book) -> None:
    """Whatever is summed by: shares of margin and VAT add up to what was charged."""
    random = Random(7)
    events: list[UsageEvent] = []
    expected = {"acme": 0, "west": 0, "east": 0}
    for _ in range(60):
        size = random.choice((10, 10**6, 10**14))
        parts = [
            part(random.choice(("west", "east", "acme")), random.randrange(size))
            for _ in range(random.randint(2, 5))
        ]
        for each in parts:
            expected[each.provider] += each.cost
        events.append(charged(*parts))
    await kept(book.db, *events)

    found = await sums(api, "provider")
    assert {name[0]: row["cost"] for name, row in found.items()} == expected
    (whole,) = (await sums(api, "project")).values()
    for name in (*MONEY, "requests", "tokens_in"):
        assert sum(row[name] for row in found.values()) == whole[name], name
    for row in found.values():
        assert row["total"] == pytest.approx(row["cost"] * 1.32, rel=1e-9)
        assert abs(row["total"] - row["cost"] - row["margin"] - row["vat"]) <= 3 * len(events) * 5
