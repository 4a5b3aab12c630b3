"""The server leaves while answers are made in the background: they have the grace of requests."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest
from tests.edge.harness import (
    PATIENCE,
    SERVED,
    House,
    KeptResponses,
    chat_body,
    open_house,
    request,
    text_answer,
)

from xrouter.domain.chat import ChatRequest
from xrouter.domain.identity import Principal
from xrouter.domain.ports import Deferred, Reply
from xrouter.edge.limits import DoorLimits

ASKED = {"model": "acme/one", "input": "Hi", "background": True}
LEFT = Deferred("op-1", "acme/one", "1", "acme", "primary", Principal(key_id="k", name="n"), 1.0)
LONG = 60.0


class Work:
    """A house whose answers wait until they may come."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.go_on = asyncio.Event()
        house.flow.script = self._script

    async def _script(self, _request: ChatRequest, reply: Reply) -> None:
        await self.go_on.wait()
        await reply.answer(text_answer(), SERVED)

    def begun(self) -> int:
        return len(self.house.flow.requests) + len(self.house.flow.collected)

    async def begin(self, **more: Any) -> str:
        """Begin one, and wait until it is under way."""
        before = self.begun()
        answer = await self.house.call("POST", "/v1/responses", ASKED | more)
        assert answer.status == 200, answer.body
        await self.house.until(lambda: self.begun() > before)
        return str(answer.json["id"])


async def gone(house: House) -> None:
    assert house.running is not None
    async with asyncio.timeout(PATIENCE):
        await asyncio.shield(house.running)


def shown(store: KeptResponses, name: str) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.json.decode(store.kept[name].body)
    return told


async def test_what_runs_may_end() -> None:
    store = KeptResponses()
    async with open_house(responses=store, grace=LONG) as house:
        work = Work(house)
        name = await work.begin()
        house.server.stop()
        await house.until(lambda: not house.server.accepts)
        assert house.running is not None
        assert not house.running.done()
        work.go_on.set()
        await gone(house)
    assert shown(store, name)["status"] == "completed"
    assert house.flow.reasons == []
    assert not store.jobs


async def test_what_does_not_end_within_the_grace_has_failed() -> None:
    store = KeptResponses()
    async with open_house(responses=store, grace=0.2) as house:
        name = await Work(house).begin()
        began = time.monotonic()
        house.server.stop()
        await gone(house)
        assert time.monotonic() - began >= 0.2
    told = shown(store, name)
    assert (told["status"], told["error"]["code"]) == ("failed", "server_is_overloaded")
    assert "stopped" in told["error"]["message"]
    assert house.flow.reasons == ["server_shutdown"]
    assert not store.jobs


async def test_a_second_signal_ends_this_grace_too() -> None:
    store = KeptResponses()
    async with open_house(responses=store, grace=LONG) as house:
        name = await Work(house).begin()
        house.server.stop()
        house.server.stop()
        await gone(house)
    assert shown(store, name)["status"] == "failed"


async def test_without_any_it_leaves_at_once() -> None:
    """The grace is so long that waiting for it would be noticed."""
    async with open_house(grace=LONG) as house:
        work = Work(house)
        work.go_on.set()
        await work.begin()
        await house.until(lambda: not house.door.busy)
        house.server.stop()
        await gone(house)


async def test_what_a_provider_does_later_is_not_waited_for() -> None:
    """It survives: the next process goes on with it."""
    store = KeptResponses()
    async with open_house(responses=store, grace=LONG) as house:
        house.flow.left = LEFT
        name = await Work(house).begin(service_tier="flex")
        house.server.stop()
        await gone(house)
    assert shown(store, name)["status"] == "in_progress"
    assert list(store.jobs) == [name]


@pytest.mark.parametrize("more", [{}, {"service_tier": "flex"}])
async def test_nothing_new_is_begun(more: dict[str, str]) -> None:
    """A request whose body is still coming while the server leaves."""
    store = KeptResponses()
    async with open_house(responses=store, grace=LONG) as house:
        house.flow.left = LEFT if more else None
        whole = request("POST", "/v1/responses", ASKED | more)
        wire = await house.connect()
        await wire.send(whole[:-5])
        await house.until(lambda: house.door.running == 1)
        house.server.stop()
        await house.until(lambda: not house.server.accepts)
        await wire.send(whole[-5:])
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (503, "server_shutdown")
        assert "retry-after" in answer.headers
        wire.close()
        await gone(house)
    assert not store.kept
    assert not store.jobs
    assert house.flow.requests == []


async def test_work_in_the_background_counts_as_running_requests() -> None:
    async with open_house(limits=DoorLimits(max_running=2)) as house:
        work, shed = Work(house), house.door.shed
        for _ in range(2):
            await work.begin()
        await house.until(lambda: house.door.running == 0)
        assert shed.running == 2
        assert shed.held == 2 * len(msgspec.json.encode(ASKED))
        refused = await house.call("POST", "/v1/chat/completions", chat_body())
        assert (refused.status, refused.error["code"]) == (503, "overloaded")
        work.go_on.set()
        await house.until(lambda: shed.running == 0)
        assert shed.held == 0
        assert (await house.call("POST", "/v1/chat/completions", chat_body())).status == 200


async def test_what_waits_for_a_provider_takes_up_no_place() -> None:
    async with open_house(limits=DoorLimits(max_running=1)) as house:
        house.flow.left = LEFT
        work = Work(house)
        work.go_on.set()
        for _ in range(3):
            await work.begin(service_tier="flex")
        await house.until(lambda: house.door.shed.running == 0)
        assert (await house.call("POST", "/v1/chat/completions", chat_body())).status == 200
