"""What a request holds of limits that processes share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xrouter.domain.choices import Choices
from xrouter.domain.ports import Hold, Want
from xrouter.stores.memory.meters import held
from xrouter.stores.redis.meter_script import holders, kind


def chosen(
    wants: Sequence[Want], marks: list[str], choices: Choices | None, opened: Sequence[int]
) -> tuple[Sequence[Want], list[str]]:
    """What is held for these ways, and in which windows."""
    if choices is None:
        return wants, marks
    taken = held(wants, choices, opened)
    return [want for _, want in taken], [marks[at] for at, _ in taken]


class SharedHold(Hold):
    """marks: the windows of the limits. untold: of each, what Redis does not know of.

    rates: what this process granted by itself. is_known: Redis has granted or adopted it.
    """

    __slots__ = (
        "__weakref__",
        "hold_id",
        "is_known",
        "is_open",
        "lease_s",
        "marks",
        "rates",
        "renew_at",
        "untold",
    )

    def __init__(
        self,
        wants: Sequence[Want],
        hold_id: str,
        marks: Sequence[str],
        lease_s: float = 0.0,
        rates: Hold | None = None,
    ) -> None:
        super().__init__(wants)
        self.hold_id = hold_id
        self.marks = marks
        self.lease_s = lease_s
        self.rates = rates
        self.untold: list[int] = []
        self.is_known = rates is None
        self.is_open = True
        self.renew_at = 0.0

    def counts(self) -> tuple[list[Want], list[str]]:
        """What it holds of everything but rates, and in which windows."""
        pairs = zip(self.wants, self.marks, strict=True)
        found = [(want, mark) for want, mark in pairs if want.window != "minute"]
        return [want for want, _ in found], [mark for _, mark in found]

    def end(self, actual: Sequence[int], kept_s: float) -> list[str | int]:
        """What the script is told at its end. kept_s: how long it is known there."""
        found: list[str | int] = ["end", self.hold_id, round(kept_s * 1000)]
        for want, used, mark in zip(self.wants, actual, self.marks, strict=True):
            found += [kind(want), want.limit, want.amount, max(0, used), mark]
        return found

    def members(self) -> Iterator[tuple[str, str]]:
        """Where Redis keeps it, and as what."""
        for want, mark in zip(*self.counts(), strict=True):
            yield holders(want), f"{self.hold_id}|{want.amount}|{mark}"
