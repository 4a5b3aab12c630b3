from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import update
from tests.control.conftest import Api
from tests.control.releases.conftest import START, Events

from xrouter.control.db.engine import Database
from xrouter.control.db.tables.health import LeaseRow
from xrouter.control.kit.lease import Lease, LeaseLost
from xrouter.control.releases import builds
from xrouter.control.releases.builds import GONE_S
from xrouter.control.releases.drift import DriftWatch
from xrouter.control.releases.tail import stamp
from xrouter.domain.usage import new_id
from xrouter.telemetry.logs import log

NOW = START.timestamp()


async def alarms(watch: DriftWatch, at: float) -> list[tuple[str, str]]:
    with log.captured() as told:
        await watch.look(NOW + at)
    assert {event["log_level"] for event in told} <= {"error"}
    return [(event["old"], event["new"]) for event in told if event["event"] == "drift"]


async def listed(api: Api) -> list[tuple[Any, ...]]:
    found = (await api.ask("GET", "/drift"))["data"]
    return [(row["version"], row["endpoint"], row["old"], row["new"]) for row in found]


async def test_a_new_build_behind_a_name_is_an_alarm_once(
    api: Api, db: Database, events: Events
) -> None:
    watch = DriftWatch(db)
    await events.add(3, 1, build="fp_1")
    assert await alarms(watch, 10) == []
    assert (await api.ask("GET", "/drift"))["data"] == []
    for second in range(10, 20, 2):
        await events.add(1, second, build="fp_2")
        await events.add(1, second + 1, build="fp_1")
    assert await alarms(watch, 30) == [("fp_1", "fp_2")]
    await events.add(1, 31, build="fp_1")
    await events.add(1, 32, build="fp_3")
    await events.add(1, 33, build="fp_2")
    assert await alarms(watch, 40) == [("fp_2", "fp_3")]
    assert await listed(api) == [
        ("v2", "primary", "fp_2", "fp_3"),
        ("v2", "primary", "fp_1", "fp_2"),
    ]
    page = await api.ask("GET", "/drift?limit=1")
    rest = await api.ask("GET", f"/drift?limit=1&after={page['next']}")
    assert [row["new"] for row in page["data"] + rest["data"]] == ["fp_3", "fp_2"]
    builds = (await api.ask("GET", "/builds?model_id=acme/two"))["data"]
    assert [(row["build"], row["answers"]) for row in builds] == [
        ("fp_1", 9),
        ("fp_2", 6),
        ("fp_3", 1),
    ]
    assert builds[0]["first_seen"] == NOW + 1
    assert builds[0]["last_seen"] == NOW + 31
    assert (await api.ask("GET", "/builds?model_id=acme/one"))["data"] == []


async def test_a_build_that_comes_back_is_an_alarm_again(
    api: Api, db: Database, events: Events
) -> None:
    watch = DriftWatch(db)
    await events.add(1, 0, build="fp_1")
    await events.add(1, 10, build="fp_2")
    assert await alarms(watch, 20) == [("fp_1", "fp_2")]
    await events.add(1, 10 + 2 * GONE_S, build="fp_1")
    assert await alarms(watch, 20 + 2 * GONE_S) == [("fp_2", "fp_1")]
    await events.add(1, 11 + 2 * GONE_S, build="fp_1")
    assert await alarms(watch, 30 + 2 * GONE_S) == []
    assert await listed(api) == [("v2", "primary", "fp_2", "fp_1")]
    builds = (await api.ask("GET", "/builds"))["data"]
    assert [(row["build"], row["answers"]) for row in builds] == [("fp_1", 3), ("fp_2", 1)]
    assert builds[0]["first_seen"] == NOW + 10 + 2 * GONE_S


async def test_a_return_that_several_processes_see_is_told_once(db: Database) -> None:
    one, two = Events(db), Events(db)
    for number, events in enumerate((one, two)):
        await events.add(1, 0 + number, build="fp_1")
        await events.add(1, 10 + number, build="fp_2")
    watch = DriftWatch(db)
    assert await alarms(watch, 20) == [("fp_1", "fp_2")]
    for number, events in enumerate((one, two, one, two)):
        at = (2 + number / 2) * GONE_S
        await events.add(1, at, build="fp_1")
        assert await alarms(watch, at + 10) == ([] if number else [("fp_2", "fp_1")])


