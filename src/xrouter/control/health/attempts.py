"""What became of the callers' requests, attempt by attempt, as the usage events tell it.

An event lists its attempts in `tried` where any has failed; else the event itself is the one.
Of the last day `counting` has counted them; longer times are read from the events themselves.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Integer,
    Subquery,
    TableValuedAlias,
    and_,
    cast,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.tables.health import AttemptCountRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.control.health.machine import Window
from xrouter.domain.errors import (
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
    XRouterError,
)

_KINDS: tuple[type[XRouterError], ...] = (
    UpstreamError,
    UpstreamUnreachable,
    UpstreamTimeout,
    UpstreamFailed,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamDenied,
    UpstreamQuotaExhausted,
)
FAILURES = tuple(sorted({kind.default_code for kind in _KINDS if kind.default_code}))
"""Codes of errors that are the endpoint's. A caller's mistake says nothing of the endpoint."""

BUCKET_S = 10
ANSWERED = ""
"""The code of an attempt that was answered."""


class Counts(Struct, frozen=True):
    """failed: attempts; saved: requests that were answered all the same."""

    failed: int = 0
    saved: int = 0


def attempts(dialect: str, *period: ColumnElement[bool]) -> Subquery:
    """event_id, at, provider, endpoint, model, version, outcome, answered, code of each attempt.

    period: which events, in terms of UsageRow. Attempts that only the caller could have saved, and
    those that were broken off, are left out.
    """
    items, item = _items(dialect)
    code = item("code")
    ended_well = UsageRow.outcome == "ok"
    broke = and_(UsageRow.outcome == "error", UsageRow.error_code.in_(FAILURES))
    return (
        select(
            UsageRow.event_id,
            UsageRow.at,
            func.coalesce(item("provider"), UsageRow.provider).label("provider"),
            func.coalesce(item("endpoint"), UsageRow.endpoint).label("endpoint"),
            func.coalesce(item("model"), UsageRow.model_served).label("model"),
            func.coalesce(item("version"), UsageRow.version).label("version"),
            UsageRow.outcome,
            and_(code.is_(None), ended_well).label("answered"),
            func.coalesce(code, UsageRow.error_code).label("code"),
        )
        .select_from(UsageRow.__table__.outerjoin(items, true()))
        .where(
            *period,
            UsageRow.attempts > 0,
            UsageRow.provider.is_not(None),
            UsageRow.cached.is_(False),
            or_(code.in_(FAILURES), and_(code.is_(None), or_(ended_well, broke))),
        )
        .subquery("attempts")
    )


async def windows(session: AsyncSession, since: float) -> dict[tuple[str, str], Window]:
    """What was counted since then (unix seconds), by provider and endpoint; whole buckets."""
    row = AttemptCountRow
    query = (
        select(row.provider, row.endpoint, row.code, func.sum(row.attempts))
        .where(row.bucket >= int(since // BUCKET_S))
        .group_by(row.provider, row.endpoint, row.code)
    )
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for provider, endpoint, code, number in (await session.execute(query)).all():
        found[provider, endpoint][code] = int(number)
    return {where: _window(numbers) for where, numbers in found.items()}


async def counts(
    session: AsyncSession, provider: str, endpoint: str, since: float, until: float
) -> Counts:
    """What failed there in a time, and how many requests another target answered.

    Buckets that have begun before `until` are counted whole, so is that of `since`.
    """
    row = AttemptCountRow
    query = select(func.sum(row.attempts), func.sum(row.saved)).where(
        row.bucket >= int(since // BUCKET_S),
        row.bucket < math.ceil(until / BUCKET_S),
        row.provider == provider,
        row.endpoint == endpoint,
        row.code != ANSWERED,
    )
    failed, saved = (await session.execute(query)).one()
    return Counts(int(failed or 0), int(saved or 0))


def bucket_of(at: float) -> float:
    """When the bucket of a moment began (unix seconds)."""
    return at // BUCKET_S * BUCKET_S


def minute_of(session: AsyncSession, at: ColumnElement[float]) -> ColumnElement[int]:
    """The number of the minute since 1970."""
    minutes: ColumnElement[Any] = at / 60
    if _dialect(session) == "postgresql":
        minutes = func.floor(minutes)  # its cast rounds, SQLite's cuts
    return cast(minutes, Integer)


def attempts_between(session: AsyncSession, since: float, until: float) -> Subquery:
    """Attempts of requests that began in this time."""
    return attempts(_dialect(session), UsageRow.at >= since, UsageRow.at < until)


def _dialect(session: AsyncSession) -> str:
    return session.get_bind().dialect.name


def _window(numbers: dict[str, int]) -> Window:
    failures = {code: number for code, number in numbers.items() if code != ANSWERED}
    failed = sum(failures.values())
    cause = max(failures, key=lambda code: (failures[code], code), default=None)
    return Window(failed + numbers.get(ANSWERED, 0), failed, cause)


def _items(dialect: str) -> tuple[TableValuedAlias, Any]:
    """The items of `tried` as a table, and what gives a field of one."""
    if dialect == "postgresql":
        found = func.jsonb_array_elements(UsageRow.tried).table_valued("value", name="item")
        return found, found.c.value.op("->>")
    found = func.json_each(UsageRow.tried).table_valued("value", name="item")
    return found, lambda name: func.json_extract(found.c.value, f"$.{name}")
