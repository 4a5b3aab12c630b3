"""One process' share of limits, where several answer and nothing tells them of each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace
from typing_extensions import override

from xrouter.domain.choices import Choices
from xrouter.domain.ports import Hold, Level, Meters, Spent, Verdict, Want


class ShareMeters(Meters):
    """Grants one part in so many of each limit, and one unit at least.

    All together never grant more than the limit, as long as that is not less than their number.
    """

    def __init__(self, meters: Meters, processes: int) -> None:
        self._meters = meters
        self._processes = processes

    @override
    async def take(
        self, wants: Sequence[Want], lease_s: float, choices: Choices | None = None
    ) -> Verdict:
        return await self._meters.take(self._shares(wants), lease_s, choices)

    @override
    def settle(self, hold: Hold, actual: Sequence[int]) -> None:
        self._meters.settle(hold, actual)

    @override
    def release(self, hold: Hold) -> None:
        self._meters.release(hold)

    @override
    async def look(self, wants: Sequence[Want]) -> Sequence[Level]:
        return await self._meters.look(self._shares(wants))

    @override
    def seed(self, spent: Iterable[Spent]) -> None:
        """spent: by all of them."""
        self._meters.seed(
            replace(each, amount=-(-each.amount // self._processes)) for each in spent
        )

    def _shares(self, wants: Sequence[Want]) -> list[Want]:
        return [replace(want, limit=self._share(want.limit)) for want in wants]

    def _share(self, limit: int) -> int:
        return max(limit // self._processes, min(limit, 1))
