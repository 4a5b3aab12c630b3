"""The sandbox's bill: what was charged, as the provider's own invoice would say it."""

from __future__ import annotations

from typing import Any

import msgspec
from typing_extensions import override

from xrouter.sandbox.kit import Charge

LINES_KEPT = 10_000


class Bill(list[Charge]):
    """A list of the last LINES_KEPT charges, and totals of all charges since the last `clear`."""

    def __init__(self) -> None:
        super().__init__()
        self._totals: dict[tuple[str, str], dict[str, int]] = {}

    @override
    def append(self, charge: Charge, /) -> None:
        """Write a line. The oldest lines go when there are too many; totals keep them."""
        super().append(charge)
        if len(self) > 2 * LINES_KEPT:
            del self[:-LINES_KEPT]
        total = self._totals.setdefault(
            (charge.provider, charge.model), {"calls": 0, "tokens_in": 0, "tokens_out": 0}
        )
        total["calls"] += 1
        total["tokens_in"] += charge.tokens_in
        total["tokens_out"] += charge.tokens_out

    @override
    def clear(self) -> None:
        """Begin a new bill."""
        super().clear()
        self._totals.clear()

    def report(self) -> dict[str, Any]:
        """`charges`: the last lines, oldest first; `totals`: a row for each provider and model."""
        totals = [
            {"provider": provider, "model": model, **numbers}
            for (provider, model), numbers in sorted(self._totals.items())
        ]
        return {"charges": msgspec.to_builtins(list(self[-LINES_KEPT:])), "totals": totals}