async def test_silence_alone_is_no_drift(db: Database, events: Events) -> None:
    """Nobody asked for long: the build that answered last goes on."""
    watch = DriftWatch(db)
    await events.add(1, 0, build="fp_2")
    await events.add(1, 10, build="fp_1")
    await events.add(1, 11, build="fp_2")
    assert await alarms(watch, 20) == [("fp_2", "fp_1")]
    await events.add(1, 12 + 2 * GONE_S, build="fp_2")
    assert await alarms(watch, 20 + 2 * GONE_S) == []


async def test_versions_and_endpoints_have_builds_of_their_own(
    db: Database, events: Events
) -> None:
    watch = DriftWatch(db)
    await events.add(1, 1, build="fp_1")
    await events.add(1, 1, build="fp_2", version="v3")
    await events.add(1, 1, build="fp_3", endpoint="standby-1")
    await events.add(1, 1, build="fp_4", model_served="acme/one")
    assert await alarms(watch, 10) == []


async def test_the_name_the_provider_answers_with_counts_as_build(
    db: Database, events: Events
) -> None:
    watch = DriftWatch(db)
    await events.add(1, 1, upstream_model="two-2026-01")
    await events.add(1, 2, upstream_model="two-2026-02")
    assert await alarms(watch, 10) == [("two-2026-01", "two-2026-02")]


async def test_failures_and_cached_answers_tell_nothing(db: Database, events: Events) -> None:
    watch = DriftWatch(db)
    await events.add(1, 1, build="fp_1")
    await events.add(1, 2, build="fp_2", outcome="error", status=502)
    await events.add(1, 3, build="fp_3", cached=True)
    await events.add(1, 4)
    assert await alarms(watch, 10) == []


async def test_another_process_goes_on_where_this_one_was(
    api: Api, db: Database, events: Events
) -> None:
    await events.add(1, 1, build="fp_1")
    await events.add(1, 2, build="fp_2")
    assert len(await alarms(DriftWatch(db), 10)) == 1
    await events.add(1, 20, build="fp_2")
    await events.add(1, 21, build="fp_3")
    assert await alarms(DriftWatch(db), 30) == [("fp_2", "fp_3")]
    assert len(await listed(api)) == 2


async def test_one_who_has_lost_the_lease_notes_nothing(db: Database, events: Events) -> None:
    await events.add(1, 1, build="fp_1")
    await events.add(1, 2, build="fp_2")
    lost = Lease(db, "releases", "one", 30.0)
    assert await lost.acquire()
    async with db.write() as session:
        await session.execute(update(LeaseRow).values(token=99))
    with pytest.raises(LeaseLost):
        await DriftWatch(db, lost).look(NOW + 10)
    assert await alarms(DriftWatch(db), 10) == [("fp_1", "fp_2")]


async def test_a_build_that_was_seen_earlier_but_told_of_later(
    db: Database, events: Events
) -> None:
    await events.add(1, 5, build="fp_2")
    assert await alarms(DriftWatch(db), 10) == []
    await events.add(1, 3, build="fp_1")
    assert await alarms(DriftWatch(db), 20) == [("fp_2", "fp_1")]


async def test_young_events_wait_for_those_of_other_processes(db: Database, events: Events) -> None:
    watch = DriftWatch(db)
    await events.add(1, 1, build="fp_1")
    await events.add(1, 10, build="fp_3")
    assert await alarms(watch, 10) == []
    await events.add(1, 9, build="fp_2")
    assert await alarms(watch, 20) == [("fp_1", "fp_2"), ("fp_2", "fp_3")]


async def test_a_name_for_each_answer_is_bounded(
    api: Api, db: Database, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "MOST_BUILDS", 5)
    for number in range(9):
        await events.add(1, number + 1, build=f"fp_{number}" + "x" * 300)
    assert len(await alarms(DriftWatch(db), 30)) == 4
    kept = (await api.ask("GET", "/builds"))["data"]
    assert [len(row["build"]) for row in kept] == [200] * 5


async def test_much_is_read_in_batches(db: Database, events: Events) -> None:
    await events.add(1500, 1, build="fp_1")
    await events.add(1, 2, build="fp_2")
    assert await alarms(DriftWatch(db), 10) == [("fp_1", "fp_2")]


def test_ids_of_events_are_ordered_by_when_their_requests_ended() -> None:
    before = time.time()
    made = new_id()
    assert stamp(before) <= made < stamp(time.time() + 0.01)
    assert stamp(0) == "0000000000"
    assert stamp(NOW - 1) < stamp(NOW) < stamp(NOW + 0.001)
