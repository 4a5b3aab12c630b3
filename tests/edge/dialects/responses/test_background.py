"""Responses in the background, through a real door."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.edge.harness import House, KeptResponses, ScriptedFlow, open_house

from xrouter.domain.chat import ChatRequest
from xrouter.domain.errors import UpstreamFailed
from xrouter.domain.history import StoredJob
from xrouter.domain.identity import Principal
from xrouter.domain.ports import Deferred, Reply
from xrouter.edge.dialects.responses.jobs import Job
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


async def test_a_failure_is_there_later(house: House) -> None:
    async def fails(_request: ChatRequest, reply: Reply) -> None:
        await reply.refuse(UpstreamFailed("It broke."))

    house.flow.script = fails
    told = await ended(house, (await begun(house))["id"])
    assert (told["status"], told["error"]["message"]) == ("failed", "It broke.")


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
