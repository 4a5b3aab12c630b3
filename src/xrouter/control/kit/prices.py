"""A price as it lies in the database, and as the flow has it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from xrouter.control.db.tables.routing import PriceRow
from xrouter.domain.catalog import Price


def price_of(row: PriceRow | Row[Any]) -> Price:
    """row: a price, or its columns."""
    return Price(
        id=row.id,
        currency=row.currency,
        input=row.input,
        output=row.output,
        cached_input=row.cached_input,
        cache_write=row.cache_write,
        reasoning=row.reasoning,
        request=row.request,
        image=row.image,
        source=row.source,
    )
