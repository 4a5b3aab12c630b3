"""Closing months: what is closed never changes; what comes later is of a later month."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from msgspec.structs import asdict
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.billing import posting, repository
from xrouter.control.billing.amounts import money
from xrouter.control.billing.documents.frozen import CLOSED, present
from xrouter.control.billing.months import span
from xrouter.control.billing.schemas import MonthOut
from xrouter.control.db.changes import author
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeRow, ClosedMonthRow
from xrouter.control.kit.schemas import Page
from xrouter.control.people import access
from xrouter.domain.errors import Conflict

_NONE = (0, 0, 0)


class Months:
    """Months of organisations. now: unix seconds. seller: who documents say sells."""

    def __init__(
        self,
        db: Database,
        now: Callable[[], float] = time.time,
        *,
        seller: Mapping[str, str] | None = None,
    ) -> None:
        self._db = db
        self._now = now
        self._seller = seller or {}

    async def page(self, organization: str) -> Page[MonthOut]:
        """Closed months, and those with charges; the latest first. Raises NotFound."""
        async with self._db.read() as session:
            owner = await access.organization(session, organization, "bills.read")
            counted = await repository.months(session, owner.slug)
            query = select(ClosedMonthRow).where(ClosedMonthRow.organization == owner.slug)
            rows = (await session.scalars(query)).all()
        closed = {row.month: _closed(row, counted.get(row.month, _NONE)[1]) for row in rows}
        found = {
            month: MonthOut(
                organization=owner.slug,
                month=month,
                requests=requests,
                unknown=unknown,
                total=money(total),
            )
            for month, (requests, unknown, total) in counted.items()
        } | closed
        return Page(data=[found[month] for month in sorted(found, reverse=True)])

    async def close(self, organization: str, month: str) -> MonthOut:
        """Freeze a month that is over; one that is closed already stays as it is.

        Raises NotFound, Conflict.
        """
        async with self._db.write() as session:
            await posting.alone(session)
            owner = await access.organization(session, organization, "bills.change", lock=True)
            requests, unknown, total = await repository.month(session, owner.slug, month)
            known = await session.get(ClosedMonthRow, (owner.slug, month))
            if known is not None:
                return _closed(known, unknown)
            now = self._now()
            if span(month, owner.time_zone)[1] > now:
                raise Conflict(
                    f"The month {month} is not over in {owner.time_zone}.",
                    param="month",
                    code="month_not_over",
                )
            await _require_before(session, owner.slug, month)
            row = ClosedMonthRow(
                organization=owner.slug,
                month=month,
                closed_at=datetime.fromtimestamp(now, UTC),
                author=author.get(),
                total=total,
                requests=requests,
            )
            session.add(row)
            await audit.record(
                session,
                action=CLOSED,
                object=f"month:{month}",
                organization=owner.slug,
                detail={
                    "total": total,
                    "requests": requests,
                    "documents": asdict(present(owner, self._seller)),
                },
            )
            return _closed(row, unknown)


async def _require_before(session: AsyncSession, organization: str, month: str) -> None:
    """Months are closed one after the other: each begins with what the last one has left.

    Raises Conflict.
    """
    closed = select(ClosedMonthRow.month).where(ClosedMonthRow.organization == organization)
    query = select(func.min(ChargeRow.month)).where(
        ChargeRow.organization == organization,
        ChargeRow.month < month,
        ChargeRow.month.not_in(closed),
    )
    before = await session.scalar(query)
    if before is not None:
        raise Conflict(
            f"The month {before} of '{organization}' is still open.",
            param="month",
            code="earlier_month_open",
            hint=f"Close {before} first.",
        )


def _closed(row: ClosedMonthRow, unknown: int) -> MonthOut:
    return MonthOut(
        organization=row.organization,
        month=row.month,
        requests=row.requests,
        unknown=unknown,
        total=money(row.total),
        closed_at=row.closed_at,
        author=row.author,
    )
