"""Queries of charges and of the ledger."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, case, cast, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.billing import posting
from xrouter.control.billing.schemas import ChargeFilter, ChargeQuery, GroupBy
from xrouter.control.db.tables.billing import ChargeRow, LineRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.domain.errors import InvalidRequest

DEFAULT = "default"
"""The project of events without one, and the organisation of projects that nobody has made."""

QUARTER_S = 900
"""Every time zone's days begin at one of these."""

_GROUPS: dict[GroupBy, ColumnElement[Any]] = {
    "project": ChargeRow.project.expression,
    "organization": ChargeRow.organization.expression,
    "key": ChargeRow.key_id.expression,
    "model": ChargeRow.model.expression,
    "provider": ChargeRow.provider.expression,
    "month": ChargeRow.month.expression,
    "end_user": ChargeRow.end_user.expression,
}


async def charges(
    session: AsyncSession, wanted: ChargeQuery, visible: Collection[str] | None, limit: int
) -> Sequence[ChargeRow]:
    """Charges, the newest first; behind the charge `after`. Raises InvalidRequest.

    visible: projects that may be seen, None for all.
    """
    query = select(ChargeRow).where(*_conditions(wanted, visible))
    after = wanted.after
    if after is not None:
        at = await session.scalar(select(ChargeRow.at).where(ChargeRow.event_id == after))
        if at is None:
            raise InvalidRequest(
                "Invalid value for 'after': there is no such charge.",
                param="after",
                code="invalid_value",
            )
        query = query.where(tuple_(ChargeRow.at, ChargeRow.event_id) < tuple_(at, after))
    order = (ChargeRow.at.desc(), ChargeRow.event_id.desc())
    return (await session.scalars(query.order_by(*order).limit(limit))).all()


async def summary(
    session: AsyncSession,
    wanted: ChargeFilter,
    visible: Collection[str] | None,
    group_by: GroupBy,
    *,
    after: int,
    limit: int,
) -> Sequence[Row[Any]]:
    """(group, requests, unknown, estimated, cost, margin, vat, total) of each group.

    Of `day`: quarters of an hour since 1970, the latest first.
    """
    by_time = group_by in ("day", "month")
    group = quarter(session, ChargeRow.at) if group_by == "day" else _GROUPS[group_by]
    total = func.sum(ChargeRow.total)
    query = (
        select(
            group.label("group"),
            func.count(),
            _times(ChargeRow.rate.is_(None)),
            _times(ChargeRow.is_estimated),
            func.sum(ChargeRow.cost),
            func.sum(ChargeRow.margin),
            func.sum(ChargeRow.vat),
            total,
        )
        .where(*_conditions(wanted, visible))
        .group_by(group)
        .order_by(group.desc() if by_time else total.desc(), group)
        .offset(after)
        .limit(limit)
    )
    return (await session.execute(query)).all()


async def statement(
    session: AsyncSession, organization: str, project: str | None, month: str, begins: float
) -> Sequence[Row[Any]]:
    """Of a month: (project, model, is correction, requests, unknown, tokens in, out, net, VAT,
    total).
    """
    late = case((ChargeRow.at < begins, 1), else_=0)
    net = func.sum(ChargeRow.cost + ChargeRow.margin)
    query = (
        select(
            ChargeRow.project,
            ChargeRow.model,
            late,
            func.count(),
            _times(ChargeRow.rate.is_(None)),
            func.coalesce(func.sum(UsageRow.tokens_in), 0),
            func.coalesce(func.sum(UsageRow.tokens_out), 0),
            net,
            func.sum(ChargeRow.vat),
            func.sum(ChargeRow.total),
        )
        .outerjoin(UsageRow, UsageRow.event_id == ChargeRow.event_id)
        .where(ChargeRow.organization == organization, ChargeRow.month == month)
        .group_by(ChargeRow.project, ChargeRow.model, late)
        .order_by(ChargeRow.project, ChargeRow.model, late)
    )
    if project is not None:
        query = query.where(ChargeRow.project == project)
    return (await session.execute(query)).all()


