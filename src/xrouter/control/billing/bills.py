"""Charges, their sums, and monthly statements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing import posting, repository
from xrouter.control.billing.amounts import Money, money
from xrouter.control.billing.months import day_of, span
from xrouter.control.billing.repository import QUARTER_S
from xrouter.control.billing.schemas import (
    BillOut,
    BillQuery,
    BillRow,
    ChargeOut,
    ChargeQuery,
    StatementOut,
    StatementRow,
)
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeRow, ClosedMonthRow
from xrouter.control.db.tables.people import OrganizationRow
from xrouter.control.kit.actor import actor
from xrouter.control.kit.schemas import Page
from xrouter.control.people import access

READ = "bills.read"
_QUARTERS = 400 * 96
"""Of a summary by days, at most."""
_TIME_ZONE = "Europe/Moscow"


class Bills:
    """Only reads: charges come in by the drain. What one may not see is not there."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def charges(self, wanted: ChargeQuery) -> Page[ChargeOut]:
        """Charges, the newest first, behind the charge `after`. Raises InvalidRequest."""
        limit = wanted.limit
        async with self._db.read() as session:
            visible = await access.slugs(session, READ)
            found = await repository.charges(session, wanted, visible, limit + 1)
        data = [_charge(row) for row in found[:limit]]
        return Page(data=data, next=data[-1].event_id if len(found) > limit else None)

    async def summary(self, wanted: BillQuery) -> BillOut:
        """Sums by group, a page of them; of days the last four hundred at most.

        Days are those of the organisation that is asked for, else Moscow's.
        """
        group_by, limit = wanted.group_by, wanted.limit
        page = (0, _QUARTERS) if group_by == "day" else (wanted.after, limit + 1)
        async with self._db.read() as session:
            visible = await access.slugs(session, READ)
            found = await repository.summary(
                session, wanted, visible, group_by, after=page[0], limit=page[1]
            )
            zone = _TIME_ZONE
            if group_by == "day" and wanted.organization is not None:
                owner = await access.organization(session, wanted.organization, READ)
                zone = owner.time_zone
        rows = [(row[0], [int(each) for each in tuple(row)[1:]]) for row in found]
        if group_by == "day":
            days = [_sums(day, sums) for day, sums in _days(rows, zone)]
            return BillOut(group_by=group_by, data=days)
        return BillOut(
            group_by=group_by,
            data=[_sums(group, sums) for group, sums in rows[:limit]],
            next=wanted.after + limit if len(rows) > limit else None,
        )

    async def statement(self, organization: str, month: str, project: str | None) -> StatementOut:
        """A month of an organisation, or of one project of it. Raises NotFound."""
        async with self._db.read() as session:
            owner = await owner_of(session, organization, project)
            begins, ends = span(month, owner.time_zone)
            found = await repository.statement(session, owner.slug, project, month, begins)
            if project is None:
                accounts = await repository.accounts(session, owner.slug)
            else:
                accounts = [posting.project(project)]
            opening, moved = await repository.moved(session, accounts, begins, ends)
            closed = await session.get(ClosedMonthRow, (owner.slug, month))
        rows = [_row(row) for row in found]
        charged = -moved.pop("charge", 0)
        top_ups = moved.pop("top_up", 0)
        others = sum(moved.values())
        return StatementOut(
            organization=owner.slug,
            project=project,
            month=month,
            time_zone=owner.time_zone,
            is_closed=closed is not None,
            requests=sum(row.requests for row in rows),
            unknown=sum(row.unknown for row in rows),
            opening=money(opening),
            top_ups=money(top_ups),
            adjustments=money(others),
            charged=money(charged),
            closing=money(opening + top_ups + others - charged),
            data=rows,
        )


async def owner_of(
    session: AsyncSession, organization: str, project: str | None
) -> OrganizationRow:
    """The organisation, if who asks may read its bills, or the project's. Raises NotFound."""
    if project is None:
        return await access.organization(session, organization, READ)
    row = await access.project(session, project, READ)
    owner = await session.get(OrganizationRow, row.organization_id)
    if owner is None or owner.slug != organization:
        raise access.no_project(project)
    return owner


def _private(amount: int) -> Money | None:
    """What tenants need not know: what we pay, and what we earn."""
    return money(amount) if actor.get().is_operator else None


def _charge(row: ChargeRow) -> ChargeOut:
    amounts = {
        "cost": _private(row.cost),
        "margin": _private(row.margin),
        "vat": money(row.vat),
        "total": money(row.total),
    }
    return ChargeOut.model_validate({**row.__dict__, **amounts})


def _sums(group: str | None, sums: Sequence[int]) -> BillRow:
    requests, unknown, estimated, cost, margin, vat, total = sums
    return BillRow(
        group=group,
        requests=requests,
        unknown=unknown,
        estimated=estimated,
        cost=_private(cost),
        margin=_private(margin),
        vat=money(vat),
        total=money(total),
    )


def _days(quarters: Sequence[tuple[int, list[int]]], time_zone: str) -> list[tuple[Any, list[int]]]:
    """Quarters of an hour, the latest first, as days of a time zone."""
    days: dict[str, list[int]] = {}
    for number, sums in quarters:
        day = day_of(number * QUARTER_S, time_zone)
        known = days.setdefault(day, [0] * len(sums))
        days[day] = [one + other for one, other in zip(known, sums, strict=True)]
    return list(days.items())


def _row(row: Any) -> StatementRow:
    project, model, is_late, *numbers = row
    requests, unknown, tokens_in, tokens_out, net, vat, total = (int(each) for each in numbers)
    return StatementRow(
        project=project,
        model=model,
        is_correction=bool(is_late),
        requests=requests,
        unknown=unknown,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        net=money(net),
        vat=money(vat),
        total=money(total),
    )
