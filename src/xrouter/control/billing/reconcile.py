"""A provider's statement beside our books: what differs, by model and day."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import date, datetime

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from xrouter.control.audit import log as audit
from xrouter.control.billing import beside, calls, posting, repository
from xrouter.control.billing.amounts import money
from xrouter.control.billing.months import day_of, zone
from xrouter.control.billing.reconcile_schemas import DifferenceOut, ReconciledOut, ReconcileIn
from xrouter.control.billing.repository import QUARTER_S
from xrouter.control.billing.statements import DAY_S, Place, Side, is_by_call, read_statement
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeAttemptRow, ChargeRow, SettlementRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.domain.catalog import OWN

DAYS = "days"
_MAX_SHOWN = 10_000
_WIDEST_S = 14 * 3600
"""A time zone is this far from UTC, at most."""

_NOON_S = DAY_S // 2


class Reconciler:
    """Compares, and books the differences where that is asked. now: unix seconds."""

    def __init__(self, db: Database, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now

    async def compare(self, given: ReconcileIn) -> ReconciledOut:
        """The days and models, or the calls, on which the statement and our charges differ.

        Only days from the statement's first to its last are looked at. Raises InvalidRequest.
        """
        if is_by_call(given.csv):
            return await self._by_call(given)
        theirs = await asyncio.to_thread(read_statement, given.csv)
        if not given.settle:
            async with self._db.read() as session:
                return await _compared(session, given, theirs)
        async with self._db.write() as session:
            await posting.alone(session)
            found = await _compared(session, given, theirs)
            found.booked = money(await self._book(session, given, found))
            await _record(session, given, {"booked": found.booked.billionths})
        return found

    async def _by_call(self, given: ReconcileIn) -> ReconciledOut:
        found = await calls.reconcile(self._db, given, self._now)
        booked = found.adjusted.billionths + found.unattributed.billionths
        if given.settle:
            async with self._db.write() as session:
                await _record(session, given, {"booked": booked, "settled": found.settled})
        return ReconciledOut(
            provider=given.provider,
            agreed=found.agreed,
            data=[],
            tokens=None,
            cost=None,
            booked=money(booked) if given.settle else None,
            calls=found,
        )

    async def _book(self, session: AsyncSession, given: ReconcileIn, found: ReconciledOut) -> int:
        """One transfer for each model and day; by how much the provider gets more."""
        total = 0
        for row in found.data:
            if row.cost is None or not row.cost.billionths:
                continue
            told = SettlementRow(
                event_id=None,
                number=0,
                revision=0,
                used_at=_begins(row.day, given.time_zone) + _NOON_S,
                source=DAYS,
                provider=given.provider,
                endpoint=",".join(given.endpoints),
                model=row.model,
                tokens_in=0,
                tokens_out=-(row.tokens or 0),
                cost=-row.cost.billionths,
                before=0,
            )
            await beside.post(session, told, self._now())
            total += told.cost
        return total


async def _compared(
    session: AsyncSession, given: ReconcileIn, theirs: dict[Place, Side]
) -> ReconciledOut:
    days = [day for day, _ in theirs]
    first, last = min(days), max(days)
    ours, names = await _ours(session, given, first, last)
    await _add_settled(session, given, ours, (first, last))
    found: dict[Place, Side] = {}
    for (day, model), side in theirs.items():
        found.setdefault((day, names.get(model.casefold(), model)), Side()).add(side)
    return _told(given.provider, ours, found)


async def _record(session: AsyncSession, given: ReconcileIn, detail: dict[str, int]) -> None:
    await audit.record(
        session, action="ledger.settle", object=f"provider:{given.provider}", detail=detail
    )


def _begins(day: date, time_zone: str) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone(time_zone)).timestamp()


async def _add_settled(
    session: AsyncSession, given: ReconcileIn, ours: dict[Place, Side], days: tuple[date, date]
) -> None:
    """What was booked beside the charges counts, too."""
    row, (first, last) = SettlementRow, days
    query = select(row.used_at, row.model, row.tokens_in + row.tokens_out, row.cost).where(
        row.provider == given.provider,
        row.event_id.is_(None),
        row.used_at >= _begins(first, given.time_zone),
        row.used_at < _begins(last, given.time_zone) + DAY_S + _WIDEST_S,
    )
    if given.endpoints:
        query = query.where(row.endpoint == ",".join(given.endpoints))
    for at, model, tokens, cost in await session.execute(query):
        day = date.fromisoformat(day_of(at, given.time_zone))
        if day <= last:
            ours.setdefault((day, model), Side()).add(Side(int(tokens), int(cost)))


async def _ours(
    session: AsyncSession, given: ReconcileIn, first: date, last: date
) -> tuple[dict[Place, Side], dict[str, str]]:
    """Our side by day and model id, and the ids by every name that the provider may use.

    Attempts count by their own provider and model; what they had cached is not known. What went
    out on a project's own account is on the statement of another.
    """
    begins, ends = _begins(first, given.time_zone), _begins(last, given.time_zone)
    quarter = repository.quarter(session, ChargeRow.at)
    used = UsageRow.tokens_in + UsageRow.tokens_out
    if not given.cached_tokens:
        used = used - UsageRow.tokens_cached
    part = ChargeAttemptRow
    model = func.coalesce(part.model, ChargeRow.model)
    same = part.model.is_(None) | (part.model == UsageRow.model_served)
    upstream = case((same, UsageRow.upstream_model))
    tokens = func.coalesce(part.tokens_in + part.tokens_out, used)
    endpoint = func.coalesce(part.endpoint, UsageRow.endpoint, "")
    query = (
        select(
            quarter,
            model,
            upstream,
            func.coalesce(func.sum(tokens), 0),
            func.sum(func.coalesce(part.cost, ChargeRow.cost)),
        )
        .outerjoin(UsageRow, UsageRow.event_id == ChargeRow.event_id)
        .outerjoin(part, part.event_id == ChargeRow.event_id)
        .where(
            func.coalesce(part.provider, ChargeRow.provider) == given.provider,
            ~endpoint.endswith(OWN),
            ChargeRow.at >= begins,
            ChargeRow.at < ends + DAY_S + _WIDEST_S,
        )
        .group_by(quarter, model, upstream)
    )
    if given.endpoints:
        query = query.where(endpoint.in_(given.endpoints))
    found: dict[Place, Side] = {}
    names: dict[str, str] = {}
    for quarters, of, named, used_up, cost in await session.execute(query):
        day = date.fromisoformat(day_of(quarters * QUARTER_S, given.time_zone))
        if day > last:
            continue
        side = Side(int(used_up), int(cost))
        found.setdefault((day, of), Side()).add(side)
        for name in (of, of.partition("/")[2], named, (named or "").split(":")[0]):
            if name:
                names.setdefault(name.casefold(), of)
    return found, names


def _told(provider: str, ours: dict[Place, Side], theirs: dict[Place, Side]) -> ReconciledOut:
    rows: list[DifferenceOut] = []
    agreed = 0
    tells_tokens = any(side.tokens is not None for side in theirs.values())
    tells_cost = any(side.cost is not None for side in theirs.values())
    for day, model in sorted(ours.keys() | theirs.keys()):
        mine = ours.get((day, model), Side())
        other = theirs.get((day, model))
        if other is None:  # it does not say anything of it: nothing was used
            other = Side(0 if tells_tokens else None, 0 if tells_cost else None)
        row = _difference(day, model, mine, other)
        if row.tokens or (row.cost is not None and row.cost.billionths):
            rows.append(row)
        else:
            agreed += 1
    return ReconciledOut(
        provider=provider,
        agreed=agreed,
        data=rows[:_MAX_SHOWN],
        tokens=sum(row.tokens or 0 for row in rows) if tells_tokens else None,
        cost=money(sum(row.cost.billionths for row in rows if row.cost)) if tells_cost else None,
    )


def _difference(day: date, model: str, mine: Side, other: Side) -> DifferenceOut:
    tokens, cost = mine.tokens or 0, mine.cost or 0
    return DifferenceOut(
        day=day,
        model=model,
        our_tokens=tokens,
        their_tokens=other.tokens,
        tokens=None if other.tokens is None else tokens - other.tokens,
        our_cost=money(cost),
        their_cost=None if other.cost is None else money(other.cost),
        cost=None if other.cost is None else money(cost - other.cost),
    )
