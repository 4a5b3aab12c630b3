from __future__ import annotations

from typing import Any

import pytest
from tests.control.conftest import Api
from tests.control.releases.conftest import Clock, Events

from xrouter.control.releases.job import ReleaseJob
from xrouter.telemetry.logs import log

Json = dict[str, Any]
BOUNDS = {"share": 0.1, "max_errors": 0.1, "min_requests": 20}
V3 = {"version": "v3"}
FAILED = {"outcome": "error", "status": 502, "error_code": "upstream_error"}


def tried(version: str, code: str | None = None, ms: float = 50.0) -> Json:
    said = {"provider": "acme", "endpoint": "primary", "model": "acme/two", "version": version}
    return said | {"ms": ms} | ({} if code is None else {"code": code})


@pytest.fixture
async def release(api: Api, model: str, job: ReleaseJob, clock: Clock) -> Json:
    """A release whose canary has begun, for an hour."""
    return await begun(api, model, job, clock)


async def begun(api: Api, model: str, job: ReleaseJob, clock: Clock, **canary: Any) -> Json:
    given = {
        "model_id": model,
        "label": "v3",
        "at": clock.after(hours=1),
        "canary": BOUNDS | canary,
        "canary_from": clock.after(),
    }
    made: Json = await api.ask("POST", "/releases", json=given, status=201)
    await job.turn()
    return await shown(api, made)


async def shown(api: Api, made: Json) -> Json:
    found: Json = await api.ask("GET", f"/releases/{made['id']}")
    return found


async def look(api: Api, job: ReleaseJob, clock: Clock, made: Json) -> tuple[str, str | None]:
    clock.turn_to(minutes=30)
    await job.turn()
    found = await shown(api, made)
    return found["status"], found["reason"]


