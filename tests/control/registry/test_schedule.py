"""Releases on their way in the registry's document."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from sqlalchemy import update
from tests.control.registry.conftest import RegistryApi, whole
from tests.control.registry.test_import import actions

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.releases import ReleaseRow

Json = dict[str, Any]
RELEASE: Json = {
    "model_id": "acme/one",
    "label": "v3",
    "channel": "latest",
    "at": "2099-01-10T03:00:00+00:00",
    "retire_at": "2099-03-01T00:00:00+00:00",
    "canary": {"share": 0.05, "by": "key", "max_errors": 0.05, "min_requests": 50},
    "canary_from": "2099-01-09T09:00:00+00:00",
}
OTHER: Json = {"model_id": "acme/one", "label": "v1", "channel": "rc", "at": RELEASE["at"]}
EMPTY: Json = {"retire_at": None, "canary": None, "canary_from": None}


def scheduled(*releases: Json) -> Json:
    """The catalog with a version to come, and releases."""
    document = whole()
    document["models"][0]["versions"].append({"label": "v3", "upstream": "one@v3"})
    return document | {"releases": deepcopy(list(releases))}


async def statuses(api: RegistryApi) -> list[str]:
    """Of all releases, the oldest first."""
    return [each["status"] for each in (await api.ask("GET", "/releases"))["data"]][::-1]


async def test_planned_releases_come_along(api: RegistryApi) -> None:
    done = await api.put(scheduled(RELEASE, OTHER))
    assert actions(done)[-2:] == [
        ("create", "release", "acme/one:latest"),
        ("create", "release", "acme/one:rc"),
    ]
    found = await api.export()
    assert found["releases"] == [RELEASE, OTHER | EMPTY]
    assert (await api.put(found, prune=True))["changed"] == []
    assert await statuses(api) == ["planned", "planned"]


async def test_an_empty_install_gets_the_same_schedule(
    api: RegistryApi, fresh: RegistryApi
) -> None:
    await api.put(scheduled(RELEASE))
    await fresh.put(await api.export("sealed"))
    assert (await fresh.export())["releases"] == [RELEASE]
    shown = await fresh.ask("GET", "/releases/1")
    assert [step["path"] for step in shown["diff"]][:1] == ["canary"]
    assert shown["canary"]["label"] == "v3"


async def test_another_plan_takes_the_place_of_the_first(api: RegistryApi) -> None:
    await api.put(scheduled(RELEASE, OTHER))
    later = RELEASE | {"at": "2099-02-01T00:00:00+00:00"}
    done = await api.put({"releases": [later]})
    assert actions(done) == [("update", "release", "acme/one:latest")]
    (difference,) = done["changed"][0]["diff"]
    assert (difference["path"], difference["new"]) == ("at", later["at"])
    assert (await api.export())["releases"] == [later, OTHER | EMPTY]
    assert await statuses(api) == ["cancelled", "planned", "planned"]


async def test_a_canary_without_a_date_keeps_its_own(api: RegistryApi) -> None:
    await api.put(scheduled(RELEASE))
    given = {name: value for name, value in RELEASE.items() if name != "canary_from"}
    assert (await api.put({"releases": [given]}))["changed"] == []


async def test_a_running_canary_goes_on(api: RegistryApi, db: Database) -> None:
    await api.put(scheduled(RELEASE))
    async with db.write() as session:
        await session.execute(update(ReleaseRow).values(status="canary"))
    assert (await api.put(await api.export(), prune=True))["changed"] == []
    assert await statuses(api) == ["canary"]


async def test_pruned_are_the_releases_that_the_document_lacks(api: RegistryApi) -> None:
    await api.put(scheduled(RELEASE, OTHER))
    assert (await api.put({"releases": []}, prune=True, dry_run=True))["dry_run"]
    assert await statuses(api) == ["planned", "planned"]
    done = await api.put({"releases": [RELEASE]}, prune=True)
    assert actions(done) == [("delete", "release", "acme/one:rc")]
    assert await statuses(api) == ["planned", "cancelled"]
    await api.put({"routes": []}, prune=True)
    assert await statuses(api) == ["planned", "cancelled"]


async def test_a_return_to_an_earlier_revision_ends_what_was_imported(api: RegistryApi) -> None:
    await api.put(scheduled())
    revision = await api.revision()
    await api.put({"releases": [RELEASE]})
    await api.restore(revision)
    assert await statuses(api) == ["cancelled"]


async def test_what_is_over_or_due_is_told(api: RegistryApi) -> None:
    done = await api.put(scheduled(RELEASE | {"label": "v2"}))
    assert "'v2' is 'acme/one:latest' already: its release is left out." in done["warnings"]
    due = OTHER | {"label": "v3", "at": "2020-01-01T00:00:00Z"}
    done = await api.put({"releases": [due]})
    assert "'v3' becomes 'acme/one:rc' at once: its date is past." in done["warnings"]
    assert await statuses(api) == ["planned"]


@pytest.mark.parametrize(
    "more, param",
    [
        ({"model_id": "acme/none"}, "releases[0].model_id"),
        ({"label": "v9"}, "releases[0].label"),
        ({"retire_at": "2098-01-01T00:00:00Z"}, "releases[0]"),
        ({"status": "done"}, "releases[0].status"),
    ],
)
async def test_releases_of_no_sense(api: RegistryApi, more: Json, param: str) -> None:
    error = await api.refused(scheduled(RELEASE | more))
    assert error["param"] == param
    assert (await api.export())["models"] == []


async def test_twice_the_same_place_is_a_conflict(api: RegistryApi) -> None:
    given = scheduled(RELEASE, RELEASE | {"label": "v1"})
    error = await api.error("PUT", "/registry", json=given, status=409)
    assert error["param"] == "releases"
