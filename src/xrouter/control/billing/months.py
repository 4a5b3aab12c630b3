"""Months (`2026-11`) and days in an organisation's time zone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_FIRST = 0.0
_LAST = 250_000_000_000.0
"""Unix seconds that every time zone has a date for."""
_LONGEST = timedelta(days=32)


def month_of(at: float, time_zone: str) -> str:
    """The month that holds the moment."""
    return day_of(at, time_zone)[:7]


def day_of(at: float, time_zone: str) -> str:
    """The day (`2026-11-30`) that holds the moment; never fails, whatever a clock has said."""
    return datetime.fromtimestamp(believed(at), zone(time_zone)).date().isoformat()


def believed(at: float) -> float:
    """The moment, or the nearest one that has a date."""
    return min(max(at, _FIRST), _LAST)


def following(month: str) -> str:
    """The month after."""
    return ((_first_day(month) + _LONGEST).replace(day=1)).isoformat()[:7]


def span(month: str, time_zone: str) -> tuple[float, float]:
    """When the month begins, and when the next one does; unix seconds."""
    return _begins(month, time_zone), _begins(following(month), time_zone)


def open_from(month: str, closed: Iterable[str]) -> str:
    """The month, or the one behind the last closed one: what is closed begins with what is before.

    closed: months of which those before this one do not matter.
    """
    behind = [each for each in closed if each >= month]
    return following(max(behind)) if behind else month


@lru_cache(maxsize=256)
def zone(time_zone: str) -> ZoneInfo:
    """The zone of this name; UTC where the machine does not know it."""
    try:
        return ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _begins(month: str, time_zone: str) -> float:
    first = _first_day(month)
    return datetime(first.year, first.month, 1, tzinfo=zone(time_zone)).timestamp()


def _first_day(month: str) -> date:
    return date.fromisoformat(month + "-01")
