"""Queries of the usage events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    and_,
    case,
    cast,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.usage.schemas import EventQuery, Filter, GroupBy
from xrouter.domain.errors import InvalidRequest

DAY_S = 86400


async def events(session: AsyncSession, wanted: EventQuery, limit: int) -> Sequence[UsageRow]:
    """Events, the newest first; behind the event `after`. Raises InvalidRequest."""
    query = select(UsageRow).where(*_conditions(wanted))
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
    session: AsyncSession, wanted: Filter, group_by: GroupBy, limit: int
) -> Sequence[Row[Any]]:
    """(group, requests, errors, cancelled, tokens in, out, cached, reasoning) of each group.

    Days are numbers of days since 1970.
    """
    group = _group(session, group_by)
    requests = func.count()
    query = (
        select(
            group.label("group"),
            requests,
            _times(UsageRow.outcome == "error"),
            _times(UsageRow.outcome == "cancelled"),
            func.sum(UsageRow.tokens_in),
            func.sum(UsageRow.tokens_out),
            func.sum(UsageRow.tokens_cached),
            func.sum(UsageRow.tokens_reasoning),
        )
        .where(*_conditions(wanted))
        .group_by(group)
        .order_by(group.desc() if group_by == "day" else requests.desc(), group)
        .limit(limit)
    )
    return (await session.execute(query)).all()


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.model is not None:
        unserved = and_(UsageRow.model_served.is_(None), UsageRow.model_requested == wanted.model)
        found.append(or_(UsageRow.model_served == wanted.model, unserved))
    if wanted.key_id is not None:
        found.append(UsageRow.key_id == wanted.key_id)
    if wanted.since is not None:
        found.append(UsageRow.at >= wanted.since.timestamp())
    if wanted.until is not None:
        found.append(UsageRow.at < wanted.until.timestamp())
    return found


def _group(session: AsyncSession, group_by: GroupBy) -> ColumnElement[Any]:
    if group_by == "model":
        return func.coalesce(UsageRow.model_served, UsageRow.model_requested)
    if group_by == "key":
        return UsageRow.key_id.expression
    if group_by == "provider":
        return UsageRow.provider.expression
    days = UsageRow.at / DAY_S
    if session.get_bind().dialect.name == "postgresql":
        days = func.floor(days)  # its cast rounds, SQLite's cuts
    return cast(days, Integer)


def _times(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
