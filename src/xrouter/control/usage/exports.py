"""Sums of usage as CSV."""

from __future__ import annotations

from collections.abc import Sequence

from xrouter.control.billing.exports import Cell, written
from xrouter.control.usage.repository import SUMS
from xrouter.control.usage.schemas import SummaryOut


def summary(found: SummaryOut) -> str:
    """A row for each group: its dimensions, then its sums, by their names in the API."""
    rows: list[Sequence[Cell]] = [(*found.group_by, *SUMS)]
    rows += [
        (*(row.group[name] for name in found.group_by), *(getattr(row, name) for name in SUMS))
        for row in found.data
    ]
    return written(rows)
