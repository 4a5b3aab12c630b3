from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeAttemptRow, LineRow
from xrouter.control.kit.bulk import MOST_VALUES, Bulk

COLUMNS = (
    "event_id", "number", "provider", "endpoint", "model", None, "version", "tokens_in",
    "tokens_out", "currency", "rate", "price_id", "cost", "is_estimated",
)  # fmt: skip
KEPT = [name for name in COLUMNS if name is not None]
AT_ONCE = MOST_VALUES // len(KEPT)
ATTEMPTS = Bulk(ChargeAttemptRow, COLUMNS, unique=("event_id", "number"))
LINES = Bulk(
    LineRow,
    ("transfer", "at", "account", "amount"),
    unique=("transfer", "account"),
    always={"kind": "charge", "author": "drain"},
)


def attempt(n: int, **more: Any) -> tuple[Any, ...]:
    given = {
        "event_id": f"e{n:06d}",
        "number": 1,
        "provider": "acme",
        "endpoint": "main",
        "model": "acme/one",
        "version": "v1",
        "tokens_in": 2**40 + n,
        "tokens_out": n,
        "currency": "RUB",
        "rate": 10**9,
        "price_id": n,
        "cost": 2**60 + n,
        "is_estimated": n % 3 == 0,
    } | more
    return tuple("not kept" if name is None else given[name] for name in COLUMNS)


async def write(db: Database, bulk: Bulk, rows: Sequence[tuple[Any, ...]]) -> None:
    async with db.write() as session:
        await bulk.write(session, rows)


async def attempts(db: Database) -> list[tuple[Any, ...]]:
    async with db.read() as session:
        table = ChargeAttemptRow.__table__
        query = select(*(table.c[name] for name in KEPT)).order_by(table.c.event_id)
        return [tuple(row) for row in await session.execute(query)]


def kept(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [
        tuple(value for name, value in zip(COLUMNS, row, strict=True) if name is not None)
        for row in rows
    ]


@pytest.mark.parametrize("count", [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE + 5])
async def test_however_many_rows_there_are_all_are_written(db: Database, count: int) -> None:
    rows = [attempt(n) for n in range(count)]
    await write(db, ATTEMPTS, rows)
    assert await attempts(db) == kept(rows)


@pytest.mark.parametrize("where", [(), (0,), (1,), (AT_ONCE,), (2 * AT_ONCE,)])
async def test_a_value_is_written_wherever_the_others_have_none(
    db: Database, where: tuple[int, ...]
) -> None:
    rows = [
        attempt(n, version="v2" if n in where else None, price_id=n if n in where else None)
        for n in range(2 * AT_ONCE + 1)
    ]
    await write(db, ATTEMPTS, rows)
    assert await attempts(db) == kept(rows)


@pytest.mark.parametrize("where", [(), (0,), (AT_ONCE,), (3 * AT_ONCE,)])
async def test_what_is_the_same_in_nearly_all_rows_is_not_so_in_the_others(
    db: Database, where: tuple[int, ...]
) -> None:
    same = {"tokens_in": 5, "tokens_out": 0, "cost": 1, "price_id": None, "is_estimated": True}
    odd = {"model": "acme/two", "cost": 2**60, "is_estimated": False, "currency": None}
    rows = [attempt(n, **same | (odd if n in where else {})) for n in range(3 * AT_ONCE + 1)]
    await write(db, ATTEMPTS, rows)
    assert await attempts(db) == kept(rows)


async def test_truth_is_truth(db: Database) -> None:
    await write(db, ATTEMPTS, [attempt(0), attempt(1)])
    async with db.read() as session:
        query = select(ChargeAttemptRow.event_id).where(ChargeAttemptRow.is_estimated.is_(True))
        assert (await session.scalars(query)).all() == ["e000000"]
        query = select(ChargeAttemptRow.event_id).where(ChargeAttemptRow.is_estimated.is_(False))
        assert (await session.scalars(query)).all() == ["e000001"]


async def test_rows_that_are_there_stay_as_they_are(db: Database) -> None:
    first = [attempt(n) for n in range(AT_ONCE)]
    await write(db, ATTEMPTS, first)
    again = [attempt(n, cost=7) for n in range(2 * AT_ONCE)]
    await write(db, ATTEMPTS, [*again, *again])
    assert await attempts(db) == kept([*first, *again[AT_ONCE:]])


async def test_one_row_that_is_refused_leaves_none(db: Database) -> None:
    rows = [attempt(n, provider=None if n == AT_ONCE else "acme") for n in range(2 * AT_ONCE)]
    with pytest.raises(DBAPIError):
        await write(db, ATTEMPTS, rows)
    with pytest.raises(DBAPIError):  # nor does a column that must have a value become another one
        await write(db, ATTEMPTS, [attempt(0, provider=None)])
    assert await attempts(db) == []


async def test_lines_keep_their_order_and_the_words_of_all(db: Database) -> None:
    rows = [(f"t{n:05d}", 1.5, account, 3 - n) for n in range(400) for account in ("a", "b")]
    await write(db, LINES, rows)
    async with db.read() as session:
        found = (await session.scalars(select(LineRow).order_by(LineRow.id))).all()
    assert [(row.transfer, row.at, row.account, row.amount) for row in found] == rows
    assert {(row.kind, row.author, row.memo) for row in found} == {("charge", "drain", None)}