async def sold(
    session: AsyncSession, organization: str, project: str | None, month: str, begins: float
) -> Sequence[tuple[Any, ...]]:
    """(model, is late, requests, vat, total) of a month. late: of months before it."""
    late = case((ChargeRow.at < begins, 1), else_=0)
    query = (
        select(
            ChargeRow.model,
            late,
            func.count(),
            func.sum(ChargeRow.vat),
            func.sum(ChargeRow.total),
        )
        .where(ChargeRow.organization == organization, ChargeRow.month == month)
        .group_by(ChargeRow.model, late)
    )
    if project is not None:
        query = query.where(ChargeRow.project == project)
    return [tuple(row) for row in await session.execute(query)]


async def charged(session: AsyncSession, month: str, limit: int) -> list[str]:
    """The organisations that were charged anything in a month."""
    query = (
        select(ChargeRow.organization)
        .where(ChargeRow.month == month)
        .group_by(ChargeRow.organization)
        .order_by(ChargeRow.organization)
        .limit(limit)
    )
    return list(await session.scalars(query))


async def months(session: AsyncSession, organization: str) -> dict[str, tuple[int, int, int]]:
    """Requests, those without a price, and total of each month that has any; the latest first."""
    unknown = _times(ChargeRow.rate.is_(None))
    query = (
        select(ChargeRow.month, func.count(), unknown, func.sum(ChargeRow.total))
        .where(ChargeRow.organization == organization)
        .group_by(ChargeRow.month)
        .order_by(ChargeRow.month.desc())
    )
    return {name: (n, int(odd), int(total)) for name, n, odd, total in await session.execute(query)}


async def month(session: AsyncSession, organization: str, name: str) -> tuple[int, int, int]:
    """Requests, those without a price, and total of one month."""
    unknown = _times(ChargeRow.rate.is_(None))
    query = select(func.count(), unknown, func.sum(ChargeRow.total)).where(
        ChargeRow.organization == organization, ChargeRow.month == name
    )
    requests, odd, total = (await session.execute(query)).one()
    return requests, int(odd or 0), int(total or 0)


async def accounts(session: AsyncSession, organization: str) -> list[str]:
    """The accounts of an organisation and of all its projects."""
    made = (
        select(ProjectRow.slug)
        .join(OrganizationRow, OrganizationRow.id == ProjectRow.organization_id)
        .where(OrganizationRow.slug == organization)
    )
    slugs = {*await session.scalars(made)}
    if organization == DEFAULT:  # whose are those as well that nobody has made
        orphans = select(ChargeRow.project).where(
            ChargeRow.organization == DEFAULT, ChargeRow.project.not_in(select(ProjectRow.slug))
        )
        slugs |= {*await session.scalars(orphans.distinct())}
    return [posting.organization(organization), *(posting.project(slug) for slug in sorted(slugs))]


async def moved(
    session: AsyncSession, accounts: Sequence[str], begins: float, ends: float
) -> tuple[int, dict[str, int]]:
    """What the accounts held when the span began, and how they changed in it, by kind."""
    mine = LineRow.account.in_(accounts)
    held = select(func.sum(LineRow.amount)).where(mine, LineRow.at < begins)
    inside = (
        select(LineRow.kind, func.sum(LineRow.amount))
        .where(mine, LineRow.at >= begins, LineRow.at < ends)
        .group_by(LineRow.kind)
    )
    opening = int(await session.scalar(held) or 0)
    return opening, {kind: int(total) for kind, total in await session.execute(inside)}


def quarter(session: AsyncSession, at: ColumnElement[float] | Any) -> ColumnElement[int]:
    """The quarters of an hour between 1970 and a moment."""
    quarters = at / QUARTER_S
    if session.get_bind().dialect.name == "postgresql":
        quarters = func.floor(quarters)  # its cast rounds, SQLite's cuts
    return cast(quarters, Integer)


def _conditions(wanted: ChargeFilter, visible: Collection[str] | None) -> list[ColumnElement[bool]]:
    same = ("organization", "project", "key_id", "model", "provider", "end_user", "month")
    found: list[ColumnElement[bool]] = [
        getattr(ChargeRow, name) == value
        for name in same
        if (value := getattr(wanted, name)) is not None
    ]
    if visible is not None:
        found.append(ChargeRow.project.in_(visible))
    if wanted.since is not None:
        found.append(ChargeRow.at >= wanted.since.timestamp())
    if wanted.until is not None:
        found.append(ChargeRow.at < wanted.until.timestamp())
    return found


def _times(condition: ColumnElement[bool] | Any) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
