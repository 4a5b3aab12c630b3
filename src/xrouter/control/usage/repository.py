"""Queries of the usage events."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.billing import ChargeAttemptRow, ChargeRow
from xrouter.control.db.tables.people import OrganizationRow, ProjectRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.usage import attempts
from xrouter.control.usage.attempts import MONEY
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

    The latest first, then by requests. Money is of all who were asked, the rest of who answered.
    """
    parts = [_events(session, wanted, visible)]
    if attempts.matter(wanted):
        parts += [_moved_out(session, wanted, visible), _moved_in(session, wanted, visible)]
    found = union_all(*parts).subquery()
    groups = {name: found.c[name] for name in wanted.group_by}
    sums = {name: func.sum(found.c[_sum(name)]) for name in SUMS}
    latest = [each.desc() for name, each in groups.items() if name in _TIMES]
    others = [each for name, each in groups.items() if name not in _TIMES]
    query = (
        select(*groups.values(), *sums.values())
        .group_by(*groups.values())
        .order_by(*latest, sums["requests"].desc(), *others)
        .offset(wanted.after)
        .limit(limit)
    )
    return [tuple(row) for row in await session.execute(query)]


def _events(session: AsyncSession, wanted: SummaryQuery, visible: Collection[str] | None) -> Any:
    """By who answered, with the whole charge."""
    known = ChargeRow.event_id.is_not(None)
    counts = {
        "requests": func.count(),
        "errors": _times(UsageRow.outcome == "error"),
        "cancelled": _times(UsageRow.outcome == "cancelled"),
        "from_cache": _times(UsageRow.cached),
        "tokens_in": func.sum(UsageRow.tokens_in),
        "tokens_out": func.sum(UsageRow.tokens_out),
        "tokens_cached": func.sum(UsageRow.tokens_cached),
        "tokens_reasoning": func.sum(UsageRow.tokens_reasoning),
        "unknown": _times(and_(known, ChargeRow.rate.is_(None))),
    }
    money = {name: func.coalesce(func.sum(each), 0) for name, each in MONEY.items()}
    groups = _groups(session, wanted, _GROUPS)
    query = (
        select(*groups, *_labelled(counts | money))
        .outerjoin(ChargeRow, ChargeRow.event_id == UsageRow.event_id)
        .where(*_conditions(wanted, visible))
        .group_by(*groups)
    )
    return _owned_if_asked(query, wanted)


def _moved_out(session: AsyncSession, wanted: SummaryQuery, visible: Collection[str] | None) -> Any:
    """Money of those who have answered, where it is not theirs alone."""
    groups = _groups(session, wanted, _GROUPS)
    query = (
        select(*groups, *_labelled({name: -func.sum(each) for name, each in MONEY.items()}))
        .select_from(UsageRow)
        .join(ChargeRow, ChargeRow.event_id == UsageRow.event_id)
        .join(ChargeAttemptRow, ChargeAttemptRow.event_id == UsageRow.event_id)
        .where(ChargeAttemptRow.number == 1, *_conditions(wanted, visible))
        .group_by(*groups)
    )
    return _owned_if_asked(query, wanted)


def _moved_in(session: AsyncSession, wanted: SummaryQuery, visible: Collection[str] | None) -> Any:
    """The same money by who was asked. An attempt's share needs all of its request."""
    asked = [column.label(f"by_{name}") for name, column in attempts.COLUMNS.items()]
    shares = [attempts.share(each).label(_sum(name)) for name, each in MONEY.items()]
    inner = (
        select(*_groups(session, wanted, _GROUPS | attempts.COLUMNS), *asked, *shares)
        .select_from(UsageRow)
        .join(ChargeRow, ChargeRow.event_id == UsageRow.event_id)
        .join(ChargeAttemptRow, ChargeAttemptRow.event_id == UsageRow.event_id)
        .where(*_conditions(wanted, visible, but=attempts.FILTERS))
    )
    found = _owned_if_asked(inner, wanted).subquery()
    groups = [found.c[name] for name in wanted.group_by]
    filters = [
        found.c[f"by_{name}"] == value
        for name in attempts.FILTERS
        if (value := getattr(wanted, name)) is not None
    ]
    money = {name: func.sum(found.c[_sum(name)]) for name in MONEY}
    return select(*groups, *_labelled(money)).where(*filters).group_by(*groups)


def _groups(
    session: AsyncSession, wanted: SummaryQuery, columns: Mapping[GroupBy, ColumnElement[Any]]
) -> list[ColumnElement[Any]]:
    """The dimensions, each by its name."""
    return [_group(session, name, wanted, columns).label(name) for name in wanted.group_by]


def _labelled(sums: Mapping[str, ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    """One for each of SUMS, in order; 0 where there is none."""
    return [sums.get(name, literal(0)).label(_sum(name)) for name in SUMS]


def _sum(name: str) -> str:
    return f"sum_{name}"


def _joined(query: Any, wanted: Filter) -> Any:
    """With the tables that the filters look at, and no others."""
    if wanted.end_user is not None or wanted.organization is not None:
        query = query.outerjoin(ChargeRow, ChargeRow.event_id == UsageRow.event_id)
    return query if wanted.organization is None else _owned(query)


def _owned_if_asked(query: Any, wanted: SummaryQuery) -> Any:
    asked = "organization" in wanted.group_by or wanted.organization is not None
    return _owned(query) if asked else query


def _owned(query: Any) -> Any:
    """With the organisation that the event's project belongs to."""
    return query.outerjoin(ProjectRow, ProjectRow.slug == UsageRow.project).outerjoin(
        OrganizationRow, OrganizationRow.id == ProjectRow.organization_id
    )


def _conditions(
    wanted: Filter, visible: Collection[str] | None, *, but: Collection[str] = ()
) -> list[ColumnElement[bool]]:
    """but: filters that are left out."""
    found: list[ColumnElement[bool]] = [
        column == value
        for name, column in _SAME.items()
        if name not in but and (value := getattr(wanted, name)) is not None
    ]
    if wanted.model is not None and "model" not in but:
        unserved = and_(UsageRow.model_served.is_(None), UsageRow.model_requested == wanted.model)
        found.append(or_(UsageRow.model_served == wanted.model, unserved))
    if visible is not None:
        found.append(UsageRow.project.in_(visible))
    if wanted.since is not None:
        found.append(UsageRow.at >= wanted.since.timestamp())
    if wanted.until is not None:
        found.append(UsageRow.at < wanted.until.timestamp())
    return found


def _group(
    session: AsyncSession,
    name: GroupBy,
    wanted: SummaryQuery,
    columns: Mapping[GroupBy, ColumnElement[Any]],
) -> ColumnElement[Any]:
    if name not in ("hour", "day", "month"):
        return columns[name]
    since = wanted.since.timestamp() if wanted.since is not None else 0.0
    until = wanted.until.timestamp() if wanted.until is not None else _FOREVER
    return bucket(session, UsageRow.at, name, wanted.time_zone, (since, until))


def _times(condition: ColumnElement[bool] | Any) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
