"""Usage: events and their sums."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing.amounts import Money, money
from xrouter.control.db.engine import Database
from xrouter.control.kit.actor import actor
from xrouter.control.kit.schemas import Page
from xrouter.control.people import access
from xrouter.control.usage import repository
from xrouter.control.usage.repository import SUMS
from xrouter.control.usage.schemas import (
    EventOut,
    EventQuery,
    Filter,
    SummaryOut,
    SummaryQuery,
    SummaryRow,
)
from xrouter.domain.errors import Forbidden

READ = "usage.read"
READ_MONEY = "bills.read"
_OURS = ("cost", "margin")
"""What tenants need not know: what we pay, and what we earn."""
_MONEY = (*_OURS, "vat", "total")
_HIDDEN: dict[str, Any] = {"endpoint": None, "upstream_request_id": None, "tried": []}


class UsageService:
    """Only reads: events come in by the drain. What one may not see is not there."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, wanted: EventQuery) -> Page[EventOut]:
        """Events, the newest first, behind the event `after`. Raises InvalidRequest, NotFound."""
        limit = wanted.limit
        async with self._db.read() as session:
            visible = await _visible(session, wanted)
            found = await repository.events(session, wanted, visible, limit + 1)
        hidden = {} if actor.get().is_operator else _HIDDEN
        data = [EventOut.model_validate(row).model_copy(update=hidden) for row in found[:limit]]
        return Page(data=data, next=data[-1].event_id if len(found) > limit else None)

    async def summary(self, wanted: SummaryQuery) -> SummaryOut:
        """Sums by group, a page of them. Raises NotFound, Forbidden."""
        limit = wanted.limit
        _require_own(wanted)
        async with self._db.read() as session:
            visible = await _visible(session, wanted)
            shown = await _shown(session, visible)
            found = await repository.summary(session, wanted, visible, limit + 1)
        return SummaryOut(
            group_by=wanted.group_by,
            time_zone=wanted.time_zone,
            data=[_row(wanted, row, shown) for row in found[:limit]],
            next=wanted.after + limit if len(found) > limit else None,
        )


async def _visible(session: AsyncSession, wanted: Filter) -> list[str] | None:
    """The projects that who asks may see of those asked for; None for all. Raises NotFound."""
    visible = await access.slugs(session, READ)
    if visible is None:
        return None
    if wanted.organization is not None:
        await access.organization(session, wanted.organization, "organization.read")
    if wanted.project is None:
        return visible
    await access.project(session, wanted.project, READ)
    return [wanted.project]


async def _shown(session: AsyncSession, visible: list[str] | None) -> tuple[str, ...]:
    """The amounts that who asks may see: none, unless of all projects that are summed."""
    if visible is None:
        return _MONEY
    payable = await access.slugs(session, READ_MONEY) or ()
    return tuple(name for name in _MONEY if name not in _OURS) if {*visible} <= {*payable} else ()


def _require_own(wanted: SummaryQuery) -> None:
    if "endpoint" in wanted.group_by and not actor.get().is_operator:
        raise Forbidden("'endpoint' is for operators of this router to see.", param="group_by")


def _row(wanted: SummaryQuery, row: tuple[Any, ...], shown: tuple[str, ...]) -> SummaryRow:
    dimensions = len(wanted.group_by)
    group = dict(zip(wanted.group_by, row[:dimensions], strict=True))
    sums: dict[str, int | Money | None] = {
        name: int(value) for name, value in zip(SUMS, row[dimensions:], strict=True)
    }
    for name in _MONEY:
        amount = sums[name]
        sums[name] = money(amount) if name in shown and isinstance(amount, int) else None
    return SummaryRow.model_validate({"group": group, **sums})
