"""Requests that were charged, with all that is needed to settle them."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing import booked
from xrouter.control.billing.booked import CORRECTION, Attempt
from xrouter.control.db.tables.billing import (
    ChargeAttemptRow,
    ChargeRow,
    ClosedMonthRow,
    LineRow,
    SettlementRow,
)
from xrouter.control.db.tables.people import OrganizationRow
from xrouter.domain.limits import Tenant

_PACKAGES = "package:"


class Request(Struct):
    """A request with all that is known of it. corrections: rows of what its closed month lacks.

    revision: of its last settlement, 0 without one. closed: months of its owner.
    """

    row: ChargeRow
    parts: dict[int, ChargeAttemptRow]
    attempts: dict[int, Attempt]
    corrections: list[ChargeRow]
    revision: int
    owner: Tenant
    closed: frozenset[str]


async def requests(session: AsyncSession, events: Iterable[str]) -> dict[str, Request]:
    """Those of these that there are, in the order of their ids."""
    wanted = sorted(events)
    query = select(ChargeRow).where(ChargeRow.event_id.in_(wanted)).order_by(ChargeRow.event_id)
    rows = (await session.scalars(query)).all()
    attempts = await booked.of(session, wanted)
    parts: dict[str, dict[int, ChargeAttemptRow]] = {}
    for part in await session.scalars(
        select(ChargeAttemptRow).where(ChargeAttemptRow.event_id.in_(wanted))
    ):
        parts.setdefault(part.event_id, {})[part.number] = part
    told: dict[str, set[int]] = {}
    revisions = select(SettlementRow.event_id, SettlementRow.revision)
    for event_id, revision in await session.execute(
        revisions.where(SettlementRow.event_id.in_(wanted))
    ):
        told.setdefault(event_id or "", set()).add(revision)
    corrections = await _corrections(session, told)
    owners = await _owners(session, {row.organization for row in rows})
    closed = await _closed(session, set(owners))
    return {
        row.event_id: Request(
            row=row,
            parts=parts.get(row.event_id, {}),
            attempts={each.number: each for each in attempts.get(row.event_id, ())},
            corrections=corrections.get(row.event_id, []),
            revision=max(told.get(row.event_id, {0})),
            owner=owners.get(row.organization, Tenant(project="", organization=row.organization)),
            closed=frozenset(closed.get(row.organization, ())),
        )
        for row in rows
    }


async def _corrections(
    session: AsyncSession, told: dict[str, set[int]]
) -> dict[str, list[ChargeRow]]:
    names = [
        f"{event}{CORRECTION}{number}" for event, numbers in told.items() for number in numbers
    ]
    found: dict[str, list[ChargeRow]] = {}
    for some in booked.chunks(names):
        for row in await session.scalars(select(ChargeRow).where(ChargeRow.event_id.in_(some))):
            found.setdefault(row.event_id.partition(CORRECTION)[0], []).append(row)
    return found


async def packaged(session: AsyncSession, events: Iterable[str]) -> set[str]:
    """Those of which prepaid tokens were drawn."""
    query = select(LineRow.transfer).where(
        LineRow.transfer.in_(sorted(events)), LineRow.account.startswith(_PACKAGES, autoescape=True)
    )
    return {*await session.scalars(query)}


async def _owners(session: AsyncSession, organizations: set[str]) -> dict[str, Tenant]:
    query = select(OrganizationRow).where(OrganizationRow.slug.in_(organizations))
    return {
        row.slug: Tenant(
            project="",
            organization=row.slug,
            time_zone=row.time_zone,
            margin=row.margin,
            vat=row.vat,
        )
        for row in await session.scalars(query)
    }


async def _closed(session: AsyncSession, organizations: set[str]) -> dict[str, set[str]]:
    query = select(ClosedMonthRow.organization, ClosedMonthRow.month)
    found: dict[str, set[str]] = {}
    for organization, month in await session.execute(
        query.where(ClosedMonthRow.organization.in_(organizations))
    ):
        found.setdefault(organization, set()).add(month)
    return found
