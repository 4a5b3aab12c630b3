"""Prometheus metrics. Label values come from the catalog only, so that series stay bounded."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import XRouterError
from xrouter.domain.money import Charge
from xrouter.domain.usage import UsageEvent

MAX_MODELS = 1000
"""Models with series of their own; further ones share the label "other"."""

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class _ModelSeries:
    """The bound children of one (operation, model, provider): looking labels up is dear."""

    __slots__ = ("by_status", "cached", "duration", "first_token", "tokens_in", "tokens_out")

    def __init__(self, meters: Meters, operation: str, model: str, provider: str) -> None:
        self.by_status: dict[int, Counter] = {}
        self.duration = meters.duration.labels(operation, model, provider)
        self.first_token = meters.first_token.labels(model, provider)
        self.tokens_in = meters.tokens.labels(model, provider, "input")
        self.tokens_out = meters.tokens.labels(model, provider, "output")
        self.cached = meters.tokens.labels(model, provider, "cached")


class Meters:
    """All metrics of the data plane. Updating costs a few microseconds and never waits."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        labels = ("operation", "model", "provider")
        self.requests = self.counter("xrouter_requests", "Requests by outcome", (*labels, "status"))
        self.tokens = self.counter(
            "xrouter_tokens", "Tokens by kind", ("model", "provider", "kind")
        )
        self.upstream_errors = self.counter(
            "xrouter_upstream_errors",
            "Failed attempts at providers",
            ("provider", "endpoint", "code"),
        )
        self.duration = Histogram(
            "xrouter_request_seconds",
            "Time of a request, to its end",
            labels,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.first_token = Histogram(
            "xrouter_first_token_seconds",
            "Time to the first piece of a stream",
            ("model", "provider"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.plans = self.counter(
            "xrouter_plans",
            "Requests by strategy, and by which target answered: first, other or none",
            ("strategy", "answered"),
        )
        self.unpriced = self.counter(
            "xrouter_price_unknown",
            "Requests charged with 0, for want of a price or of an exchange rate",
            ("model", "provider"),
        )
        self._plans: dict[tuple[str, str], Counter] = {}
        self._series: dict[tuple[str, str, str], _ModelSeries] = {}

    def planned(self, strategy: str, answered: str) -> None:
        """A plan has come to its end. answered: `first`, `other` or `none` of its targets."""
        counter = self._plans.get((strategy, answered))
        if counter is None:
            if len(self._plans) >= MAX_MODELS:
                strategy = "other"
            counter = self._plans[strategy, answered] = self.plans.labels(strategy, answered)
        counter.inc()

    def settled(self, event: UsageEvent) -> None:
        """A request is over."""
        operation = event.operation
        key = (operation, event.model_served or "none", event.provider or "none")
        series = self._series.get(key) or self._new_series(key)
        counter = series.by_status.get(event.status)
        if counter is None:
            labels = (*self._bounded(key), str(event.status))
            counter = series.by_status[event.status] = self.requests.labels(*labels)
        counter.inc()
        series.duration.observe(event.total_ms / 1000)
        if event.first_token_ms is not None:
            series.first_token.observe(event.first_token_ms / 1000)
        if event.tokens_in:
            series.tokens_in.inc(event.tokens_in)
        if event.tokens_out:
            series.tokens_out.inc(event.tokens_out)
        if event.tokens_cached:
            series.cached.inc(event.tokens_cached)
        charge = event.charge
        if charge is not None and (charge.rate is None or charge.parts):
            self._note_unpriced(charge, key)

    def upstream_failed(self, endpoint: Endpoint, error: XRouterError) -> None:
        """An attempt at a target failed; codes of providers are not labels, ours are."""
        code = error.default_code or type(error).__name__
        self.upstream_errors.labels(endpoint.provider, endpoint.name, code).inc()

    def gauge(self, name: str, about: str, labels: tuple[str, ...] = ()) -> Gauge:
        """A further gauge, for those who hold the number: `set_function` it."""
        return Gauge(name, about, labels, registry=self.registry)

    def render(self) -> bytes:
        """The text that Prometheus reads. Takes milliseconds: call it in a thread."""
        return generate_latest(self.registry)

    def counter(self, name: str, about: str, labels: tuple[str, ...]) -> Counter:
        """A further counter, for those who count."""
        return Counter(name, about, labels, registry=self.registry)

    def _note_unpriced(self, charge: Charge, key: tuple[str, str, str]) -> None:
        """Of several attempts, each by its own model."""
        places = [(part.model, part.provider) for part in charge.parts if not part.is_known]
        for place in places if charge.parts else [key[1:]]:
            self.unpriced.labels(*self._bounded((key[0], *place))[1:]).inc()

    def _new_series(self, key: tuple[str, str, str]) -> _ModelSeries:
        series = _ModelSeries(self, *self._bounded(key))
        if len(self._series) < MAX_MODELS:
            self._series[key] = series
        return series

    def _bounded(self, key: tuple[str, str, str]) -> tuple[str, str, str]:
        if key in self._series or len(self._series) < MAX_MODELS:
            return key
        return (key[0], "other", key[2])
