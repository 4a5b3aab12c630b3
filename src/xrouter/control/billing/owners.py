"""Whose charges are, and in which month they are booked."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import and_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing.months import month_of, open_from, span
from xrouter.control.billing.repository import DEFAULT, QUARTER_S
from xrouter.control.db.tables.billing import ClosedMonthRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.domain.limits import Tenant

_DAY_S = 86400.0
"""More than any time zone is away from another one's month."""

_CLOSED = and_(
    ClosedMonthRow.organization == OrganizationRow.slug, ClosedMonthRow.month >= bindparam("first")
)
_OF_PROJECTS = (
    select(
        ProjectRow.slug,
        OrganizationRow.slug,
        OrganizationRow.time_zone,
        OrganizationRow.margin,
        OrganizationRow.vat,
        ClosedMonthRow.month,
    )
    .join(OrganizationRow, OrganizationRow.id == ProjectRow.organization_id)
    .outerjoin(ClosedMonthRow, _CLOSED)
    .where(ProjectRow.slug.in_(bindparam("projects", expanding=True)))
)
_OF_DEFAULT = (
    select(OrganizationRow.time_zone, ClosedMonthRow.month)
    .outerjoin(ClosedMonthRow, _CLOSED)
    .where(OrganizationRow.slug == DEFAULT)
)

Closed = Mapping[str, Collection[str]]
"""Closed months by organisation."""


async def tenants(
    session: AsyncSession, projects: Collection[str], since: float
) -> tuple[dict[str, Tenant], Closed]:
    """Whose the projects are, and which of the months from this moment on are closed.

    Those that nobody has made are the default organisation's.
    """
    first = month_of(since - _DAY_S, "UTC")
    found: dict[str, Tenant] = {}
    closed: dict[str, set[str]] = {}
    for slug, of, zone, margin, vat, month in await session.execute(
        _OF_PROJECTS, {"projects": [*projects], "first": first}
    ):
        if slug not in found:
            found[slug] = Tenant(
                project=slug, organization=of, time_zone=zone, margin=margin, vat=vat
            )
        if month is not None:
            closed.setdefault(of, set()).add(month)
    if len(found) < len(projects):
        rows = (await session.execute(_OF_DEFAULT, {"first": first})).all()
        zone = rows[0].time_zone if rows else "UTC"
        closed[DEFAULT] = {row.month for row in rows if row.month is not None}
        for slug in projects:
            if slug not in found:
                found[slug] = Tenant(project=slug, organization=DEFAULT, time_zone=zone)
    return found, closed


class Calendar:
    """In which month a charge is booked: its own, or the first one after it that is open."""

    def __init__(self, closed: Closed) -> None:
        self._closed = closed
        self._known: dict[tuple[str, float], tuple[str, float | None]] = {}

    def booked(self, at: float, owner: Tenant) -> tuple[str, float]:
        """The month, and the moment in it at which its lines are booked."""
        quarter = (owner.organization, at // QUARTER_S)
        found = self._known.get(quarter)
        if found is None:
            natural = month_of(at, owner.time_zone)
            month = open_from(natural, self._closed.get(owner.organization, ()))
            begins = None if month == natural else span(month, owner.time_zone)[0]
            found = self._known[quarter] = (month, begins)
        month, begins = found
        return month, at if begins is None else begins
