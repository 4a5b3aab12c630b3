"""What says where requests go, from rows to the snapshot."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update
from tests.control.fakes import ACME, adapters

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow, ModelRow, ProviderRow, VersionRow
from xrouter.control.db.tables.health import EndpointStateRow
from xrouter.control.db.tables.identity import KeyRow
from xrouter.control.db.tables.releases import ReleaseRow
from xrouter.control.db.tables.routing import PriceRow, RateRow, RouteRow, RouteTargetRow
from xrouter.control.publish.build import build_snapshot
from xrouter.control.publish.publisher import Publisher
from xrouter.domain.catalog import Price, Version
from xrouter.domain.routes import Cache, Canary, Policy, RouteTarget
from xrouter.domain.snapshot import Snapshot
from xrouter.stores.vault import Vault
from xrouter.telemetry.logs import log

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
            (
                EndpointStateRow,
                {"endpoint_id": 2, "state": "down", "is_silent": True, "since": NOW},
            ),
        ]
        for table, values in rows:
            await session.execute(insert(table).values(**values))


async def published(
    db: Database, vault: Vault, *rows: tuple[type[Any], dict[str, Any]]
) -> Snapshot:
    async with db.write() as session:
        for table, values in rows:
            await session.execute(insert(table).values(**values))
    return await build_snapshot(db, vault, adapters(), NOW.timestamp())


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


async def test_what_callers_alone_find_down_is_still_tried(db: Database, vault: Vault) -> None:
    async with db.write() as session:
        await session.execute(update(EndpointStateRow).values(is_silent=False))
    found = await published(db, vault)
    assert found.endpoints["acme"][1].state == "degraded"


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
    assert version.price == Price(id=2, currency="RUB", input=2, output=0, source="test")
    assert version.deferred == Price(id=4, currency="RUB", input=9, output=0, source="test")
    assert found.valid_until == pytest.approx((NOW + HOUR / 2).timestamp())
    assert found.rates == {"USD": 81}
    own = price | {"effective_from": NOW - 2 * HOUR, "input": 7, "version": "5"}
    found = await published(db, vault, (PriceRow, own))
    (version,) = found.models["acme/m"].versions
    assert version.price is not None
    assert version.price.input == 7
    assert version.deferred is not None
    assert version.deferred.input == 9


async def test_a_rate_holds_from_its_day_on_in_moscow(db: Database, vault: Vault) -> None:
    friday, saturday = date(2026, 3, 6), date(2026, 3, 7)
    midnight = datetime(2026, 3, 6, 21, tzinfo=UTC).timestamp()
    rows = [
        (RateRow, {"currency": "USD", "day": saturday, "rubles": 81}),
        (RateRow, {"currency": "USD", "day": friday, "rubles": 80}),
        (RateRow, {"currency": "EUR", "day": saturday, "rubles": 90}),
    ]
    async with db.write() as session:
        for table, values in rows:
            await session.execute(insert(table).values(**values))

    before = await build_snapshot(db, vault, adapters(), now=midnight - 1)
    after = await build_snapshot(db, vault, adapters(), now=midnight)
    monday = await build_snapshot(db, vault, adapters(), now=midnight + 2 * 86_400)

    assert before.rates == {"USD": 80, "EUR": 90}, "a rate that is too early beats none"
    assert before.valid_until == midnight
    assert after.rates == monday.rates == {"USD": 81, "EUR": 90}


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


@pytest.mark.parametrize("bad", [{"countries": "RU"}, {"max_price": "x"}, {"borders": "closed"}])
async def test_a_policy_that_forbids_in_a_way_of_no_sense_lets_nothing_pass(
    db: Database, vault: Vault, bad: dict[str, Any]
) -> None:
    route = {"id": 1, "name": "bot", "display_name": "", "policy": bad}
    model = {"id": 2, "model_id": "acme/n", "provider": "acme", "adapter_class": ACME}
    with log.captured() as logs:
        found = await published(
            db,
            vault,
            (RouteRow, route),
            (ModelRow, model | {"display_name": "N", "policy": bad}),
        )
    assert found.routes == {}
    assert set(found.models) == {"acme/m"}
    named = [name for entry in logs if entry["event"] == "rows_skipped" for name in entry["first"]]
    assert named == ["acme/n", "bot"]


async def test_other_fields_of_no_sense_leave_the_rest(db: Database, vault: Vault) -> None:
    policy = {"countries": ["RU"], "max_attempts": "x", "patience": {"idle": "y"}}
    row = (RouteRow, {"id": 1, "name": "bot", "display_name": "", "policy": policy})
    with log.captured() as logs:
        found = await published(db, vault, row)
    assert found.routes["route/bot"].policy == Policy(countries=("RU",))
    assert [entry["first"] for entry in logs] == [["route/bot"]]


async def test_keys_know_their_groups(db: Database, vault: Vault) -> None:
    key = {"name": "k", "pepper_id": vault.pepper_id, "last4": "abcd"}
    found = await published(
        db,
        vault,
        (KeyRow, key | {"key_id": "key_1", "mac": b"1", "groups": ["lab", "staff"]}),
        (KeyRow, key | {"key_id": "key_2", "mac": b"2"}),
        (KeyRow, key | {"key_id": "key_3", "mac": b"3", "groups": {"lab": 1}}),
    )
    groups = {record.principal.key_id: record.principal.groups for record in found.keys.values()}
    assert groups == {"key_1": ("lab", "staff"), "key_2": ()}  # what cannot be read opens nothing


async def test_versions_come_with_all_that_is_said_of_them(db: Database, vault: Vault) -> None:
    version = {
        "llm_model_id": 1, "label": "3", "upstream": "m3", "channel": "deprecated",
        "status": "deprecated", "weight": 4, "position": 9, "successor": "acme/m:5",
        "released_at": NOW - 2 * HOUR, "retires_at": NOW + 2 * HOUR,
    }  # fmt: skip
    found = await published(db, vault, (VersionRow, version))
    assert found.models["acme/m"].versions[-1] == Version(
        label="3",
        upstream="m3",
        channel="deprecated",
        status="deprecated",
        weight=4,
        successor="acme/m:5",
        released_at=(NOW - 2 * HOUR).timestamp(),
        retires_at=(NOW + 2 * HOUR).timestamp(),
    )


async def test_what_begins_is_published_when_it_begins(
    db: Database, vault: Vault, tmp_path: Path
) -> None:
    price = {"llm_model_id": 1, **RUB, "effective_from": NOW + 2 * HOUR, "input": 5}
    await published(db, vault, (PriceRow, price))
    now, delivered = [NOW.timestamp()], list[Snapshot]()

    async def deliver(snapshot: Snapshot) -> None:
        delivered.append(snapshot)

    publisher = Publisher(db, vault, adapters(), deliver, tmp_path, now=lambda: now[0])
    for hours in (0, 0.9, 1, 1, 1.9, 2, 3):
        now[0] = (NOW + hours * HOUR).timestamp()
        await publisher.turn()
    assert [snapshot.built_at for snapshot in delivered] == [
        (NOW + hours * HOUR).timestamp() for hours in (0, 1, 2)
    ]
    first, second, third = (snapshot.models["acme/m"] for snapshot in delivered)
    assert (first.is_available, second.is_available) == (True, False)
    assert [model.versions[0].price is None for model in (first, second, third)] == [
        True,
        True,
        False,
    ]
    assert delivered[-1].valid_until is None


async def test_it_does_not_wait_longer_than_until_something_begins(
    db: Database, vault: Vault, tmp_path: Path
) -> None:
    """Though it looks once an hour."""
    now, delivered = [NOW.timestamp()], asyncio.Queue[Snapshot]()

    async def deliver(snapshot: Snapshot) -> None:
        now[0] += HOUR.total_seconds()
        await delivered.put(snapshot)

    publisher = Publisher(
        db, vault, adapters(), deliver, tmp_path, every_s=lambda: 3600.0, now=lambda: now[0]
    )
    task = asyncio.create_task(publisher.run())
    async with asyncio.timeout(20):
        assert (await delivered.get()).models["acme/m"].is_available
        assert not (await delivered.get()).models["acme/m"].is_available
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
