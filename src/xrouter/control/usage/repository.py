"""Queries of the usage events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.billing import ChargeRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.usage.clocks import bucket
from xrouter.control.usage.schemas import EventQuery, Filter, GroupBy, SummaryQuery
from xrouter.domain.errors import InvalidRequest

SUMS = (
    "requests", "errors", "cancelled", "from_cache", "tokens_in", "tokens_out", "tokens_cached",
    "tokens_reasoning", "unknown", "cost", "margin", "vat", "total",
)  # fmt: skip
_TIMES = ("hour", "day", "month")
_FOREVER = 1e12

_ORGANIZATION: ColumnElement[str] = func.coalesce(ChargeRow.organization, OrganizationRow.slug)
_GROUPS: dict[GroupBy, ColumnElement[Any]] = {
    "organization": _ORGANIZATION,
    "project": UsageRow.project.expression,
    "key": UsageRow.key_id.expression,
    "end_user": ChargeRow.end_user.expression,
    "model": func.coalesce(UsageRow.model_served, UsageRow.model_requested),
    "requested": UsageRow.model_requested.expression,
    "version": UsageRow.version.expression,
    "provider": UsageRow.provider.expression,
    "endpoint": UsageRow.endpoint.expression,
    "route": UsageRow.route.expression,
    "operation": UsageRow.operation.expression,
    "status": UsageRow.status.expression,
    "outcome": UsageRow.outcome.expression,
    "error": UsageRow.error_code.expression,
    "finish": UsageRow.finish_reason.expression,
    "streamed": UsageRow.streamed.expression,
    "cached": UsageRow.cached.expression,
}
_SAME: dict[str, ColumnElement[Any]] = {
    "organization": _ORGANIZATION,
    "project": UsageRow.project.expression,
    "key_id": UsageRow.key_id.expression,
    "end_user": ChargeRow.end_user.expression,
    "version": UsageRow.version.expression,
    "provider": UsageRow.provider.expression,
    "route": UsageRow.route.expression,
    "operation": UsageRow.operation.expression,
    "status": UsageRow.status.expression,
    "outcome": UsageRow.outcome.expression,
}
"""Filters and what they compare."""


async def events(
    session: AsyncSession, wanted: EventQuery, visible: Collection[str] | None, limit: int
) -> Sequence[UsageRow]:
    """Events, the newest first; behind the event `after`. Raises InvalidRequest.

    visible: projects that may be seen, None for all.
    """
    query = _joined(select(UsageRow), wanted).where(*_conditions(wanted, visible))
    after = wanted.after
    if after is not None:
        at = await session.scalar(select(UsageRow.at).where(UsageRow.event_id == after))
        if at is None:
            raise InvalidRequest(
                "Invalid value for 'after': there is no such event.",
                param="after",
                code="invalid_value",
            )
        query = query.where(tuple_(UsageRow.at, UsageRow.event_id) < tuple_(at, after))
    order = (UsageRow.at.desc(), UsageRow.event_id.desc())
    return (await session.scalars(query.order_by(*order).limit(limit))).all()


async def summary(
    session: AsyncSession, wanted: SummaryQuery, visible: Collection[str] | None, limit: int
) -> list[tuple[Any, ...]]:
    """The values of the dimensions, then SUMS, of each group behind the first `after`.

    The latest first, then by requests.
    """
    groups = {name: _group(session, name, wanted) for name in wanted.group_by}
    requests = func.count()
    known = ChargeRow.event_id.is_not(None)
    sums = (
        requests,
        _times(UsageRow.outcome == "error"),
        _times(UsageRow.outcome == "cancelled"),
        _times(UsageRow.cached),
        func.sum(UsageRow.tokens_in),
        func.sum(UsageRow.tokens_out),
        func.sum(UsageRow.tokens_cached),
        func.sum(UsageRow.tokens_reasoning),
        _times(and_(known, ChargeRow.rate.is_(None))),
        *(_total(each) for each in (ChargeRow.cost, ChargeRow.margin)),
        *(_total(each) for each in (ChargeRow.vat, ChargeRow.total)),
    )
    latest = [each.desc() for name, each in groups.items() if name in _TIMES]
    others = [each for name, each in groups.items() if name not in _TIMES]
    query = (
        select(*groups.values(), *sums)
        .outerjoin(ChargeRow, ChargeRow.event_id == UsageRow.event_id)
        .where(*_conditions(wanted, visible))
        .group_by(*groups.values())
        .order_by(*latest, requests.desc(), *others)
        .offset(wanted.after)
        .limit(limit)
    )
    if "organization" in wanted.group_by or wanted.organization is not None:
        query = _owned(query)
    return [tuple(row) for row in await session.execute(query)]


def _joined(query: Any, wanted: Filter) -> Any:
    """With the tables that the filters look at, and no others."""
    if wanted.end_user is not None or wanted.organization is not None:
        query = query.outerjoin(ChargeRow, ChargeRow.event_id == UsageRow.event_id)
    return query if wanted.organization is None else _owned(query)


def _owned(query: Any) -> Any:
    """With the organisation that the event's project belongs to."""
    return query.outerjoin(ProjectRow, ProjectRow.slug == UsageRow.project).outerjoin(
        OrganizationRow, OrganizationRow.id == ProjectRow.organization_id
    )


def _conditions(wanted: Filter, visible: Collection[str] | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [
        column == value
        for name, column in _SAME.items()
        if (value := getattr(wanted, name)) is not None
    ]
    if wanted.model is not None:
        unserved = and_(UsageRow.model_served.is_(None), UsageRow.model_requested == wanted.model)
        found.append(or_(UsageRow.model_served == wanted.model, unserved))
    if visible is not None:
        found.append(UsageRow.project.in_(visible))
    if wanted.since is not None:
        found.append(UsageRow.at >= wanted.since.timestamp())
    if wanted.until is not None:
        found.append(UsageRow.at < wanted.until.timestamp())
    return found


def _group(session: AsyncSession, name: GroupBy, wanted: SummaryQuery) -> ColumnElement[Any]:
    if name not in ("hour", "day", "month"):
        return _GROUPS[name]
    since = wanted.since.timestamp() if wanted.since is not None else 0.0
    until = wanted.until.timestamp() if wanted.until is not None else _FOREVER
    return bucket(session, UsageRow.at, name, wanted.time_zone, (since, until))


def _times(condition: ColumnElement[bool] | Any) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _total(column: Any) -> ColumnElement[int]:
    return func.coalesce(func.sum(column), 0)
