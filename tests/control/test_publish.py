from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text, update
from tests.control.conftest import Api
from tests.control.fakes import ACME, OTHER, adapters
from tests.services.postgres import Postgres

from xrouter.control.catalog.adapter_map import build_model_adapter_map
from xrouter.control.db.engine import Database
from xrouter.control.db.tables.catalog import EndpointRow, ModelRow, ProviderRow, VersionRow
from xrouter.control.publish.build import build_snapshot
from xrouter.control.publish.publisher import Publisher
from xrouter.domain.catalog import Timeouts, Version
from xrouter.domain.secret import Secret
from xrouter.domain.snapshot import Snapshot
from xrouter.stores.vault import Vault, WrongMasterKey
from xrouter.telemetry.logs import log

SOON_S = 20.0


class Plane:
    """The data plane: takes snapshots, is told when they are stale."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.stale: list[bool] = []
        self._news = asyncio.Event()

    async def deliver(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        self._news.set()

    def told(self, stale: bool) -> None:
        self.stale.append(stale)
        self._news.set()

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(SOON_S):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def running(publisher: Publisher) -> AsyncIterator[None]:
    task = asyncio.create_task(publisher.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
def publisher(db: Database, vault: Vault, plane: Plane, tmp_path: Path) -> Publisher:
    return Publisher(db, vault, adapters(), plane.deliver, tmp_path, stale=plane.told)


async def snapshot(db: Database, vault: Vault) -> Snapshot:
    return await build_snapshot(db, vault, adapters())


async def test_a_snapshot_has_all_the_data_plane_needs(
    api: Api, db: Database, vault: Vault
) -> None:
    await api.acme(
        options={"scope": "x"},
        timeouts={"connect": 1.5},
        credential={"api_key": "k"},
        proxy="http://u:p@proxy.test:3128",
        ca_bundle="/ca.pem",
        priority=5,
    )
    given = {"base_url": "https://s.test", "credential": {"api_key": "s"}, "priority": 1}
    await api.ask("POST", "/providers/acme/endpoints", json=given, status=201)
    off = {**given, "name": "off", "is_enabled": False}
    await api.ask("POST", "/providers/acme/endpoints", json=off, status=201)
    await api.acme_model(
        context_length=99,
        versions=[
            {"label": "b", "upstream": "one@b", "channel": "latest"},
            {"label": "old", "upstream": "one@old", "status": "retired"},
            {"label": "a", "upstream": "one@a", "status": "deprecated"},
        ],
    )
    made = await snapshot(db, vault)
    assert made.revision == (await api.ask("GET", "/state"))["revision"]
    standby, primary = made.endpoints["acme"]
    assert standby.base_url == "https://s.test"
    assert primary.credential == {"api_key": Secret("k")}
    assert primary.options == {"scope": "x"}
    assert primary.timeouts == Timeouts(connect=1.5)
    assert primary.proxy == "http://u:p@proxy.test:3128"
    assert (primary.ca_bundle, primary.priority) == ("/ca.pem", 5)
    assert primary.adapter_class == ACME
    model = made.models["acme/one"]
    assert (model.provider, model.kind, model.context_length) == ("acme", "chat", 99)
    assert abs(model.created - time.time()) < 3600
    assert model.versions == (
        Version(label="b", upstream="one@b", channel="latest"),
        Version(label="a", upstream="one@a", status="deprecated"),
    )
    assert model.retired == {"old": None}


@pytest.mark.parametrize(
    "policy,channels,expected",
    [
        ({}, ["rc", "deprecated"], ["deprecated", "rc"]),
        ({}, ["rc", "latest"], ["latest", "rc"]),
        ({}, ["rc", None], [None, "rc"]),
        ({}, ["rc"], ["rc"]),
        ({}, [None, "rc"], [None, "rc"]),
        ({"versions": ["rc"]}, ["rc", "deprecated"], ["rc", "deprecated"]),
        ({"versions": ["beta"]}, ["rc", "deprecated", "beta"], ["beta", "rc", "deprecated"]),
        ({"versions": []}, ["rc", "deprecated"], ["deprecated", "rc"]),
    ],
)
async def test_a_bare_name_does_not_come_to_mean_a_candidate(
    api: Api,
    db: Database,
    vault: Vault,
    policy: dict[str, Any],
    channels: list[str],
    expected: list[str],
) -> None:
    """The version before them was retired; the first of those that are served is the bare name."""
    gone = {"label": "gone", "upstream": "x", "status": "retired"}
    left = [{"label": f"v{n}", "upstream": "x", "channel": c} for n, c in enumerate(channels)]
    await api.acme()
    await api.acme_model(versions=[gone, *left], policy=policy)
    served = (await snapshot(db, vault)).models["acme/one"].versions
    assert [version.channel for version in served] == expected


async def test_a_model_that_vanished_is_marked_and_stays(
    api: Api, db: Database, vault: Vault
) -> None:
    await api.acme()
    await api.acme_model()
    assert not (await snapshot(db, vault)).models["acme/one"].vanished
    async with db.write() as session:
        query = update(ModelRow).where(ModelRow.model_id == "acme/one")
        await session.execute(query.values(vanished_at=datetime.now(UTC)))
    model = (await snapshot(db, vault)).models["acme/one"]
    assert (model.vanished, model.is_available) == (True, True)


async def test_what_is_switched_off_answers_unavailable(
    api: Api, db: Database, vault: Vault
) -> None:
    await api.acme()
    await api.acme_model("on")
    await api.acme_model("off", is_available=False)
    retired = [{"label": "v", "upstream": "v", "status": "retired"}]
    await api.acme_model("retired", versions=retired)

    async def available() -> dict[str, bool]:
        found = (await snapshot(db, vault)).models.items()
        return {model_id: model.is_available for model_id, model in found}

    assert await available() == {"acme/on": True, "acme/off": False, "acme/retired": False}
    await api.ask("PATCH", "/providers/acme", json={"is_enabled": False})
    assert not any((await available()).values())
    assert "acme" not in (await snapshot(db, vault)).endpoints


async def test_one_raw_row_is_a_model(api: Api, db: Database, vault: Vault) -> None:
    await api.acme()
    async with db.write() as session:
        await session.execute(
            text(
                "INSERT INTO llm_models (model_id, provider, adapter_class, display_name)"
                f" VALUES ('acme/raw/one', 'acme', '{ACME}', 'Raw')"
            )
        )
    model = (await snapshot(db, vault)).models["acme/raw/one"]
    assert model.versions == (Version(label="default", upstream="raw/one"),)


@pytest.mark.parametrize(
    "statement,reason",
    [
        ("UPDATE llm_models SET adapter_class = 'no.Such' WHERE model_id = 'acme/bad'", "no.Such"),
        ("UPDATE llm_models SET kind = 'music' WHERE model_id = 'acme/bad'", "music"),
        ("UPDATE provider_endpoints SET adapter_class = 'no.Such' WHERE name = 'bad'", "no.Such"),
        ("UPDATE provider_endpoints SET options = '[1]' WHERE name = 'bad'", "array"),
        ("UPDATE provider_endpoints SET timeouts = '{\"idle\": \"x\"}' WHERE name = 'bad'", "str"),
    ],
)
async def test_rows_of_no_sense_are_left_out_and_logged(
    api: Api, db: Database, vault: Vault, statement: str, reason: str
) -> None:
    await api.acme()
    given = {"base_url": "https://s.test", "credential": {"api_key": "s"}, "name": "bad"}
    await api.ask("POST", "/providers/acme/endpoints", json=given, status=201)
    await api.acme_model("good")
    await api.acme_model("bad")
    async with db.write() as session:
        await session.execute(text(statement.replace("'[1]'", "'[1]'")))
    with log.captured() as logs:
        made = await snapshot(db, vault)
    left_out = [entry for entry in logs if entry["event"] == "rows_skipped"]
    assert [entry["count"] for entry in left_out] == [1]
    assert reason in left_out[0]["reason"]
    names = {e.name for e in made.endpoints["acme"]} | set(made.models)
    assert {"primary", "acme/good"} <= names
    assert len(names) == 3


async def test_a_credential_moved_to_another_row_does_not_open(
    api: Api, db: Database, vault: Vault
) -> None:
    await api.acme()
    given = {"base_url": "https://s.test", "credential": {"api_key": "s"}, "name": "thief"}
    await api.ask("POST", "/providers/acme/endpoints", json=given, status=201)
    async with db.write() as session:
        await session.execute(
            text(
                "UPDATE provider_endpoints SET credential = (SELECT e.credential FROM"
                " provider_endpoints e WHERE e.name = 'primary') WHERE name = 'thief'"
            )
        )
    with log.captured() as logs:
        made = await snapshot(db, vault)
    assert [e.name for e in made.endpoints["acme"]] == ["primary"]
    assert logs[0]["first"] == ["acme/thief"]
    shown = await api.ask("GET", "/providers/acme")
    assert shown["endpoints"][1]["credential_fields"] is None


async def test_the_wrong_master_key_is_no_catalog_without_keys(
    api: Api, db: Database, vault: Vault
) -> None:
    await api.acme()
    await api.ask("POST", "/keys", json={"name": "n"}, status=201)
    with pytest.raises(WrongMasterKey):
        await snapshot(db, Vault(bytes(32)))
    assert len((await snapshot(db, vault)).keys) == 1


async def test_a_change_is_delivered_within_a_second_and_a_poke_at_once(
    api: Api, publisher: Publisher, plane: Plane
) -> None:
    async with running(publisher):
        await plane.until(lambda: plane.snapshots)
        assert plane.snapshots[-1].models == {}
        await api.acme()
        await api.acme_model()
        before = time.monotonic()
        await plane.until(lambda: "acme/one" in plane.snapshots[-1].models)
        waited = time.monotonic() - before
        await api.ask("PATCH", "/models/acme/one", json={"is_available": False})
        publisher.poke()
        await plane.until(lambda: not plane.snapshots[-1].models["acme/one"].is_available)
    assert waited < SOON_S
    assert plane.stale == []


async def test_a_poke_does_not_wait_for_the_next_look(
    api: Api, db: Database, vault: Vault, plane: Plane, tmp_path: Path
) -> None:
    publisher = Publisher(db, vault, adapters(), plane.deliver, tmp_path, every_s=lambda: 3600.0)
    async with running(publisher):
        await plane.until(lambda: plane.snapshots)
        await api.acme()
        publisher.poke()
        await plane.until(lambda: "acme" in plane.snapshots[-1].endpoints)


async def test_nothing_is_delivered_twice(publisher: Publisher, plane: Plane) -> None:
    for _ in range(3):
        await publisher.turn()
    assert len(plane.snapshots) == 1


async def test_what_a_stranger_writes_is_noticed(
    sqlite_url: str, sqlite_file: Path, vault: Vault, plane: Plane, tmp_path: Path
) -> None:
    db = Database(sqlite_url)
    async with running(Publisher(db, vault, adapters(), plane.deliver, tmp_path)):
        await plane.until(lambda: plane.snapshots)
        with sqlite3.connect(sqlite_file) as stranger:
            stranger.execute(
                "INSERT INTO providers (name, display_name, adapter_class)"
                f" VALUES ('raw', 'Raw', '{ACME}')"
            )
        await plane.until(lambda: "raw" in plane.snapshots[-1].endpoints)
    await db.close()


async def test_the_last_snapshot_stays_while_the_database_is_away(
    postgres: Postgres, postgres_url: str, vault: Vault, plane: Plane, tmp_path: Path
) -> None:
    db = Database(postgres_url)
    publisher = Publisher(db, vault, adapters(), plane.deliver, tmp_path, stale=plane.told)
    with log.captured() as logs:
        async with running(publisher):
            await plane.until(lambda: plane.snapshots)
            postgres.stop()
            try:
                await plane.until(lambda: plane.stale.count(True) >= 2)
            finally:
                postgres.start()
            await plane.until(lambda: plane.stale[-1] is False)
    await db.close()
    events = [entry["event"] for entry in logs if entry["event"].startswith("catalog")]
    assert events == ["catalog_not_read", "catalog_read_again"]
    assert len(plane.snapshots) == 1


async def test_a_snapshot_that_cannot_be_delivered_is_delivered_again(
    db: Database, vault: Vault, plane: Plane, tmp_path: Path
) -> None:
    failures = [RuntimeError("no"), RuntimeError("no")]

    async def deliver(snapshot: Snapshot) -> None:
        if failures:
            raise failures.pop()
        await plane.deliver(snapshot)

    publisher = Publisher(db, vault, adapters(), deliver, tmp_path, stale=plane.told)
    with log.captured() as logs:
        for _ in range(4):
            await publisher.turn()
    assert len(plane.snapshots) == 1
    assert plane.stale == [True, True, False]
    assert [entry["event"] for entry in logs if entry["event"] == "snapshot_defect"] == [
        "snapshot_defect"
    ]


async def fill(db: Database, number: int) -> None:
    async with db.write() as session:
        session.add(ProviderRow(name="acme", display_name="A", adapter_class=ACME))
        await session.flush()
        session.add(EndpointRow(provider="acme", name="primary", base_url="http://x"))
        models = [
            {"id": n, "model_id": f"acme/m{n:05}", "provider": "acme", "adapter_class": ACME}
            | {"display_name": f"M {n}", "created_at": datetime(2026, 1, 2, tzinfo=UTC)}
            for n in range(1, number + 1)
        ]
        versions = [
            {"llm_model_id": n, "label": label, "upstream": f"m{n}@{label}", "position": position}
            for n in range(1, number + 1)
            for position, label in enumerate(("new", "old"))
        ]
        await session.execute(insert(ModelRow), models)
        await session.execute(insert(VersionRow), versions)


async def test_ten_thousand_models_are_one_snapshot(db: Database, vault: Vault) -> None:
    await fill(db, 10_000)
    before = time.perf_counter()
    made = await snapshot(db, vault)
    took = time.perf_counter() - before
    assert len(made.models) == 10_000
    assert [v.label for v in made.models["acme/m00777"].versions] == ["new", "old"]
    assert made.models["acme/m00001"].created == 1767312000
    print(f"10,000 models: {took:.2f} s")  # noqa: T201 - shown with -s


async def test_the_map_of_models_and_adapters(api: Api, db: Database) -> None:
    await api.acme()
    await api.acme_model("on")
    await api.acme_model("other", adapter_class=OTHER)
    await api.acme_model("off", is_available=False)
    await api.acme_model("bad")
    async with db.write() as session:
        await session.execute(
            text("UPDATE llm_models SET adapter_class = 'no.Such' WHERE model_id = 'acme/bad'")
        )
    classes = adapters().classes
    with log.captured() as logs:
        found = await build_model_adapter_map(db, adapters())
    assert found == {"acme/on": classes[ACME], "acme/other": classes[OTHER]}
    assert logs[0]["event"] == "rows_skipped"
    await api.ask("PATCH", "/providers/acme", json={"is_enabled": False})
    assert await build_model_adapter_map(db, adapters()) == {}
