from __future__ import annotations

from typing import Any

import pytest

from xrouter.domain.catalog import Endpoint
from xrouter.domain.errors import UpstreamTimeout
from xrouter.domain.money import UNKNOWN, Charge, Part
from xrouter.domain.usage import UsageEvent
from xrouter.telemetry import metrics
from xrouter.telemetry.metrics import Meters


def event(**fields: Any) -> UsageEvent:
    given: dict[str, Any] = {
        "model_served": "p/m",
        "provider": "p",
        "status": 200,
        "total_ms": 100.0,
    } | fields
    return UsageEvent(event_id="e", request_id="r", at=1.0, operation="chat", **given)


def test_a_request_is_counted_with_its_tokens_and_times() -> None:
    meters = Meters()
    meters.settled(event(tokens_in=10, tokens_out=5, tokens_cached=3, first_token_ms=40.0))
    meters.settled(event(status=502))
    text = meters.render().decode()
    labels = 'model="p/m",operation="chat",provider="p"'
    assert f'xrouter_requests_total{{{labels},status="200"}} 1.0' in text
    assert f'xrouter_requests_total{{{labels},status="502"}} 1.0' in text
    assert 'xrouter_tokens_total{kind="input",model="p/m",provider="p"} 10.0' in text
    assert 'xrouter_tokens_total{kind="output",model="p/m",provider="p"} 5.0' in text
    assert 'xrouter_tokens_total{kind="cached",model="p/m",provider="p"} 3.0' in text
    assert f"xrouter_request_seconds_count{{{labels}}} 2.0" in text
    assert 'xrouter_first_token_seconds_count{model="p/m",provider="p"} 1.0' in text


def test_refused_requests_are_counted_without_a_model() -> None:
    meters = Meters()
    meters.settled(event(model_served=None, provider=None, status=404))
    assert 'model="none",operation="chat",provider="none",status="404"' in meters.render().decode()


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_MODELS", 3)
    meters = Meters()
    for number in range(10):
        meters.settled(event(model_served=f"p/m{number}"))
    text = meters.render().decode()
    assert 'model="p/m2"' in text
    assert 'model="p/m3"' not in text
    assert (
        'xrouter_requests_total{model="other",operation="chat",provider="p",status="200"} 7.0'
        in (text)
    )


def test_failed_attempts_are_counted_by_our_codes_only() -> None:
    meters = Meters()
    endpoint = Endpoint(
        id=1, provider="p", name="primary", adapter_class="a.B", base_url="http://x"
    )
    meters.upstream_failed(endpoint, UpstreamTimeout("late", code="whatever they say"))
    text = meters.render().decode()
    assert 'code="upstream_timeout",endpoint="primary",provider="p"' in text
    assert "whatever" not in text


def test_requests_of_unknown_price_are_counted_by_the_model_that_has_none() -> None:
    meters = Meters()
    known = Part(provider="p", endpoint="e", model="p/m", version="1", cost=5, rate=1)
    unknown = Part(provider="q", endpoint="e", model="q/n", version="1")
    meters.settled(event(charge=UNKNOWN))
    meters.settled(event(charge=Charge(rate=1, cost=5)))
    meters.settled(event(charge=Charge(rate=1, cost=5, parts=(unknown, known))))
    meters.settled(event(charge=None))
    lines = meters.render().decode().splitlines()
    assert [line for line in lines if line.startswith("xrouter_price_unknown_total")] == [
        'xrouter_price_unknown_total{model="p/m",provider="p"} 1.0',
        'xrouter_price_unknown_total{model="q/n",provider="q"} 1.0',
    ]
