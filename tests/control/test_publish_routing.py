"""What says where requests go, from rows to the snapshot."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert
from tests.control.fakes import ACME, adapters

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow, ModelRow, ProviderRow, VersionRow
from xrouter.control.db.tables.health import EndpointStateRow
from xrouter.control.db.tables.releases import ReleaseRow
from xrouter.control.db.tables.routing import PriceRow, RateRow, RouteRow, RouteTargetRow
from xrouter.control.publish.build import build_snapshot
from xrouter.domain.catalog import Price
from xrouter.domain.routes import Cache, Canary, Policy, RouteTarget
from xrouter.domain.snapshot import Snapshot
from xrouter.stores.vault import Vault

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
RUB = {"currency": "RUB", "output": 0, "source": "test"}


@pytest.fixture(autouse=True)
async def catalog(db: Database) -> None:
    async with db.write() as session:
        provider = {"policy": {"max_attempts": 2}}
        rows: list[tuple[type[Any], dict[str, Any]]] = [
            (
                ProviderRow,
                {
                    "name": "acme",
                    "display_name": "A",
                    "adapter_class": ACME,
                    "country": "RU",
                    "settings": provider,
                },
            ),
            (EndpointRow, {"id": 1, "provider": "acme", "name": "one", "base_url": "http://a"}),
            (
                EndpointRow,
                {
                    "id": 2,
                    "provider": "acme",
                    "name": "two",
                    "base_url": "http://b",
                    "country": "KZ",
                    "max_running": 3,
                },
            ),
            (
                ModelRow,
                {
                    "id": 1,
                    "model_id": "acme/m",
                    "provider": "acme",
                    "adapter_class": ACME,
                    "display_name": "M",
                    "policy": {"strategy": "weighted"},
                    "access_group": "lab",
                },
            ),
            (
                VersionRow,
                {
                    "llm_model_id": 1,
                    "label": "5",
                    "upstream": "m5",
                    "channel": "latest",
                    "retires_at": NOW + HOUR,
                },
            ),
            (
                VersionRow,
                {
                    "llm_model_id": 1,
                    "label": "4",
                    "upstream": "m4",
                    "position": 1,
                    "retires_at": NOW - HOUR,
                },
            ),
            (EndpointStateRow, {"endpoint_id": 2, "state": "down", "since": NOW}),
        ]
        for table, values in rows:
            await session.execute(insert(table).values(**values))


async def published(
    db: Database, vault: Vault, *rows: tuple[type[Any], dict[str, Any]]
) -> Snapshot:
    async with db.write() as session:
        for table, values in rows:
            await session.execute(insert(table).values(**values))
    return await build_snapshot(db, vault, adapters())


async def test_models_endpoints_and_their_policies(db: Database, vault: Vault) -> None:
    found = await published(db, vault)
    model = found.models["acme/m"]
    assert model.policy == Policy(strategy="weighted", max_attempts=2)
    assert model.access_group == "lab"
    assert [version.label for version in model.versions] == ["5"]
    assert found.valid_until == pytest.approx((NOW + HOUR).timestamp())
    one, two = found.endpoints["acme"]
    assert (one.country, one.state, one.max_running) == ("RU", "healthy", None)
    assert (two.country, two.state, two.max_running) == ("KZ", "down", 3)


async def test_a_price_holds_from_its_moment_on(db: Database, vault: Vault) -> None:
    price = {"llm_model_id": 1, **RUB}
    found = await published(
        db,
        vault,
        (PriceRow, price | {"effective_from": NOW - 2 * HOUR, "input": 1}),
        (PriceRow, price | {"effective_from": NOW - HOUR, "input": 2}),
        (PriceRow, price | {"effective_from": NOW + HOUR / 2, "input": 3}),
        (PriceRow, price | {"effective_from": NOW - HOUR, "input": 9, "mode": "deferred"}),
        (RateRow, {"currency": "USD", "day": date(2026, 1, 1), "rubles": 80}),
        (RateRow, {"currency": "USD", "day": date(2026, 1, 2), "rubles": 81}),
    )
    (version,) = found.models["acme/m"].versions
    assert version.price == Price(currency="RUB", input=2, output=0, source="test")
    assert found.valid_until == pytest.approx((NOW + HOUR / 2).timestamp())
    assert found.rates == {"USD": 81}
    own = price | {"effective_from": NOW - 2 * HOUR, "input": 7, "version": "5"}
    found = await published(db, vault, (PriceRow, own))
    (version,) = found.models["acme/m"].versions
    assert version.price is not None
    assert version.price.input == 7


async def test_routes_by_all_their_names(db: Database, vault: Vault) -> None:
    found = await published(
        db,
        vault,
        (
            RouteRow,
            {
                "id": 1,
                "name": "bot",
                "display_name": "Bot",
                "aliases": ["auto", "acme/m"],
                "policy": {"cache": {"ttl": 5}},
            },
        ),
        (RouteTargetRow, {"route_id": 1, "position": 1, "model": "acme/m", "weight": 3}),
        (RouteTargetRow, {"route_id": 1, "position": 0, "model": "acme/m:5"}),
        (RouteRow, {"id": 2, "name": "odd", "display_name": "", "policy": {"max_attempts": "x"}}),
    )
    assert set(found.routes) == {"route/bot", "auto", "route/odd"}
    bot = found.routes["auto"]
    assert bot.policy == Policy(cache=Cache(ttl=5))
    assert bot.targets == (
        RouteTarget(model="acme/m:5"),
        RouteTarget(model="acme/m", weight=3),
    )
    assert found.routes["route/odd"].policy == Policy()


async def test_a_canary_that_runs(db: Database, vault: Vault) -> None:
    release = {"llm_model_id": 1, "label": "4", "at": NOW, "author": "x"}
    found = await published(
        db, vault, (ReleaseRow, release | {"status": "canary", "canary": {"share": 0.1}})
    )
    assert found.canaries == {"acme/m": Canary(label="4", share=0.1)}


async def test_a_canary_of_no_sense_is_left_out(db: Database, vault: Vault) -> None:
    release = {"llm_model_id": 1, "label": "4", "at": NOW, "author": "x", "status": "canary"}
    found = await published(db, vault, (ReleaseRow, release | {"canary": {"share": "much"}}))
    assert found.canaries == {}
    assert "acme/m" in found.models
