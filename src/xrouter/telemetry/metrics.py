"""Prometheus metrics. Label values come from the catalog only, so that series stay bounded."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.process_collector import ProcessCollector

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import XRouterError
from xrouter.domain.money import Part
from xrouter.domain.usage import UsageEvent
from xrouter.telemetry.series import Count, Counts, Spreads

MAX_MODELS = 1000
"""Models with series of their own; further ones share the label "other"."""


class _ModelSeries:
    """What is counted for one (operation, model, provider), bound once: looking it up is dear."""

    __slots__ = ("by_status", "duration", "first_token", "key", "tokens_cached", "tokens_in",
                 "tokens_out", "unpriced")  # fmt: skip

    def __init__(self, meters: Meters, key: tuple[str, str, str]) -> None:
        _, model, provider = self.key = key
        self.by_status: dict[int, Count] = {}
        self.duration = meters.duration.of(key)
        self.first_token = meters.first_token.of((model, provider))
        self.tokens_in = meters.tokens.of((model, provider, "input"))
        self.tokens_out = meters.tokens.of((model, provider, "output"))
        self.tokens_cached = meters.tokens.of((model, provider, "cached"))
        self.unpriced: Count | None = None


class Meters:
    """All metrics of the data plane. Updating costs a microsecond or two and never waits."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        labels, pair = ("operation", "model", "provider"), ("model", "provider")
        self.requests = Counts("xrouter_requests", "Requests by outcome", (*labels, "status"))
        self.tokens = Counts("xrouter_tokens", "Tokens by kind", (*pair, "kind"))
        self.duration = Spreads("xrouter_request_seconds", "Time of a request, to its end", labels)
        self.first_token = Spreads(
            "xrouter_first_token_seconds", "Time to the first piece of a stream", pair
        )
        self.plans = Counts(
            "xrouter_plans",
            "Requests by strategy, and by which target answered: first, other or none",
            ("strategy", "answered"),
        )
        self.unpriced = Counts(
            "xrouter_price_unknown",
            "Requests charged with 0, for want of a price or of an exchange rate",
            pair,
        )
        for collector in (self.requests, self.tokens, self.duration, self.first_token):
            self.registry.register(collector)
        self.registry.register(self.plans)
        self.registry.register(self.unpriced)
        self.upstream_errors = self.counter(
            "xrouter_upstream_errors",
            "Failed attempts at providers",
            ("provider", "endpoint", "code"),
        )
        self._plans: dict[tuple[str, str], Count] = {}
        self._series: dict[tuple[str, str, str], _ModelSeries] = {}

    def planned(self, strategy: str, answered: str) -> None:
        """A plan has come to its end. answered: `first`, `other` or `none` of its targets."""
        count = self._plans.get((strategy, answered))
        if count is None:
            shown = strategy if len(self._plans) < MAX_MODELS else "other"
            count = self._plans[strategy, answered] = self.plans.of((shown, answered))
        count.number += 1

    def settled(self, event: UsageEvent) -> None:
        """A request is over."""
        key = (event.operation, event.model_served or "none", event.provider or "none")
        series = self._series.get(key) or self._new_series(key)
        status, charge = event.status, event.charge
        count = series.by_status.get(status)
        if count is None:
            count = series.by_status[status] = self.requests.of((*series.key, str(status)))
        count.number += 1
        series.duration.observe(event.total_ms / 1000)
        if event.first_token_ms is not None:
            series.first_token.observe(event.first_token_ms / 1000)
        series.tokens_in.number += event.tokens_in
        series.tokens_out.number += event.tokens_out
        if event.tokens_cached:
            series.tokens_cached.number += event.tokens_cached
        if charge is None:
            return
        if charge.parts:
            self._note_unpriced(charge.parts, event.operation)
        elif charge.rate is None:
            unpriced = series.unpriced
            if unpriced is None:
                unpriced = series.unpriced = self.unpriced.of(series.key[1:])
            unpriced.number += 1

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

    def _note_unpriced(self, parts: tuple[Part, ...], operation: str) -> None:
        """Of several attempts, each by its own model."""
        for part in parts:
            if not part.is_known:
                key = self._bounded((operation, part.model, part.provider))
                self.unpriced.of(key[1:]).number += 1

    def _new_series(self, key: tuple[str, str, str]) -> _ModelSeries:
        series = _ModelSeries(self, self._bounded(key))
        if len(self._series) < MAX_MODELS:
            self._series[key] = series
        return series

    def _bounded(self, key: tuple[str, str, str]) -> tuple[str, str, str]:
        if key in self._series or len(self._series) < MAX_MODELS:
            return key
        return (key[0], "other", key[2])
