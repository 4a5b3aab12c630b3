from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from tests.control.billing.conftest import NOON, Book, asked, charge
from tests.control.conftest import Api

from xrouter.control.billing.draw import Package
from xrouter.domain.money import UNKNOWN

DAY = 86_400
RUBLE = 10**9


async def bought(api: Api, tokens: int, paid: str = "1", **more: Any) -> Any:
    given = {
        "provider": "acme",
        "bought": tokens,
        "paid": paid,
        "starts_at": NOON - DAY,
        "expires_at": NOON + DAY,
    }
    return await api.ask("POST", "/billing/packages", json={**given, **more}, status=201)


async def left(api: Api) -> list[int]:
    """Of all packages, by their numbers."""
    found = (await api.ask("GET", "/billing/packages"))["data"]
    return [each["left"] for each in sorted(found, key=lambda each: int(each["id"]))]


@pytest.mark.parametrize("seed", range(20))
def test_however_it_is_drawn_the_sum_is_what_was_paid(seed: int) -> None:
    rng = random.Random(seed)
    total, paid = rng.randrange(1, 10**6), rng.randrange(10**12)
    package = Package(
        id=1, endpoint=None, provider="acme", models=[], bought=total, left=total, paid=paid,
        starts_at=0, expires_at=1,
    )  # fmt: skip
    costs = []
    while package.left:
        costs.append(package.take(rng.randrange(1, package.left + 1)))
    assert sum(costs) == paid
    assert min(costs) >= 0
    assert package.taken == total


async def test_tokens_come_from_a_package_at_its_price(api: Api, book: Book) -> None:
    await api.acme()
    await bought(api, 100, "0.0000001")  # one billionth each
    await book.take(asked(700, tokens_in=12, tokens_cached=2, tokens_out=5))
    assert await left(api) == [85]
    (row,) = await book.charges()
    assert (row.cost, row.margin, row.total) == (15, 2, 20)
    assert await book.balances() == {
        "bank": 100,
        "package:1": -85,
        "project:alfa-bot": -20,
        "margin": 2,
        "vat": 3,
    }
    await book.check()


async def test_what_a_package_does_not_cover_costs_what_it_costs(api: Api, book: Book) -> None:
    await api.acme()
    await bought(api, 10, "0.00000001")
    await book.take(asked(charge=charge(1000, None), project="ghost"))  # 15 tokens
    (row,) = await book.charges()
    assert row.cost == 10 + 334  # a third of the price, rounded up
    assert (await book.balances())["package:1"] == 0
    assert (await book.balances())["provider:acme"] == 334
    assert await left(api) == [0]


async def test_what_expires_first_goes_first(api: Api, book: Book) -> None:
    await api.acme()
    for days in (3, 1, 2):
        await bought(api, 10, expires_at=NOON + days * DAY)
    await book.take(asked())
    assert await left(api) == [10, 0, 5]
    await book.take(asked(at=NOON + 2.5 * DAY))
    assert await left(api) == [0, 0, 5]
    await book.take(asked(at=NOON + 1.5 * DAY))
    assert await left(api) == [0, 0, 0]
    await book.take(asked())
    await book.check()


@pytest.mark.parametrize(
    "package",
    [
        {"models": ["acme/two"]},
        {"endpoint": "spare"},
        {"starts_at": NOON + 1},
        {"expires_at": NOON},
    ],
)
async def test_a_package_for_something_else_is_left_alone(
    api: Api, book: Book, package: Any
) -> None:
    await api.acme()
    if "endpoint" in package:
        spare = {"name": "spare", "base_url": "https://spare.test", "credential": {"api_key": "k"}}
        await api.ask("POST", "/providers/acme/endpoints", json=spare, status=201)
    await api.acme_model("two")
    await bought(api, 100, **package)
    await book.take(asked(), asked(cached=True, provider="acme"), asked(provider="other"))
    assert await left(api) == [100]


async def test_an_unknown_price_is_known_where_a_package_covers_all(api: Api, book: Book) -> None:
    await api.acme()
    await bought(api, 15, "0.000000015")
    await book.take(asked(charge=UNKNOWN))
    (row,) = await book.charges()
    assert (row.cost, row.currency) == (15, "RUB")
    await book.take(asked(charge=UNKNOWN))
    assert {row.rate is None for row in await book.charges()} == {True, False}
    await book.check()


async def test_two_that_draw_at_once_never_draw_the_same(api: Api, book: Book) -> None:
    await api.acme()
    for _ in range(3):
        await bought(api, 100)
    await asyncio.gather(*(book.take(*(asked() for _ in range(5))) for _ in range(5)))
    assert await left(api) == [0, 0, 0]  # 375 tokens were wanted
    await book.check()
    balances = await book.balances()
    assert [balances[f"package:{number}"] for number in (1, 2, 3)] == [0, 0, 0]
    assert balances["bank"] == 3 * RUBLE


async def test_packages_are_kept_in_order(api: Api, book: Book) -> None:
    await api.acme()
    await api.acme_model("one")
    made = await bought(api, 100, "50", models=["acme/one"])
    path = f"/billing/packages/{made['id']}"
    assert await api.ask("GET", path) == made
    assert (made["value"]["rubles"], made["left"]) == ("50.00", 100)
    changed = await api.ask("PATCH", path, json={"models": []})
    assert changed == made | {"models": []}
    await api.error("PATCH", path, json={"expires_at": NOON - 2 * DAY}, status=400)
    await api.error("PATCH", path, json={"left": 1000}, status=400)
    await api.error("PATCH", path, json={"models": ["acme/typo"]}, status=400)
    await book.take(asked())
    assert (await api.error("DELETE", path, status=409))["code"] == "package_in_use"
    other = await bought(api, 5)
    await api.ask("DELETE", f"/billing/packages/{other['id']}")
    await api.error("GET", f"/billing/packages/{other['id']}", status=404)
    assert (await book.balances())[f"package:{other['id']}"] == 0
    again = await bought(api, 5)  # SQLite gives the number once more
    assert (await book.balances())[f"package:{again['id']}"] == -RUBLE
    await book.check()


@pytest.mark.parametrize(
    "wrong",
    [
        {"provider": "nobody"},
        {"endpoint": "nowhere"},
        {"models": ["acme/typo"]},
        {"bought": 0},
        {"paid": "-1"},
        {"paid": 1},
        {"expires_at": NOON - 2 * DAY},
    ],
)
async def test_wrong_packages_are_refused(api: Api, wrong: Any) -> None:
    await api.acme()
    given = {"provider": "acme", "bought": 1, "paid": "1", "expires_at": NOON + DAY}
    given |= {"starts_at": NOON - DAY}
    await api.error("POST", "/billing/packages", json={**given, **wrong}, status=400)


async def test_a_projects_own_account_takes_nothing_from_the_routers_package(
    api: Api, book: Book
) -> None:
    await api.acme()
    await bought(api, 100)
    await book.take(asked(0, endpoint="main@own"))
    assert await left(api) == [100]
    await book.check()
