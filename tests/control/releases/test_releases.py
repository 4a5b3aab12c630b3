from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.control.conftest import Api
from tests.control.releases.conftest import Clock

from xrouter.control.kit.lease import Lease
from xrouter.control.releases import job as job_module
from xrouter.control.releases.job import EVERY_S, IDLE_S, ReleaseJob
from xrouter.telemetry.logs import log

Json = dict[str, Any]


async def versions(api: Api, model: str) -> dict[str, tuple[str | None, str]]:
    found = await api.ask("GET", f"/models/{model}")
    return {v["label"]: (v["channel"], v["status"]) for v in found["versions"]}


async def labels(api: Api, model: str) -> list[str]:
    return [v["label"] for v in (await api.ask("GET", f"/models/{model}"))["versions"]]


async def plan(api: Api, model: str, at: str, **more: Any) -> Json:
    given = {"model_id": model, "label": "v3", "at": at, **more}
    made: Json = await api.ask("POST", "/releases", json=given, status=201)
    return made


async def status(api: Api, made: Json) -> str:
    found: str = (await api.ask("GET", f"/releases/{made['id']}"))["status"]
    return found


async def test_a_version_becomes_latest_when_its_time_has_come(
    api: Api, model: str, job: ReleaseJob, clock: Clock, changes: list[None]
) -> None:
    made = await plan(api, model, clock.after(hours=1), retire_at=clock.after(days=30))
    assert (made["status"], made["channel"], made["replaced"]) == ("planned", "latest", None)
    before = await versions(api, model)
    await job.turn()
    assert await versions(api, model) == before
    assert await status(api, made) == "planned"

    clock.turn_to(hours=1)
    changes.clear()
    await job.turn()
    assert len(changes) == 1
    assert await versions(api, model) == {
        "v3": ("latest", "active"),
        "v2": ("deprecated", "deprecated"),
        "v1": (None, "deprecated"),
    }
    assert (await labels(api, model))[0] == "v3", "the bare name means it now"
    done = await api.ask("GET", f"/releases/{made['id']}")
    assert (done["status"], done["replaced"], done["diff"]) == ("done", "v2", [])

    await job.turn()
    assert len(changes) == 1, "nothing is done twice"
    clock.turn_to(days=30)
    await job.turn()
    assert (await versions(api, model))["v2"] == (None, "retired")


async def test_a_dry_run_tells_exactly_what_would_change(
    api: Api, model: str, clock: Clock, changes: list[None]
) -> None:
    at, end = clock.after(hours=1), clock.after(days=30)
    given = {"model_id": model, "label": "v3", "at": at, "retire_at": end}
    changes.clear()
    told = await api.ask("POST", "/releases", json={**given, "dry_run": True})
    assert told["id"] is None
    assert changes == []
    assert (await api.ask("GET", "/releases"))["data"] == []
    found = [(step["path"], step["old"], step["new"]) for step in told["diff"]]
    assert ("versions[v3].channel", "rc", "latest") in found
    assert ("versions[v2].channel", "latest", "deprecated") in found
    assert ("versions[v1].channel", "deprecated", None) in found
    assert ("versions[v2].status", "deprecated", "retired") in found
    assert ("versions[v2].channel", "deprecated", None) in found
    assert {step["at"] for step in told["diff"]} == {_zulu(at), _zulu(end)}
    made = await api.ask("POST", "/releases", json=given, status=201)
    assert made["diff"] == told["diff"]


def _zulu(moment: str) -> str:
    return moment.replace("+00:00", "Z")


async def test_a_release_that_was_done_is_rolled_back_as_it_was(
    api: Api, model: str, job: ReleaseJob, clock: Clock
) -> None:
    before = await api.ask("GET", f"/models/{model}")
    made = await plan(api, model, clock.after(), retire_at=clock.after(days=3))
    await job.turn()
    assert (await versions(api, model))["v3"] == ("latest", "active")
    done = await api.ask("POST", f"/releases/{made['id']}/rollback", json={"reason": "slow"})
    assert (done["status"], done["reason"]) == ("rolled_back", "slow")
    after = await api.ask("GET", f"/models/{model}")
    shown = ("label", "channel", "status", "retires_at")
    assert [{k: v[k] for k in shown} for v in after["versions"]] == [
        {k: v[k] for k in shown} for v in before["versions"]
    ]
    await job.turn()
    assert (await versions(api, model))["v2"] == ("latest", "active")
    error = await api.error("POST", f"/releases/{made['id']}/rollback", status=409)
    assert "rolled_back" in error["message"]


