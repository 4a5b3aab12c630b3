"""How long to wait, from the headers of an answer."""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime

MAX_SECONDS = 3600.0


def retry_after(headers: dict[str, str]) -> float | None:
    """Seconds of `retry-after-ms` or `retry-after` (number or HTTP date), at most an hour.

    None when there is none, or when it lies in the past or cannot be read.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return min(milliseconds / 1000, MAX_SECONDS)
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if seconds is None:
        seconds = _until(text, headers.get("date", ""))
    return None if seconds is None else min(seconds, MAX_SECONDS)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _until(date: str, now: str) -> float | None:
    """Seconds to the date, by the clock of the server where it sent one."""
    at = _timestamp(date)
    if at is None:
        return None
    reference = _timestamp(now)
    left = at - (time.time() if reference is None else reference)
    return left if left >= 0 else None


def _timestamp(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
