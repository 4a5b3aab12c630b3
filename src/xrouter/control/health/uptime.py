"""How much of what was asked was answered, counted by the database, minute by minute.

Long windows are read once: hours that are over stay in memory as sums.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Subquery,
    case,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow
from xrouter.control.db.tables.health import CheckRow
from xrouter.control.health.attempts import attempts_between, minute_of
from xrouter.control.health.schemas import By, Span
from xrouter.control.kit.lease import Clock

MINUTE_S = 60
HOUR_S = 3600.0
GOOD_SHARE = 0.95
OVER_AFTER_S = 2 * HOUR_S
"""Requests that began in an hour are in the database so long after its end."""

PIECE_H = 24
MAX_HOURS = 4 * 24 * 31
_SPANS: dict[Span, int] = {"1h": 1, "24h": 24, "30d": 720}


_Row = tuple[int, str, int, int, int, int]
"""minute, whom, attempted, answered, checked, fine."""


class Sums(Struct, frozen=True):
    """asked, answered: attempts, or probes where nobody asked. good: minutes of nearly all."""

    asked: int = 0
    answered: int = 0
    minutes: int = 0
    good: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.asked + other.asked,
            self.answered + other.answered,
            self.minutes + other.minutes,
            self.good + other.good,
        )


ByName = dict[str, Sums]


class Uptime:
    """Reads one window at a time."""

    def __init__(self, db: Database, clock: Clock = time.time) -> None:
        self._db = db
        self._clock = clock
        self._hours: dict[tuple[By, int], ByName] = {}
        self._one_at_a_time = asyncio.Lock()

    async def read(self, window: Span, by: By) -> tuple[float, ByName]:
        """The beginning (unix seconds), and the sums by name. Raises DatabaseError."""
        now = self._clock()
        async with self._one_at_a_time:
            if window == "1h":
                since = (now // MINUTE_S - MINUTE_S + 1) * MINUTE_S
                return since, _total((await self._between(by, since, now + 1)).values())
            first, last = int(now // HOUR_S) - _SPANS[window], int(now // HOUR_S)
            await self._remember(by, first, last, now)
            open_from = next((h for h in range(first, last) if (by, h) not in self._hours), last)
            known = [self._hours[by, hour] for hour in range(first, open_from)]
            rest = await self._between(by, open_from * HOUR_S, now + 1.0)
            return first * HOUR_S, _total([*known, *rest.values()])

    async def _remember(self, by: By, first: int, last: int, now: float) -> None:
        """Read the hours that are over and not yet known."""
        over = min(last, int((now - OVER_AFTER_S) // HOUR_S))
        missing = [hour for hour in range(first, over) if (by, hour) not in self._hours]
        for start, end in _pieces(missing):
            found = await self._between(by, start * HOUR_S, end * HOUR_S)
            for hour in range(start, end):
                self._hours[by, hour] = found.get(hour, {})
        while len(self._hours) > MAX_HOURS:
            del self._hours[next(iter(self._hours))]

    async def _between(self, by: By, since: float, until: float) -> dict[int, ByName]:
        """Sums by hour and name."""
        found: dict[int, ByName] = defaultdict(dict)
        async with self._db.read() as session:
            query = _hourly(_minutes(session, by, since, until))
            for hour, name, *numbers in (await session.execute(query)).all():
                found[hour][name] = Sums(*(int(number) for number in numbers))
        return found


def _total(parts: Iterable[ByName]) -> ByName:
    total: ByName = defaultdict(Sums)
    for part in parts:
        for name, sums in part.items():
            total[name] += sums
    return dict(total)


def _pieces(hours: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of hours that follow each other, a day at most: (first, behind the last)."""
    start = 0
    for index, hour in enumerate(hours):
        is_last = index + 1 == len(hours) or hours[index + 1] != hour + 1
        if is_last or index + 1 - start == PIECE_H:
            yield hours[start], hour + 1
            start = index + 1


def _minutes(session: AsyncSession, by: By, since: float, until: float) -> Subquery:
    """minute, whom, asked, answered."""
    parts = [_attempts(session, by, since, until)]
    checks = _checks(session, by, since, until)
    if checks is not None:
        parts.append(checks)
    each = union_all(*parts).subquery("each_one")
    attempted = func.sum(each.c.attempted)

    def either(attempts: ColumnElement[int], checks: ColumnElement[int]) -> ColumnElement[int]:
        return case((attempted > 0, func.sum(attempts)), else_=func.sum(checks))

    return (
        select(
            each.c.minute,
            each.c.whom,
            either(each.c.attempted, each.c.checked).label("asked"),
            either(each.c.answered, each.c.fine).label("answered"),
        )
        .group_by(each.c.minute, each.c.whom)
        .subquery("minutes")
    )


def _hourly(minutes: FromClause) -> Select[Any]:
    """hour, whom, and the fields of `Sums`."""
    columns = minutes.c
    good = columns.answered >= GOOD_SHARE * columns.asked
    return select(
        (columns.minute // MINUTE_S).label("hour"),
        columns.whom,
        func.sum(columns.asked),
        func.sum(columns.answered),
        func.count(),
        func.sum(case((good, 1), else_=0)),
    ).group_by("hour", columns.whom)


def _attempts(session: AsyncSession, by: By, since: float, until: float) -> Select[*_Row]:
    each = attempts_between(session, since, until)
    columns = each.c
    names: dict[By, ColumnElement[str]] = {
        "provider": columns.provider,
        "endpoint": columns.provider + "/" + columns.endpoint,
        "model": columns.model,
        "version": columns.model + ":" + columns.version,
    }
    minute, name = minute_of(session, columns.at).label("minute"), names[by].label("whom")
    zero = literal(0)
    return (
        select(
            minute,
            name,
            func.count().label("attempted"),
            func.sum(case((columns.answered, 1), else_=0)).label("answered"),
            zero.label("checked"),
            zero.label("fine"),
        )
        .where(names[by].is_not(None))
        .group_by("minute", "whom")
    )


def _checks(session: AsyncSession, by: By, since: float, until: float) -> Select[*_Row] | None:
    """Those that say something of what is counted; None where none can."""
    names: dict[By, ColumnElement[Any]] = {
        "provider": EndpointRow.provider.expression,
        "endpoint": EndpointRow.provider + "/" + EndpointRow.name,
        "model": CheckRow.model.expression,
    }
    name = names.get(by)
    if name is None:
        return None
    zero = literal(0)
    return (
        select(
            minute_of(session, CheckRow.at.expression).label("minute"),
            name.label("whom"),
            zero.label("attempted"),
            zero.label("answered"),
            func.count().label("checked"),
            func.sum(case((CheckRow.ok, 1), else_=0)).label("fine"),
        )
        .join(EndpointRow, EndpointRow.id == CheckRow.endpoint_id)
        .where(CheckRow.at >= since, CheckRow.at < until, name.is_not(None))
        .group_by("minute", "whom")
    )
