"""Whose money it is where a request was charged by several: each attempt's own, to the billionth.

What a charge says is moved from who has answered to those who were asked, in proportion to what
each has cost. What comes of rounding is given to one of them, so that the sums stay the same.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Double, case, cast, func
from sqlalchemy.orm import InstrumentedAttribute

from xrouter.control.db.tables.billing import ChargeAttemptRow, ChargeRow
from xrouter.control.usage.schemas import GroupBy, SummaryQuery

COLUMNS: dict[GroupBy, ColumnElement[Any]] = {
    "provider": ChargeAttemptRow.provider.expression,
    "endpoint": ChargeAttemptRow.endpoint.expression,
    "model": ChargeAttemptRow.model.expression,
    "version": ChargeAttemptRow.version.expression,
}
"""Dimensions in which attempts of one request may differ."""
FILTERS: tuple[GroupBy, ...] = ("provider", "model", "version")

MONEY = {
    "cost": ChargeRow.cost,
    "margin": ChargeRow.margin,
    "vat": ChargeRow.vat,
    "total": ChargeRow.total,
}
"""Of a charge."""


def matter(wanted: SummaryQuery) -> bool:
    """Whether the sums depend on who was asked."""
    return any(name in COLUMNS for name in wanted.group_by) or any(
        getattr(wanted, name) is not None for name in FILTERS
    )


def share(amount: InstrumentedAttribute[int]) -> ColumnElement[int]:
    """An attempt's part of its charge; all parts add up to the amount. Where nothing has cost
    anything the first one has it all.
    """
    row = ChargeAttemptRow
    spent = func.sum(row.cost).over(partition_by=row.event_id)
    so_far = func.sum(row.cost).over(partition_by=row.event_id, order_by=row.number)
    whole = func.nullif(cast(spent, Double), 0)

    def until(cost: Any) -> ColumnElement[int]:
        return cast(func.round(cast(amount, Double) * cast(cost, Double) / whole), BigInteger)

    alone = case((row.number == 1, amount), else_=0)
    return func.coalesce(until(so_far) - until(so_far - row.cost), alone)
