from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest
from sqlalchemy import update
from tests.control.conftest import Api

from xrouter.control.catalog.adapters import supported
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import ModelRow
from xrouter.control.routing import catalogue
from xrouter.control.routing.schemas import PriceIn
from xrouter.providers.prices import shipped

OURS: dict[str, Any] = {
    "model": "one",
    "effective_from": date(2026, 1, 1),
    "currency": "RUB",
    "input": "65",
    "output": "70",
    "source": "Acme, 2026",
}


@pytest.mark.parametrize("provider", shipped())
def test_each_shipped_price_is_of_a_known_model_and_says_who_has_said_it(provider: str) -> None:
    models = {
        model.name: {version.label for version in model.versions}
        for model in supported().known[provider].supported_models
    }
    for fields in shipped()[provider]:
        assert fields["model"] in models
        assert fields.get("version") in {None, *models[fields["model"]]}
    prices = list(catalogue._shipped({f"{provider}/{name}" for name in models}))
    assert len({(p.model, p.version, p.mode) for p in prices}) == len(shipped()[provider])
    for price in prices:
        assert re.search(r"20\d\d", price.source), price
        assert isinstance(price, PriceIn)


@pytest.fixture
async def models(api: Api, db: Database) -> None:
    await api.acme()
    for name in ("one", "listed", "dynamic", "bare"):
        await api.acme_model(name)
    said = {
        "listed": {"prompt": "0.00000015", "completion": "6e-7", "input_cache_read": "0.000000075"},
        "dynamic": {"prompt": "-1", "completion": "-1"},
    }
    async with db.write() as session:
        for name, prices in said.items():
            where = ModelRow.model_id == f"acme/{name}"
            await session.execute(update(ModelRow).where(where).values(listed={"prices": prices}))


@pytest.mark.usefixtures("models")
async def test_prices_are_taken_over_where_there_is_none(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "shipped", lambda: {"acme": [OURS], "other": [OURS]})
    found = await api.ask("POST", "/prices/import", json={})
    rows = {
        row["model"]: (row["currency"], row["input"], row["output"], row["cached_input"])
        for row in found["added"]
    }
    assert rows == {
        "acme/one": ("RUB", "65", "70", None),
        "acme/listed": ("USD", "0.15", "0.6", "0.075"),
    }
    assert found["kept"] == 0
    assert all(row["in_force"] for row in found["added"])
    again = await api.ask("POST", "/prices/import", json={"provider": "acme"})
    assert (again["added"], again["kept"]) == ([], 2)
    more = await api.ask("POST", "/prices/import", json={"replace": True})
    assert len(more["added"]) == 2
    one = await api.ask("GET", "/prices", params={"model": "acme/one"})
    assert [row["source"] for row in one["data"]] == ["Acme, 2026"]
    none = await api.ask("POST", "/prices/import", json={"provider": "nobody"})
    assert (none["added"], none["kept"]) == ([], 0)


@pytest.mark.usefixtures("models")
async def test_what_replaces_a_younger_price_holds_from_now_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "shipped", lambda: {"acme": [OURS]})
    own = {"model": "acme/one", "effective_from": "2026-02-01T00:00:00Z", "source": "contract"}
    await api.ask("POST", "/prices", json={**own, "input": "1", "output": "1"}, status=201)

    found = await api.ask("POST", "/prices/import", json={"provider": "acme", "replace": True})

    assert [row["in_force"] for row in found["added"] if row["model"] == "acme/one"] == [True]
    prices = (await api.ask("GET", "/prices", params={"model": "acme/one"}))["data"]
    assert [(p["source"], p["in_force"]) for p in prices] == [
        ("contract", False),
        ("Acme, 2026", True),
    ]
