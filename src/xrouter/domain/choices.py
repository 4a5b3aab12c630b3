"""What a request needs of limits where it is not known yet who will answer it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Choices(Struct, frozen=True):
    """Those who may answer, in order, each with limits of its own beside the common ones.

    ways: of each who, the places of its own wants. main: so many of them are asked in turn, and
    one at least must be open; the others are for what those cannot answer.
    """

    ways: tuple[tuple[int, ...], ...]
    main: int

    def open(self, waits: Sequence[float]) -> tuple[int, ...]:
        """The ways in which nothing stands. waits: of each want, 0 for what would be granted."""
        if not any(waits):
            return tuple(range(len(self.ways)))
        return tuple(n for n, way in enumerate(self.ways) if not any(waits[at] for at in way))

    def refused(self, waits: Sequence[float]) -> int:
        """The place of the want that stands in the way, -1 for none: a common one, or else of the
        way that opens first the one that is longest in it.
        """
        if not any(waits):
            return -1
        own = self._own()
        for place, wait in enumerate(waits):
            if wait and place not in own:
                return place
        barred = [max(way, key=waits.__getitem__, default=-1) for way in self.ways[: self.main]]
        if any(place < 0 or not waits[place] for place in barred):
            return -1
        return min(barred, key=waits.__getitem__)

    def held(self, wants: int, opened: Sequence[int]) -> list[int]:
        """The places of so many wants that these ways need, the common ones among them."""
        if len(opened) == len(self.ways):
            return list(range(wants))
        barred = self._own().difference(*(self.ways[way] for way in opened))
        return [place for place in range(wants) if place not in barred]

    def firm(self, wants: int, opened: Sequence[int]) -> frozenset[int]:
        """Of these the ones that the first of the ways needs."""
        return frozenset(self.held(wants, opened[:1]))

    def _own(self) -> frozenset[int]:
        return frozenset[int]().union(*self.ways)
