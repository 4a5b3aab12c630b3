"""The sandbox's bill: what was charged, as the provider's own invoice would say it."""

from __future__ import annotations

import csv
import io
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import Struct
from typing_extensions import override

from xrouter.sandbox.kit import Charge

LINES_KEPT = 10_000
COLUMNS = ("call", "at", "model", "tokens_in", "tokens_out")


class _Call(Struct):
    """A line with the provider's name of the call. at: unix seconds."""

    name: str
    at: float
    charge: Charge


class Bill(list[Charge]):
    """A list of the last LINES_KEPT charges, and totals of all charges since the last `clear`."""

    def __init__(self) -> None:
        super().__init__()
        self._totals: dict[tuple[str, str], dict[str, int]] = {}
        self._written = 0
        self._calls: deque[_Call] = deque(maxlen=LINES_KEPT)

    @contextmanager
    def of(self, headers: Mapping[str, str], names: Sequence[str]) -> Iterator[None]:
        """Lines that are written here are of the call whose answer has, or gets, these headers.

        names: of those that name the call, the best first. Nothing else may be written in between.
        """
        before = self._written
        yield
        new = self._written - before
        for charge in self[-new:] if new else ():
            named = next((headers[name] for name in names if headers.get(name)), "")
            self._calls.append(_Call(named or f"line-{self._written}", time.time(), charge))

    @override
    def append(self, charge: Charge, /) -> None:
        """Write a line. The oldest lines go when there are too many; totals keep them."""
        self._written += 1
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
        self._calls.clear()

    def statement(self, provider: str) -> str:
        """The last lines as a provider's statement by call (CSV), oldest first."""
        text = io.StringIO()
        table = csv.writer(text, delimiter=";", lineterminator="\n")
        table.writerow(COLUMNS)
        for call in self._calls:
            of = call.charge
            if of.provider == provider:
                table.writerow([call.name, call.at, of.model, of.tokens_in, of.tokens_out])
        return text.getvalue()

    def report(self) -> dict[str, Any]:
        """`charges`: the last lines, oldest first; `totals`: a row for each provider and model."""
        totals = [
            {"provider": provider, "model": model, **numbers}
            for (provider, model), numbers in sorted(self._totals.items())
        ]
        return {"charges": msgspec.to_builtins(list(self[-LINES_KEPT:])), "totals": totals}
