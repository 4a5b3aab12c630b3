"""What `xrouter doctor` says of money."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from xrouter.cli import checks
from xrouter.domain.catalog import Model, Price, Version
from xrouter.domain.limits import Limit
from xrouter.domain.snapshot import EMPTY, Snapshot

TODAY = datetime.now(UTC).date()
BUDGET = Limit(subject="key:*", meter="money", window="day", amount=1)


def snapshot(*currencies: str | None, limited: bool = False, **rates: int) -> Snapshot:
    """A model with a price in each of these currencies; None for a model without a price."""
    models = {}
    for number, currency in enumerate(currencies):
        price = None
        if currency is not None:
            price = Price(id=1, currency=currency, input=1, output=1, source="test")
        version = Version(label="v1", upstream="m", price=price)
        name = f"acme/m{number}"
        models[name] = Model(
            model_id=name, provider="acme", adapter_class="x", display_name=name,
            versions=(version,),
        )  # fmt: skip
    limits: dict[str, tuple[Limit, ...]] = {"key:*": (BUDGET,)} if limited else {}
    return msgspec.structs.replace(EMPTY, models=models, rates=rates, limits=limits)


def test_what_has_no_price_is_told_once_money_counts() -> None:
    assert checks.prices(snapshot(None, None)).state == "ok"
    assert checks.prices(snapshot("RUB")).state == "ok"
    for found in (
        checks.prices(snapshot("RUB", None)),
        checks.prices(snapshot(None, None, limited=True)),
    ):
        assert found.state == "warning"
        assert "acme/m1" in (found.advice or "")


def test_rates_that_are_needed_are_there_and_young() -> None:
    assert checks.rates(snapshot("RUB", None), {}).state == "ok"
    missing = checks.rates(snapshot("USD", "EUR", EUR=90), {"EUR": TODAY})
    assert (missing.state, missing.found) == ("warning", "none of USD")
    assert checks.rates(snapshot("EUR", EUR=90), {"EUR": TODAY}).state == "ok"
    old = {"EUR": TODAY - timedelta(days=20), "USD": TODAY}
    assert checks.rates(snapshot("EUR", "USD", EUR=90, USD=80), old).state == "warning"
    assert checks.rates(snapshot("USD", EUR=90, USD=80), old).state == "ok"
