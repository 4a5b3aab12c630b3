"""Responses in the background, through a real door."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.edge.harness import (
    SERVED,
    House,
    KeptResponses,
    ScriptedFlow,
    open_house,
    text_answer,
)

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamRateLimited,
    XRouterError,
)
from xrouter.domain.history import StoredJob
from xrouter.domain.identity import Principal
from xrouter.domain.ports import Deferred, Reply
from xrouter.edge import background
from xrouter.edge.background import Background
from xrouter.edge.dialects.responses.jobs import Job, end_unwanted
from xrouter.edge.voice import encode

ASKED = {"model": "acme/one", "input": "Hi", "background": True}
LEFT = Deferred("op-1", "acme/one", "1", "acme", "primary", Principal(key_id="k", name="n"), 1.0)


async def begun(house: House, **more: Any) -> dict[str, Any]:
    answer = await house.call("POST", "/v1/responses", ASKED | more)
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json
    assert told["status"] == "queued"
    return told


async def ended(house: House, response_id: str) -> dict[str, Any]:
    """Wait for the end, as clients do."""
    async with asyncio.timeout(20):
        while True:
            told: dict[str, Any] = (await house.call("GET", f"/v1/responses/{response_id}")).json
            if told["status"] not in ("queued", "in_progress"):
                return told
            await asyncio.sleep(0.01)


async def test_the_answer_is_there_later(house: House) -> None:
    told = await ended(house, (await begun(house))["id"])
    assert told["status"] == "completed"
    assert told["output"][0]["content"][0]["text"] == "Hello"
    assert told["usage"]["total_tokens"] == 5
    assert house.flow.requests[0].stream is None


@pytest.mark.parametrize(
    "error,code",
    [
        (UpstreamFailed("It broke."), "server_error"),
        (UpstreamOverloaded("It broke."), "server_is_overloaded"),
        (UpstreamRateLimited("It broke."), "rate_limit_exceeded"),
        (ContextLengthExceeded("It broke."), "context_length_exceeded"),
        (InvalidRequest("It broke.", param="messages"), "invalid_prompt"),
    ],
)
async def test_a_failure_is_there_later(house: House, error: XRouterError, code: str) -> None:
    """With a code that tells clients whether to come again."""

    async def fails(_request: ChatRequest, reply: Reply) -> None:
        await reply.refuse(error)

    house.flow.script = fails
    told = await ended(house, (await begun(house))["id"])
    assert (told["status"], told["error"]["message"]) == ("failed", "It broke.")
    assert told["error"]["code"] == code


async def test_what_runs_can_be_cancelled(house: House) -> None:
    async def hangs(_request: ChatRequest, _reply: Reply) -> None:
        await asyncio.Event().wait()

    house.flow.script = hangs
    name = (await begun(house))["id"]
    await house.flow.entered.wait()
    cancelled = await house.call("POST", f"/v1/responses/{name}/cancel")
    assert cancelled.json["status"] == "cancelled"
    await house.flow.cancelled.wait()
    assert (await ended(house, name))["status"] == "cancelled"
    again = await house.call("POST", f"/v1/responses/{name}/cancel")
    assert again.json["status"] == "cancelled"


async def test_only_the_background_can_be_cancelled(house: House) -> None:
    answer = await house.call("POST", "/v1/responses", {"model": "acme/one", "input": "Hi"})
    refused = await house.call("POST", f"/v1/responses/{answer.json['id']}/cancel")
    assert (refused.status, refused.error["param"]) == (400, "response_id")
    assert (await house.call("POST", "/v1/responses/resp_x/cancel")).status == 404
    assert (await house.call("POST", "/v1/responses/resp_x")).status == 404


@pytest.mark.parametrize("more,param", [({"stream": True}, "stream"), ({"store": False}, "store")])
async def test_what_cannot_be_in_the_background(
    house: House, more: dict[str, Any], param: str
) -> None:
    answer = await house.call("POST", "/v1/responses", ASKED | more)
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_an_unknown_model_is_told_at_once(house: House) -> None:
    answer = await house.call("POST", "/v1/responses", ASKED | {"model": "acme/none"})
    assert answer.status == 404


async def test_flexible_work_is_left_with_the_provider(house: House) -> None:
    house.flow.left = LEFT
    told = await begun(house, service_tier="flex")
    house.flow.may_collect.set()
    done = await ended(house, told["id"])
    assert done["output"][0]["content"][0]["text"] == "Later"
    assert house.flow.collected == [LEFT]
    assert house.flow.requests == []


def abandoned(deferred: Deferred | None) -> StoredJob:
    job = Job("resp_1", "default", encode(ASKED), [], deferred)
    return StoredJob(job.id, msgspec.msgpack.encode(job))


@pytest.mark.parametrize("deferred,status", [(LEFT, "completed"), (None, "failed")])
async def test_work_that_a_dead_process_left(deferred: Deferred | None, status: str) -> None:
    store = KeptResponses()
    store.left = [abandoned(deferred)]
    flow = ScriptedFlow()
    flow.may_collect.set()
    async with open_house(flow=flow, responses=store) as house:
        assert (await ended(house, "resp_1"))["status"] == status
        await house.until(lambda: "resp_1" not in store.jobs)


async def test_the_door_ends_what_runs_and_it_stays_begun() -> None:
    store = KeptResponses()
    flow = ScriptedFlow()
    flow.left = LEFT
    async with open_house(flow=flow, responses=store) as house:
        name = (await begun(house, service_tier="flex"))["id"]
        await house.until(lambda: bool(flow.collected))
    assert list(store.jobs) == [name]
    assert msgspec.json.decode(store.kept[name].body)["status"] == "in_progress"


async def test_work_that_cannot_be_read_does_not_stop_the_rest() -> None:
    store = KeptResponses()
    broken = StoredJob("resp_0", b"no job")
    strange = StoredJob("resp_2", msgspec.msgpack.encode(Job("resp_2", "default", b"{}", [])))
    store.left = [broken, strange, abandoned(LEFT)]
    flow = ScriptedFlow()
    flow.may_collect.set()
    async with open_house(flow=flow, responses=store) as house:
        assert (await ended(house, "resp_1"))["status"] == "completed"


async def test_what_was_finished_before_the_kill_stays_so() -> None:
    store = KeptResponses()
    async with open_house(responses=store) as house:
        done = await ended(house, (await begun(house))["id"])
    job = Job(done["id"], "default", encode(ASKED), [])
    store.left = [StoredJob(job.id, msgspec.msgpack.encode(job))]
    async with open_house(responses=store) as house:
        await house.until(lambda: not store.left)
        assert (await ended(house, job.id))["status"] == "completed"


async def test_what_is_deleted_does_not_come_back(house: House) -> None:
    go_on = asyncio.Event()

    async def waits(_request: ChatRequest, reply: Reply) -> None:
        await go_on.wait()
        await reply.refuse(UpstreamFailed("x"))

    house.flow.script = waits
    name = (await begun(house))["id"]
    await house.flow.entered.wait()
    assert (await house.call("DELETE", f"/v1/responses/{name}")).status == 200
    go_on.set()
    await house.flow.cancelled.wait()
    assert (await house.call("GET", f"/v1/responses/{name}")).status == 404


async def hangs(_request: ChatRequest, _reply: Reply) -> None:
    await asyncio.Event().wait()


async def test_what_is_given_up_is_told_at_once_and_what_is_known_later_then(house: House) -> None:
    async def answer(_request: ChatRequest, reply: Reply) -> None:
        await reply.answer(text_answer(), msgspec.structs.replace(SERVED, dropped=("seed",)))

    house.flow.script = answer
    posted = await house.call("POST", "/v1/responses", ASKED | {"unheard_of": 1, "seed": 1})
    assert posted.headers["x-xrouter-dropped"] == "unheard_of"
    name = posted.json["id"]
    await ended(house, name)
    got = await house.call("GET", f"/v1/responses/{name}")
    assert got.headers["x-xrouter-dropped"] == "unheard_of, seed"


async def test_what_a_provider_gives_up_that_answers_later(house: House) -> None:
    house.flow.left = msgspec.structs.replace(LEFT, dropped=("seed",))
    body = ASKED | {"service_tier": "flex", "unheard_of": 1}
    posted = await house.call("POST", "/v1/responses", body)
    got = await house.call("GET", f"/v1/responses/{posted.json['id']}")
    cancelled = await house.call("POST", f"/v1/responses/{posted.json['id']}/cancel")
    for answer in (posted, got, cancelled):
        assert answer.headers["x-xrouter-dropped"] == "unheard_of, seed"


async def test_a_refusal_to_answer_later_has_the_callers_names(house: House) -> None:
    async def refuses(*_args: object) -> None:
        raise InvalidRequest("Too many.", param="max_tokens")

    house.flow.defer = refuses  # type: ignore[method-assign, assignment]
    answer = await house.call("POST", "/v1/responses", ASKED | {"service_tier": "flex"})
    assert (answer.status, answer.error["param"]) == (400, "max_output_tokens")
    assert house.door._means.background._places.keys().isdisjoint(["resp_1"])
    assert all(place.task for place in house.door._means.background._places.values())


@pytest.mark.parametrize("raises", [True, False])
async def test_a_defect_does_not_leave_it_unfinished(house: House, raises: bool) -> None:
    async def defective(_request: ChatRequest, _reply: Reply) -> None:
        if raises:
            raise RuntimeError("secret words")

    house.flow.script = defective
    told = await ended(house, (await begun(house))["id"])
    assert told["status"] == "failed"
    assert "secret" not in told["error"]["message"]
    store = house.door._means.responses
    assert isinstance(store, KeptResponses)
    await house.until(lambda: not store.jobs)


async def test_an_answer_that_comes_before_the_cancellation_stays(house: House) -> None:
    async def ends_just_then(_request: ChatRequest, reply: Reply) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await reply.answer(text_answer(), SERVED)

    house.flow.script = ends_just_then
    name = (await begun(house))["id"]
    await house.flow.entered.wait()
    answer = await house.call("POST", f"/v1/responses/{name}/cancel")
    assert answer.json["status"] == "completed"
    assert (await ended(house, name))["status"] == "completed"
    assert house.flow.reasons == ["cancelled"]


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
async def test_what_another_process_has_ended_is_not_brought_back(how: str) -> None:
    store, go_on = KeptResponses(), asyncio.Event()

    async def waits(_request: ChatRequest, reply: Reply) -> None:
        await go_on.wait()
        await reply.answer(text_answer(), SERVED)

    async with open_house(responses=store) as house:
        house.flow.script = waits
        name = (await begun(house))["id"]
        await house.flow.entered.wait()
        kept = store.kept[name]
        if how == "cancelled":
            body = msgspec.json.decode(kept.body) | {"status": "cancelled"}
            store.keep(msgspec.structs.replace(kept, body=encode(body)))
        else:
            await store.remove(name, "default")
        go_on.set()
        await house.until(lambda: not store.jobs)
        left = store.kept.get(name)
        status = None if left is None else msgspec.json.decode(left.body)["status"]
        assert status == (how if how == "cancelled" else None)


@pytest.mark.parametrize("method,end", [("POST", "/cancel"), ("DELETE", "")])
async def test_what_runs_elsewhere_can_be_ended(method: str, end: str) -> None:
    store = KeptResponses()
    async with open_house(responses=store) as house:
        house.flow.script = hangs
        name = (await begun(house))["id"]
        await house.flow.entered.wait()
        means = house.door._means
        await end_unwanted(means)
        assert means.background.running() == [(name, "default")]
        async with open_house(responses=store) as other:
            answer = await other.call(method, f"/v1/responses/{name}{end}")
            assert answer.status == 200
            assert not store.jobs
        await end_unwanted(means)
        assert house.flow.reasons == ["cancelled"]
        assert means.background.running() == []
        left = store.kept.get(name)
        assert (left is None) == (method == "DELETE")
        assert left is None or msgspec.json.decode(left.body)["status"] == "cancelled"


async def test_a_project_has_a_share_of_the_places(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MAX_OF_ONE", 1)
    house.flow.script = hangs
    name = (await begun(house))["id"]
    refused = await house.call("POST", "/v1/responses", ASKED)
    assert (refused.status, refused.headers["retry-after"]) == (429, "5")
    await house.call("POST", f"/v1/responses/{name}/cancel")
    await begun(house)
    monkeypatch.setattr(background, "MAX_TASKS", 1)
    assert (await house.call("POST", "/v1/responses", ASKED)).status == 503


async def test_a_place_that_is_given_up_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MAX_TASKS", 1)
    places = Background()
    places.reserve("a", "p")
    places.release("a")
    places.reserve("b", "p")
