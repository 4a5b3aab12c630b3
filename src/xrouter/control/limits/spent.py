"""What was used of quotas and budgets so far, from the database: for meters that begin anew."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.billing import ChargeRow
from xrouter.control.db.tables.usage import UsageRow
from xrouter.domain.limits import ALL, PLACES, Limit, counter_of
from xrouter.domain.ports import Spent
from xrouter.domain.snapshot import Snapshot
from xrouter.domain.windows import FOREVER, span

WINDOWS = ("day", "month", "total")
"""Those that outlive a process."""


async def spent(db: Database, snapshot: Snapshot, now: float | None = None) -> list[Spent]:
    """Of every limit with a window that outlives a process. Raises DatabaseError.

    now: unix seconds. The journal should be drained before: what is in it is not counted.
    """
    at = time.time() if now is None else now
    groups: dict[tuple[str, Limit], set[str]] = defaultdict(set)
    for limits in snapshot.limits.values():
        for limit in limits:
            if limit.window in WINDOWS and limit.meter not in PLACES:
                kind, _, name = limit.subject.partition(":")
                groups[kind, _bare(limit)].add(name)
    found: dict[str, Spent] = {}
    async with db.read() as session:
        for (kind, limit), names in groups.items():
            if _is_known(kind, limit):
                query = _query(kind, limit, at)
                sums: dict[tuple[str, str], int] = defaultdict(int)
                for *parts, amount in await session.execute(query):
                    name, project = _who(kind, parts, snapshot)
                    if amount and name and (name in names or ALL in names):
                        sums[name, project] += int(amount)
                for (name, project), amount in sums.items():
                    counter = counter_of(f"{kind}:{name}", limit, project)
                    found[counter] = Spent(counter, limit.window, limit.time_zone, amount, at)
    return list(found.values())


def _bare(limit: Limit) -> Limit:
    """What one query answers for: the limit without whose and how much."""
    return Limit(
        subject="",
        meter=limit.meter,
        window=limit.window,
        amount=0,
        model=limit.model,
        time_zone=limit.time_zone,
    )


def _is_known(kind: str, limit: Limit) -> bool:
    """Charges know end users but no tokens, usage events the reverse."""
    return kind != "user" or limit.meter != "tokens"


def _query(kind: str, limit: Limit, now: float) -> Select[*tuple[Any, ...]]:
    """The parts of the subject's name, and the sum."""
    table = ChargeRow if limit.meter == "money" or kind == "user" else UsageRow
    columns = _columns(kind, table)
    query = select(*columns, _sum(limit)).group_by(*columns)
    starts, _ = span(limit.window, limit.time_zone, now)
    if starts > -FOREVER:
        query = query.where(table.at >= starts)
    if table is UsageRow:  # what reached nobody was given back; a kept answer is one request
        reached = UsageRow.attempts > 0
        query = query.where(reached if limit.meter == "tokens" else reached | UsageRow.cached)
    if limit.model is not None:
        served = ChargeRow.model if table is ChargeRow else UsageRow.model_served
        query = query.where(served == limit.model)
    return query


def _columns(kind: str, table: type[ChargeRow | UsageRow]) -> Sequence[ColumnElement[str]]:
    model = ChargeRow.model if table is ChargeRow else UsageRow.model_served
    columns: Mapping[str, Sequence[object]] = {
        "key": (table.key_id,),
        "project": (table.project,),
        "organization": (table.project,),
        "user": (ChargeRow.end_user, ChargeRow.project),
        "model": (model,),
        "version": (model, table.version),
    }
    return columns[kind]  # type: ignore[return-value] # mapped attributes are columns


def _sum(limit: Limit) -> ColumnElement[int]:
    if limit.meter == "money":
        return func.sum(ChargeRow.total)
    if limit.meter == "tokens":
        return func.sum(UsageRow.tokens_in + UsageRow.tokens_out)
    return func.count()


def _who(kind: str, parts: Sequence[str | None], snapshot: Snapshot) -> tuple[str, str]:
    """The name of the subject, and its project where that matters; "" for nobody."""
    first, *rest = parts
    if kind == "organization":
        tenant = snapshot.tenants.get(first or "")
        return ("" if tenant is None else tenant.organization), ""
    if kind == "version":
        return f"{first}:{rest[0]}", ""
    return first or "", (rest[0] or "") if rest else ""