async def test_only_the_last_release_of_a_channel_is_rolled_back(
    api: Api, model: str, job: ReleaseJob, clock: Clock
) -> None:
    first = await plan(api, model, clock.after())
    await job.turn()
    await plan(api, model, clock.after(), label="v1")
    await job.turn()
    assert (await versions(api, model))["v1"] == ("latest", "active")
    error = await api.error("POST", f"/releases/{first['id']}/rollback", status=409)
    assert error["code"] == "superseded"


async def test_a_release_is_cancelled_before_it_is_done(
    api: Api, model: str, job: ReleaseJob, clock: Clock
) -> None:
    made = await plan(api, model, clock.after(hours=1))
    error = await api.error("POST", f"/releases/{made['id']}/rollback", status=409)
    assert "planned" in error["message"]
    done = await api.ask("POST", f"/releases/{made['id']}/cancel")
    assert done["status"] == "cancelled"
    clock.turn_to(hours=2)
    await job.turn()
    assert (await versions(api, model))["v3"] == ("rc", "active")
    await api.error("POST", f"/releases/{made['id']}/cancel", status=409)
    await api.error("POST", "/releases/77/cancel", status=404)


async def test_another_channel_moves_without_deprecating_anything(
    api: Api, model: str, job: ReleaseJob, clock: Clock
) -> None:
    await plan(api, model, clock.after(), label="v1", channel="rc")
    await job.turn()
    assert await versions(api, model) == {
        "v2": ("latest", "active"),
        "v3": (None, "active"),
        "v1": ("rc", "active"),
    }
    assert (await labels(api, model))[0] == "v2"


async def test_a_sync_does_not_undo_a_release(api: Api, job: ReleaseJob, clock: Clock) -> None:
    await api.acme()
    await api.ask("POST", "/models/sync", json={})
    before = await versions(api, "acme/two")
    assert before == {"v2": ("latest", "active"), "v1": (None, "active")}
    await plan(api, "acme/two", clock.after(), label="v1", retire_at=clock.after(hours=1))
    await job.turn()
    clock.turn_to(hours=1)
    await job.turn()
    expected = {"v1": ("latest", "active"), "v2": (None, "retired")}
    assert await versions(api, "acme/two") == expected
    await api.ask("POST", "/models/sync", json={})
    assert await versions(api, "acme/two") == expected


async def test_a_release_whose_version_is_gone_fails(
    api: Api, model: str, job: ReleaseJob, clock: Clock
) -> None:
    made = await plan(api, model, clock.after(hours=1))
    only = [{"label": "v2", "upstream": "two@v2", "channel": "latest"}]
    await api.ask("PATCH", f"/models/{model}", json={"versions": only})
    clock.turn_to(hours=1)
    with log.captured() as told:
        await job.turn()
    assert [event["event"] for event in told if event["log_level"] == "error"] == ["release_failed"]
    failed = await api.ask("GET", f"/releases/{made['id']}")
    assert failed["status"] == "failed"
    assert "v3" in failed["reason"]


async def test_a_model_never_loses_its_last_active_version(
    api: Api, job: ReleaseJob, clock: Clock
) -> None:
    await api.acme()
    only = [
        {"label": "v2", "upstream": "x", "channel": "latest", "retires_at": clock.after(hours=1)},
        {"label": "v1", "upstream": "y", "status": "deprecated", "retires_at": clock.after()},
    ]
    await api.acme_model("two", versions=only)
    clock.turn_to(hours=2)
    with log.captured() as told:
        await job.turn()
        await job.turn()
    kept = [event for event in told if event["event"] == "version_not_retired"]
    assert [(event["model"], event["version"]) for event in kept] == [("acme/two", "v2")]
    assert await versions(api, "acme/two") == {
        "v2": ("latest", "active"),
        "v1": (None, "retired"),
    }


