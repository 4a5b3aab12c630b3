"""Series that cost a request next to nothing: plain numbers, made into metrics when one asks.

Only the event loop's thread writes them; a scrape reads them in another, and may be one late.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from typing_extensions import override

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Upper bounds of the buckets; one more holds what is above."""

_BOUNDS: list[str] = [*(str(float(bound)) for bound in SECONDS), "+Inf"]


class Count:
    """The number of one series of a counter."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class Counts(Collector):
    """A counter: numbers by the values of its labels."""

    def __init__(self, name: str, about: str, labels: tuple[str, ...]) -> None:
        self._name, self._about, self._labels = name, about, labels
        self._by_labels: dict[tuple[str, ...], Count] = {}

    def __len__(self) -> int:
        return len(self._by_labels)

    def of(self, values: tuple[str, ...]) -> Count:
        """The one of these labels; a new one is shown from now on."""
        return self._by_labels.setdefault(values, Count())

    @override
    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._about, labels=self._labels)
        for values, count in list(self._by_labels.items()):
            family.add_metric(values, count.number)
        yield family


class Spread:
    """How seconds are spread: the numbers of one histogram."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds


class Spreads(Collector):
    """A histogram: spreads by the values of its labels."""

    def __init__(self, name: str, about: str, labels: tuple[str, ...]) -> None:
        self._name, self._about, self._labels = name, about, labels
        self._by_labels: dict[tuple[str, ...], Spread] = {}

    def of(self, values: tuple[str, ...]) -> Spread:
        """The one of these labels; a new one is shown from now on."""
        return self._by_labels.setdefault(values, Spread())

    @override
    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._about, labels=self._labels)
        for values, spread in list(self._by_labels.items()):
            family.add_metric(values, _buckets(spread.counts), spread.total)
        yield family


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    """As Prometheus has them: each holds all that is smaller, too."""
    so_far = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(_BOUNDS, counts, strict=True):
        so_far += count
        buckets.append((bound, so_far))
    return buckets
