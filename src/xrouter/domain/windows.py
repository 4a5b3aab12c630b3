"""Days and months in a time zone, as spans of unix seconds."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from xrouter.domain.limits import KINDS, PLACES, Limit, Window

FOREVER = float("inf")
MINUTE_S = 60.0

_LONGEST_MONTH = timedelta(days=31)
_DAY = timedelta(days=1)


def span(window: Window, time_zone: str, at: float) -> tuple[float, float]:
    """When the window that holds the moment begins, and when the next one does.

    All other windows than `day` and `month` hold everything. Raises ZoneInfoNotFoundError.
    """
    if window not in ("day", "month"):
        return -FOREVER, FOREVER
    zone = ZoneInfo(time_zone)
    today = datetime.fromtimestamp(at, zone).date()
    if window == "day":
        return _begins(today, zone), _begins(today + _DAY, zone)
    first = today.replace(day=1)
    return _begins(first, zone), _begins((first + _LONGEST_MONTH).replace(day=1), zone)


def check(limit: Limit) -> None:
    """Whether a limit makes sense. Raises ValueError that says why not."""
    if limit.subject.partition(":")[0] not in KINDS or limit.subject.endswith(":"):
        raise ValueError(f"'subject' must be one of {', '.join(KINDS)}, a colon, and a name or '*'")
    if (limit.meter in PLACES) != (limit.window == "now"):
        raise ValueError("'window' must be 'now' for 'running' and 'streams', and for no other")
    if limit.amount < 0:
        raise ValueError("'amount' must not be below 0")
    if not is_zone(limit.time_zone):
        raise ValueError("'time_zone' must be one like 'Europe/Moscow'")


@lru_cache(maxsize=1024)
def is_zone(name: str) -> bool:
    """Whether there is a time zone of this name, such as `Europe/Moscow`."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _begins(day: date, zone: ZoneInfo) -> float:
    """Its midnight; where the clock leaps over that, the moment of the leap."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
