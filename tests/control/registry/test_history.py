from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from tests.control.registry.conftest import PROVIDER, RegistryApi, whole

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.releases import ChangeRow
from xrouter.control.releases.job import ReleaseJob
from xrouter.control.releases.schemas import ReleaseIn
from xrouter.control.releases.service import ReleaseService
from xrouter.control.server import Services

Json = dict[str, Any]


def _endpoint(**more: Any) -> Json:
    endpoints = PROVIDER["endpoints"]
    return {"providers": [PROVIDER | {"endpoints": [endpoints[0] | more]}]}


async def test_changes_tell_what_differs(api: RegistryApi) -> None:
    await api.put(whole())
    await api.put(_endpoint(max_running=9))
    page = await api.ask("GET", "/changes?limit=3")
    assert [(c["kind"], c["object"]) for c in page["data"]] == [
        ("provider", "acme"),
        ("route", "outer"),
        ("route", "bot"),
    ]
    (first, *_) = page["data"]
    assert first["action"] == "import"
    assert first["diff"] == [{"path": "endpoints[primary].max_running", "old": 4, "new": 9}]
    rest = await api.ask("GET", f"/changes?after={page['next']}")
    assert [c["kind"] for c in rest["data"]] == ["prices", "model", "model", "provider"]
    assert rest["next"] is None
    created = rest["data"][-1]["diff"]
    assert {"path": "name", "old": None, "new": "acme"} in created
    routes = await api.ask("GET", "/changes?kind=route&object=bot")
    assert len(routes["data"]) == 1
    assert (await api.ask("GET", "/changes?author=nobody"))["data"] == []


async def test_a_credential_is_shown_as_changed_and_no_more(api: RegistryApi, db: Database) -> None:
    await api.put(whole())
    await api.put(_endpoint(credential={"api_key": "new-secret"}))
    (change,) = (await api.ask("GET", "/changes?limit=1"))["data"]
    assert change["diff"] == [
        {"path": "endpoints[primary].sealed", "old": "sealed", "new": "changed"}
    ]
    said = json.dumps(await api.ask("GET", "/changes"))
    assert "secret" not in said
    async with db.read() as session:
        rows = (await session.scalars(text("SELECT after FROM catalog_changes"))).all()
    assert "new-secret" not in str(rows)


async def test_a_revision_comes_back(api: RegistryApi, changes: list[None]) -> None:
    await api.put(whole())
    revision, before = await api.revision(), await api.export()
    await api.put(_endpoint(max_running=9, credential={"api_key": "other"}))
    await api.put({"routes": []}, prune=True)
    given = whole()["models"]
    given[0]["versions"] = given[0]["versions"][:1]
    await api.put({"models": given})
    await api.put({"providers": [PROVIDER | {"name": "more"}]})
    after = await api.export()
    assert after != before

    told = await api.restore(revision, dry_run=True)
    assert told["dry_run"]
    assert await api.export() == after
    changes.clear()
    done = await api.restore(revision)
    assert len(changes) == 1
    assert done["changed"] == told["changed"]
    assert await api.export() == before
    page = await api.ask("GET", "/changes?limit=1")
    assert (page["data"][0]["action"], page["data"][0]["author"]) == ("restore", "admin")
    assert (await api.restore(revision))["changed"] == [], "once more is nothing"


async def test_a_restoration_can_be_undone(api: RegistryApi) -> None:
    await api.put(whole())
    first = await api.revision()
    await api.put({"routes": []}, prune=True)
    second, after = await api.revision(), await api.export()
    await api.restore(first)
    done = await api.restore(second)
    assert {each["action"] for each in done["changed"]} == {"delete"}
    assert await api.export() == after


async def test_what_was_deleted_comes_back_with_its_secrets(api: RegistryApi) -> None:
    await api.put(whole())
    revision, before = await api.revision(), await api.export()
    await api.put({"routes": [], "prices": [], "models": [], "providers": []}, prune=True)
    await api.restore(revision)
    assert await api.export() == before
    (endpoint,) = (await api.ask("GET", "/providers/acme"))["endpoints"]
    assert endpoint["credential_fields"] == ["api_key"]
    assert endpoint["is_enabled"]


async def test_everything_goes_back_to_nothing(api: RegistryApi) -> None:
    await api.put(whole())
    await api.restore(0)
    found = await api.export()
    assert [found[part] for part in ("providers", "models", "prices", "routes")] == [[], [], [], []]


async def test_what_others_changed_meanwhile_is_a_conflict(api: RegistryApi, db: Database) -> None:
    await api.put(whole())
    revision = await api.revision()
    await api.put(_endpoint(max_running=9))
    async with db.write() as session:
        await session.execute(text("UPDATE providers SET country = 'DE'"))
    before = await api.export()
    error = (await api.restore(revision, status=409))["error"]
    assert error["code"] == "restore_conflict"
    assert "'acme'" in error["message"]
    assert await api.export() == before


async def test_what_others_changed_in_between_is_a_conflict(api: RegistryApi, db: Database) -> None:
    await api.put(whole())
    revision = await api.revision()
    await api.put(_endpoint(max_running=9))
    async with db.write() as session:
        await session.execute(text("UPDATE providers SET country = 'DE'"))
    await api.put({"providers": [PROVIDER | {"display_name": "New"}]})
    error = (await api.restore(revision, status=409))["error"]
    assert error["code"] == "restore_conflict"


async def test_other_objects_may_have_changed(api: RegistryApi, db: Database) -> None:
    await api.put(whole())
    revision = await api.revision()
    await api.put(_endpoint(max_running=9))
    async with db.write() as session:
        await session.execute(
            text("UPDATE llm_models SET display_name = 'X' WHERE model_id = 'acme/two'")
        )
    done = await api.restore(revision)
    assert [each["object"] for each in done["changed"]] == ["acme"]
    assert (await api.export())["models"][1]["display_name"] == "X"


async def test_a_revision_that_is_not_yet(api: RegistryApi) -> None:
    error = (await api.restore(99_999, status=404))["error"]
    assert error["code"] == "revision_not_found"


async def test_kinds_that_are_not_the_catalogs_stay(api: RegistryApi, db: Database) -> None:
    await api.put(whole())
    revision = await api.revision()
    async with db.write() as session:
        row = ChangeRow(
            revision=revision + 1,
            at=(await session.get_one(ChangeRow, 1)).at,
            author="a",
            action="create",
            kind="key",
            object="key_1",
            before=None,
            after={"name": "x"},
        )
        session.add(row)
    done = await api.restore(revision)
    assert done["warnings"] == ["Changes of the kind 'key' stay."]


async def test_releases_of_the_time_that_is_undone_do_not_happen_again(
    api: RegistryApi, services: Services
) -> None:
    await api.put(whole())
    revision, before = await api.revision(), await api.export()
    service = ReleaseService(services.db, services.changed)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    done = await service.create(ReleaseIn(model_id="acme/one", label="v1", at=at))
    await ReleaseJob(services.db, services.changed).turn()
    later = at + timedelta(days=99_999)
    planned = await service.create(ReleaseIn(model_id="acme/one", label="v2", at=later))
    assert (await api.export())["models"][0]["versions"][0]["label"] == "v1"
    await api.restore(revision)
    assert await api.export() == before
    found = [await service.get(each.id or 0) for each in (done, planned)]
    assert [each.status for each in found] == ["rolled_back", "cancelled"]
    assert f"revision {revision}" in (found[0].reason or "")
    await ReleaseJob(services.db, services.changed).turn()
    assert await api.export() == before