async def test_a_canary_that_does_well_is_released(
    api: Api, release: Json, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    assert release["status"] == "canary"
    assert release["canary"]["label"] == "v3"
    await events.add(100, 10, **V3)
    await events.add(10, 11, **V3, **FAILED)
    assert await look(api, job, clock, release) == ("canary", None)
    clock.turn_to(hours=1)
    await job.turn()
    assert (await shown(api, release))["status"] == "done"


async def test_a_canary_that_fails_too_often_is_taken_back(
    api: Api, release: Json, model: str, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    await events.add(30, 10, **V3)
    await events.add(4, 11, **V3, **FAILED)
    with log.captured() as told:
        status, reason = await look(api, job, clock, release)
    assert status == "rolled_back"
    assert reason == "4 of 34 attempts failed, more than 10.0%"
    assert [e["version"] for e in told if e["event"] == "canary_rolled_back"] == ["v3"]
    clock.turn_to(hours=2)
    await job.turn()
    found = await api.ask("GET", f"/models/{model}")
    channels = {v["label"]: v["channel"] for v in found["versions"]}
    assert channels == {"v2": "latest", "v3": "rc", "v1": "deprecated"}


async def test_attempts_that_another_version_made_good_count(
    api: Api, release: Json, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    await events.add(16, 10, **V3)
    saved = [tried("v3", "upstream_timeout"), tried("v2")]
    await events.add(4, 11, version="v2", attempts=2, tried=saved)
    status, reason = await look(api, job, clock, release)
    assert (status, reason) == ("rolled_back", "4 of 20 attempts failed, more than 10.0%")


async def test_attempts_that_another_model_made_good_count(
    api: Api, release: Json, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    other = tried("v9") | {"model": "acme/nine"}
    saved = [tried("v3", "upstream_timeout"), other]
    given = {"model_served": "acme/nine", "version": "v9", "tried": saved}
    await events.add(20, 11, attempts=2, **given)
    assert (await look(api, job, clock, release))[0] == "rolled_back"


async def test_what_callers_did_wrong_is_not_the_canarys_failure(
    api: Api, release: Json, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    own = {"outcome": "error", "status": 400, "error_code": "invalid_value"}
    await events.add(20, 10, **V3, **own)
    await events.add(20, 11, **V3, outcome="cancelled", status=499)
    long = [tried("v3", "context_length_exceeded"), tried("v2")]
    await events.add(20, 12, version="v2", tried=long)
    assert await look(api, job, clock, release) == ("canary", None)


async def test_what_was_before_or_elsewhere_does_not_count(
    api: Api, release: Json, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    await events.add(50, -10, **V3, **FAILED)
    await events.add(50, 10, **FAILED)
    await events.add(50, 11, **V3, **FAILED, model_served="acme/nine")
    await events.add(50, 12, **V3, **FAILED, cached=True)
    await events.add(50, 10, **V3)
    assert await look(api, job, clock, release) == ("canary", None)


async def test_bounds_count_after_enough_requests(
    api: Api, release: Json, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    await events.add(9, 10, **V3, **FAILED)
    await events.add(10, 10, **V3)
    assert (await look(api, job, clock, release))[0] == "canary"
    await events.add(1, 11, **V3)
    clock.turn_to(minutes=31)
    await job.turn()
    assert (await shown(api, release))["status"] == "canary", "older than what was read"
    await events.add(1, 1890, **V3)
    clock.turn_to(minutes=32)
    await job.turn()
    assert (await shown(api, release))["status"] == "rolled_back"


async def test_a_canary_that_mostly_failed_is_not_released_for_want_of_requests(
    api: Api, release: Json, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    await events.add(3, 10, **V3, **FAILED)
    clock.turn_to(hours=1)
    await job.turn()
    found = await shown(api, release)
    assert (found["status"], found["reason"]) == (
        "rolled_back",
        "3 of its only 3 attempts failed",
    )


async def test_a_slow_canary_is_taken_back(
    api: Api, model: str, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    release = await begun(api, model, job, clock, max_slowdown=1.5)
    await events.add(20, 10, first_token_ms=105)
    await events.add(20, 10, **V3, first_token_ms=154)
    assert (await look(api, job, clock, release))[0] == "canary"
    await events.add(40, 1900, **V3, first_token_ms=205)
    clock.turn_to(minutes=40)
    await job.turn()
    found = await shown(api, release)
    assert found["status"] == "rolled_back"
    assert "takes 200 ms, that of v2 100 ms" in found["reason"]


async def test_whole_answers_have_no_first_token(
    api: Api, model: str, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    release = await begun(api, model, job, clock, max_slowdown=1.5)
    await events.add(20, 10)
    await events.add(20, 10, **V3, first_token_ms=None, streamed=False, total_ms=9000)
    assert (await look(api, job, clock, release))[0] == "canary"


async def test_a_canary_whose_answers_are_refused_is_taken_back(
    api: Api, model: str, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    release = await begun(api, model, job, clock, max_refusals=0.2)
    await events.add(16, 10, **V3)
    await events.add(2, 10, **V3, finish_reason="content_filter")
    await events.add(
        2, 10, **V3, outcome="error", status=400, error_code="content_policy_violation"
    )
    assert (await look(api, job, clock, release))[0] == "canary"
    await events.add(5, 1900, **V3, finish_reason="content_filter")
    clock.turn_to(minutes=40)
    await job.turn()
    found = await shown(api, release)
    assert found["reason"] == "9 of 25 attempts were refused, more than 20.0%"


async def test_another_process_goes_on_watching(
    api: Api, release: Json, services: Any, job: ReleaseJob, clock: Clock, events: Events
) -> None:
    await events.add(20, 10, **V3)
    assert (await look(api, job, clock, release))[0] == "canary"
    await events.add(5, 1900, **V3, **FAILED)
    clock.turn_to(minutes=40)
    await ReleaseJob(services.db, services.changed, now=clock).turn()
    found = await shown(api, release)
    assert found["reason"] == "5 of 25 attempts failed, more than 10.0%"


async def test_a_canary_is_rolled_back_and_cancelled_by_hand(
    api: Api, model: str, job: ReleaseJob, clock: Clock
) -> None:
    release = await begun(api, model, job, clock)
    done = await api.ask("POST", f"/releases/{release['id']}/rollback", json={})
    assert done["status"] == "rolled_back"
    release = await begun(api, model, job, clock)
    done = await api.ask("POST", f"/releases/{release['id']}/cancel")
    assert done["status"] == "cancelled"
    clock.turn_to(hours=3)
    await job.turn()
    found = await api.ask("GET", f"/models/{model}")
    assert found["versions"][0]["channel"] == "latest"
    assert found["versions"][0]["label"] == "v2"


async def test_a_canary_that_nobody_began_in_time_still_takes_place(
    api: Api, model: str, job: ReleaseJob, clock: Clock
) -> None:
    given = {
        "model_id": model,
        "label": "v3",
        "at": clock.after(hours=1),
        "canary": BOUNDS,
        "canary_from": clock.after(minutes=30),
    }
    made = await api.ask("POST", "/releases", json=given, status=201)
    clock.turn_to(hours=5)
    await job.turn()
    found = await shown(api, made)
    assert found["status"] == "canary"
    assert found["at"] == clock.after(hours=5, minutes=30).replace("+00:00", "Z")
    await job.turn()
    assert (await shown(api, made))["status"] == "canary"
    clock.turn_to(hours=5, minutes=30)
    await job.turn()
    assert (await shown(api, made))["status"] == "done"


async def test_a_canary_begins_at_once_unless_told(api: Api, model: str, clock: Clock) -> None:
    given = {"model_id": model, "label": "v3", "at": clock.after(hours=1), "canary": BOUNDS}
    made = await api.ask("POST", "/releases", json=given, status=201)
    assert made["canary_from"] == clock.after().replace("+00:00", "Z")
    assert made["diff"][0]["path"] == "canary"
    assert made["diff"][0]["new"]["share"] == 0.1