async def test_it_rests_until_something_is_due(
    api: Api, model: str, job: ReleaseJob, clock: Clock
) -> None:
    async def rest() -> float:
        await job.turn()
        return job._pause_s

    assert await rest() == IDLE_S
    canary = {"share": 0.1, "min_requests": 1}
    await plan(api, model, clock.after(hours=1), canary=canary, canary_from=clock.after(seconds=8))
    assert await rest() == IDLE_S
    clock.turn_to(seconds=5)
    assert await rest() == 3.0
    clock.turn_to(seconds=7.8)
    assert await rest() == EVERY_S
    for seconds in (8, 9, 20):
        clock.turn_to(seconds=seconds)
        assert await rest() == EVERY_S, "a canary is watched"


async def test_what_is_written_wakes_it(
    api: Api, model: str, job: ReleaseJob, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "IDLE_S", 3600.0)
    task = asyncio.create_task(job.run())
    try:
        async with asyncio.timeout(30):
            while job._pause_s != 3600.0:
                await asyncio.sleep(0.01)
            made = await plan(api, model, clock.after())
            job.poke()
            while await status(api, made) != "done":
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_does_not_hold_the_lease_does_nothing(
    api: Api, model: str, services: Any, clock: Clock
) -> None:
    made = await plan(api, model, clock.after())

    other = Lease(services.db, "releases", "other", 60)
    mine = Lease(services.db, "releases", "mine", 60)
    assert await other.acquire()
    job = ReleaseJob(services.db, services.changed, lease=mine, now=clock)
    await job.turn()
    assert await status(api, made) == "planned"
    await other.release()
    await job.turn()
    assert await status(api, made) == "done"


async def test_who_lost_the_lease_in_between_writes_nothing(
    api: Api, model: str, services: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await plan(api, model, clock.after())
    mine = Lease(services.db, "releases", "mine", 60)

    async def as_before() -> bool:
        return True

    assert await mine.acquire()
    monkeypatch.setattr(mine, "hold", as_before)
    mine.token = 0
    await ReleaseJob(services.db, services.changed, lease=mine, now=clock).turn()
    assert await status(api, made) == "planned"


@pytest.mark.parametrize(
    "given, param",
    [
        ({"label": "v9"}, "label"),
        ({"retire_at": "2026-03-01T11:00:00Z"}, None),
        ({"canary_from": "2026-03-01T11:00:00Z"}, None),
        ({"canary": {"share": 0.1}, "channel": "rc"}, None),
        ({"canary": {"share": 0.1}, "canary_from": "2026-03-01T14:00:00Z"}, None),
        ({"canary": {"share": 0}}, "canary.share"),
        ({"canary": {"share": 0.5, "max_slowdown": 0.5}}, "canary.max_slowdown"),
        ({"at": "2026-03-01T12:00:00"}, "at"),
        ({"wen": 1}, "wen"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    api: Api, model: str, clock: Clock, given: Json, param: str | None
) -> None:
    whole = {"model_id": model, "label": "v3", "at": clock.after(hours=1), **given}
    error = await api.error("POST", "/releases", json=whole, status=400)
    assert error["param"] == param


async def test_a_release_of_nothing_is_refused(api: Api, model: str, clock: Clock) -> None:
    given = {"model_id": "acme/nine", "label": "v3", "at": clock.after()}
    error = await api.error("POST", "/releases", json=given, status=404)
    assert error["code"] == "model_not_found"
    given = {"model_id": model, "label": "v2", "at": clock.after()}
    await api.error("POST", "/releases", json=given, status=409)
    made = await plan(api, model, clock.after(hours=1))
    error = await api.error("POST", "/releases", json={**given, "label": "v1"}, status=409)
    assert error["code"] == "release_pending"
    assert f"/releases/{made['id']}/cancel" in error["hint"]
    await api.error("GET", "/releases/99", status=404)


async def test_releases_are_listed(api: Api, model: str, clock: Clock) -> None:
    ids = []
    for _ in range(3):
        made = await plan(api, model, clock.after(hours=1))
        await api.ask("POST", f"/releases/{made['id']}/cancel")
        ids.append(made["id"])
    page = await api.ask("GET", "/releases?limit=2")
    assert [row["id"] for row in page["data"]] == ids[:0:-1]
    rest = await api.ask("GET", f"/releases?after={page['next']}&status=cancelled")
    assert [row["id"] for row in rest["data"]] == ids[:1]
    assert (await api.ask("GET", "/releases?model_id=acme/nine"))["data"] == []
