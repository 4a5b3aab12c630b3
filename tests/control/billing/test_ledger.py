from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.control.billing.conftest import Book, asked
from tests.control.conftest import Api

from xrouter.control.billing.amounts import billionths, rubles
from xrouter.control.billing.posting import MOST, Transfer

RUBLE = 10**9
TOP_UP = {"project": "alfa-bot", "amount": "1500.50", "memo": "Invoice 7"}


async def top_up(api: Api, key: str = "k-1", *, status: int = 200, **more: Any) -> Any:
    headers = {"idempotency-key": key}
    given = {**TOP_UP, **more}
    return await api.ask("POST", "/billing/top-ups", json=given, headers=headers, status=status)


async def balance(api: Api, account: str) -> int:
    found = await api.ask("GET", f"/billing/accounts/{account}")
    return int(found["balance"]["billionths"])


@pytest.mark.parametrize(
    "text, amount",
    [
        ("0.00", 0),
        ("1500.50", 1500 * RUBLE + RUBLE // 2),
        ("0.000000001", 1),
        ("-0.000000001", -1),
        ("-12.34", -12 * RUBLE - 34 * RUBLE // 100),
    ],
)
def test_money_is_exact_text(text: str, amount: int) -> None:
    assert billionths(text) == amount
    assert rubles(amount) == text


@pytest.mark.parametrize("lines", [{"a": 1}, {"a": 1, "b": -2}, {"a": MOST + 1, "b": -MOST - 1}])
def test_what_is_no_transfer_is_never_written(lines: dict[str, int]) -> None:
    made = Transfer(id="t", at=0.0, kind="adjustment", lines=lines, author="x")
    with pytest.raises(ValueError, match="The "):
        made.rows()


async def test_a_top_up_is_an_even_transfer(api: Api, book: Book) -> None:
    made = await top_up(api)
    lines = {line["account"]: line["amount"]["rubles"] for line in made["lines"]}
    assert lines == {"project:alfa-bot": "1500.50", "bank": "-1500.50"}
    assert (made["id"], made["kind"], made["author"]) == ("k-1", "top_up", "admin")
    assert await balance(api, "project:alfa-bot") == 1500 * RUBLE + RUBLE // 2
    assert await balance(api, "bank") == -await balance(api, "project:alfa-bot")
    assert await api.ask("GET", "/billing/transfers/k-1") == made
    await book.check()


async def test_the_same_key_writes_once(api: Api, book: Book) -> None:
    """E13: in a row, at the same time, with another body."""
    made = await asyncio.gather(*(top_up(api) for _ in range(5)))
    assert all(each == made[0] for each in made)
    assert await top_up(api) == made[0]
    for other in ({"amount": "1500.51"}, {"memo": "Invoice 8"}, {"at": 1000.0}):
        error = (await top_up(api, status=409, **other))["error"]
        assert (error["code"], error["param"]) == ("idempotency_key_reused", "idempotency-key")
    assert len(await book.lines("top_up")) == 2


async def test_a_write_without_a_key_is_refused(api: Api, book: Book) -> None:
    error = await api.error("POST", "/billing/top-ups", json=TOP_UP, status=400)
    assert "idempotency-key" in error["param"]
    await top_up(api, "package:1", status=400)
    assert not await book.lines()


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": "0"},
        {"amount": "-1"},
        {"amount": "1e3"},
        {"amount": "0.0000000001"},
        {"amount": 5},
        {"project": "ghost"},
        {"project": None},
        {"organization": "alfa"},
        {"at": 4e9},
        {"more": 1},
    ],
)
async def test_wrong_top_ups_are_refused(api: Api, book: Book, wrong: dict[str, Any]) -> None:
    await top_up(api, status=400, **wrong)
    assert not await book.lines()


@pytest.mark.usefixtures("book")
async def test_an_adjustment_moves_money(api: Api) -> None:
    given = {"source": "margin", "target": "organization:alfa", "amount": "10", "memo": "Sorry"}
    headers = {"idempotency-key": "a-1"}
    await api.ask("POST", "/billing/adjustments", json=given, headers=headers)
    assert await balance(api, "organization:alfa") == 10 * RUBLE
    same = given | {"target": "margin"}
    await api.error("POST", "/billing/adjustments", json=same, headers=headers, status=400)
    other = given | {"target": "pocket"}
    await api.error("POST", "/billing/adjustments", json=other, headers=headers, status=400)


async def test_money_does_not_go_to_accounts_of_nobody(api: Api, book: Book) -> None:
    await api.acme()
    await book.take(asked(700, provider="gone"))
    given, path = {"source": "bank", "amount": "10", "memo": "paid"}, "/billing/adjustments"
    for number, target in enumerate(("provider:acme", "provider:gone")):
        headers = {"idempotency-key": f"p-{number}"}
        await api.ask("POST", path, json=given | {"target": target}, headers=headers)
    for target in ("provider:typo", "package:1"):
        headers = {"idempotency-key": "p-9"}
        error = await api.error(
            "POST", path, json=given | {"target": target}, headers=headers, status=400
        )
        assert error["code"] == f"{target.partition(':')[0]}_not_found"


@pytest.mark.usefixtures("book")
async def test_a_transfer_is_taken_back_once(api: Api) -> None:
    await top_up(api)
    path, why = "/billing/transfers/k-1/reversal", {"memo": "Wrong project"}
    done = await api.ask("POST", path, json=why)
    assert await api.ask("POST", path, json=why) == done
    assert await balance(api, "project:alfa-bot") == 0
    error = await api.error("POST", path, json={"memo": "Again"}, status=409)
    assert error["code"] == "idempotency_key_reused"
    again = f"/billing/transfers/{done['id']}/reversal"
    assert (await api.error("POST", again, json=why, status=409))["code"] == "not_reversible"
    gone = await api.error("POST", "/billing/transfers/none/reversal", json=why, status=404)
    assert gone["code"] == "transfer_not_found"


async def test_a_charge_can_be_taken_back(api: Api, book: Book) -> None:
    event = asked(700)
    await book.take(event)
    await api.ask("POST", f"/billing/transfers/{event.event_id}/reversal", json={"memo": "Ours"})
    assert set((await book.balances()).values()) == {0}
    await book.check()


@pytest.mark.usefixtures("book")
async def test_lines_come_in_pages(api: Api) -> None:
    for number in range(5):
        await top_up(api, f"k-{number}")
    path, seen, after = "/billing/accounts/bank/lines", [], None
    for _ in range(3):
        query = {"limit": 2} | ({} if after is None else {"after": after})
        page = await api.ask("GET", path, params=query)
        seen += [line["transfer"] for line in page["data"]]
        after = page["next"]
    assert seen == [f"k-{number}" for number in (4, 3, 2, 1, 0)]
    assert after is None


@pytest.mark.usefixtures("book")
async def test_every_write_is_in_the_audit_log(api: Api) -> None:
    await top_up(api)
    (found,) = (await api.ask("GET", "/audit", params={"action": "ledger.top_up"}))["data"]
    assert (found["object"], found["organization"]) == ("transfer:k-1", "alfa")
