from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, text

from xrouter.control.billing.taker import Charges
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeRow, LineRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.domain.limits import Tenant
from xrouter.domain.money import BILLION, RUBLE, Charge, on_top
from xrouter.domain.usage import UsageEvent, new_id

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC).timestamp()
ALFA = Tenant(project="alfa-bot", organization="alfa", margin=1000, vat=2000)


def charge(cost: int, tenant: Tenant | None = ALFA) -> Charge:
    margin, vat = on_top(cost, tenant)
    total = cost + margin + vat
    return Charge(cost=cost, margin=margin, vat=vat, total=total, currency=RUBLE, rate=BILLION)


def asked(cost: int | None = 700, **more: Any) -> UsageEvent:
    given: dict[str, Any] = {
        "event_id": new_id(),
        "request_id": new_id("req_"),
        "at": NOON,
        "operation": "chat",
        "status": 200,
        "attempts": 1,
        "model_served": "acme/one",
        "version": "v1",
        "provider": "acme",
        "endpoint": "main",
        "key_id": "key_1",
        "project": "alfa-bot",
        "tokens_in": 10,
        "tokens_out": 5,
        "charge": None if cost is None else charge(cost),
    }
    return UsageEvent(**{**given, **more})


class Book:
    """The tables of the drain's takers, and what is in them."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.taker = Charges()

    async def take(self, *events: UsageEvent) -> None:
        async with self.db.write() as session:
            await self.taker.take(session, events)

    async def charges(self) -> Sequence[ChargeRow]:
        async with self.db.read() as session:
            return (await session.scalars(select(ChargeRow).order_by(ChargeRow.event_id))).all()

    async def lines(self, kind: str | None = None) -> Sequence[LineRow]:
        query = select(LineRow).order_by(LineRow.id)
        if kind is not None:
            query = query.where(LineRow.kind == kind)
        async with self.db.read() as session:
            return (await session.scalars(query)).all()

    async def balances(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for line in await self.lines():
            found[line.account] = found.get(line.account, 0) + line.amount
        return found

    async def number(self, sql: str) -> int:
        async with self.db.read() as session:
            return int(await session.scalar(text(sql)) or 0)

    async def check(self) -> None:
        """What always holds: charges are what projects pay, and every transfer is even."""
        charged = await self.number("SELECT sum(total) FROM charges")
        projects = "kind = 'charge' AND account LIKE 'project:%'"
        paid = await self.number(f"SELECT sum(amount) FROM ledger_lines WHERE {projects}")
        assert charged == -paid
        odd = "SELECT transfer FROM ledger_lines GROUP BY transfer HAVING sum(amount) <> 0"
        assert await self.number(f"SELECT count(*) FROM ({odd}) AS odd") == 0
        parts = "SELECT count(*) FROM charges WHERE total <> cost + margin + vat"
        assert await self.number(parts) == 0


@pytest.fixture
async def book(db: Database) -> Book:
    """With an organisation `alfa` in Moscow that has a project `alfa-bot`."""
    async with db.write() as session:
        alfa = OrganizationRow(slug="alfa", name="Alfa", margin=ALFA.margin, vat=ALFA.vat)
        session.add(alfa)
        await session.flush()
        session.add(ProjectRow(organization_id=alfa.id, slug="alfa-bot", name="Bot"))
    return Book(db)
