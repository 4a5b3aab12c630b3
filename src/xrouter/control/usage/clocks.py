"""Hours, days and months of a time zone, counted by the database itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, case, func
from sqlalchemy.ext.asyncio import AsyncSession

Span = Literal["hour", "day", "month"]

_FIRST = datetime(2024, 1, 1, tzinfo=UTC)
_LAST = datetime(2044, 1, 1, tzinfo=UTC)
"""What lies before and behind has the offset of the first, and of the last, moment between."""
_STEP = timedelta(days=7)
"""No zone changes its offset twice within it."""
_LATEST = 250_000_000_000.0
"""Unix seconds that every database has a date for."""

_SQLITE: dict[Span, str] = {"hour": "%Y-%m-%dT%H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}
_POSTGRESQL: dict[Span, str] = {
    "hour": 'YYYY-MM-DD"T"HH24:00',
    "day": "YYYY-MM-DD",
    "month": "YYYY-MM",
}

Change = tuple[float, int]
"""From when on (unix seconds) the clocks are how many seconds before UTC."""


def bucket(
    session: AsyncSession, at: Any, span: Span, time_zone: str, within: tuple[float, float]
) -> ColumnElement[str]:
    """The hour (`2026-01-31T09:00`), day or month that holds the moment, by clocks there.

    within: between which the moments lie.
    """
    moment = case((at < 0, 0.0), (at > _LATEST, _LATEST), else_=at)
    local = moment + _offset(at, time_zone, *within)
    if session.get_bind().dialect.name == "postgresql":
        there = func.timezone("UTC", func.to_timestamp(local))
        return func.to_char(there, _POSTGRESQL[span])
    return func.strftime(_SQLITE[span], local, "unixepoch")


@lru_cache(maxsize=64)
def changes(time_zone: str) -> tuple[Change, ...]:
    """When the clocks of a zone change, the first one from the beginning on."""
    zone = ZoneInfo(time_zone)
    found = [(_FIRST.timestamp(), _seconds(_FIRST, zone))]
    moment = _FIRST
    while moment < _LAST:
        following = moment + _STEP
        if _seconds(following, zone) != found[-1][1]:
            change = _change(moment, following, zone)
            found.append((change.timestamp(), _seconds(change, zone)))
        moment = following
    return tuple(found)


def _offset(at: Any, time_zone: str, since: float, until: float) -> Any:
    """Seconds before UTC at the moment; a plain number where the clocks do not change between."""
    known = changes(time_zone)
    begun = [change for change in known if change[0] <= since] or [known[0]]
    between = [change for change in known if since < change[0] < until]
    relevant = [begun[-1], *between]
    if len(relevant) == 1:
        return relevant[0][1]
    whens = [(at < following, offset) for (_, offset), (following, _) in pairwise(relevant)]
    return case(*whens, else_=relevant[-1][1])


def _change(before: datetime, behind: datetime, zone: ZoneInfo) -> datetime:
    """The first whole minute, in UTC, with the offset of `behind`."""
    offset = _seconds(behind, zone)
    while behind - before > timedelta(minutes=1):
        middle = (before + (behind - before) / 2).replace(second=0, microsecond=0)
        if _seconds(middle, zone) == offset:
            behind = middle
        else:
            before = middle
    return behind


def _seconds(moment: datetime, zone: ZoneInfo) -> int:
    offset = moment.astimezone(zone).utcoffset() or timedelta()
    return int(offset.total_seconds())
