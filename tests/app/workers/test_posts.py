from __future__ import annotations

import asyncio
import stat
import sys
from pathlib import Path

import pytest

from xrouter.app.workers import posts
from xrouter.app.workers.leash import GO, Role
from xrouter.app.workers.posts import Plan, Post
from xrouter.domain.errors import OperatorError
from xrouter.telemetry.logs import log

READY = """#!/bin/sh
read order
echo '{"ready":true,"text":"hello"}'
while read order; do [ "$order" = stop ] && exit 0; done
"""
FAILS = """#!/bin/sh
echo '{"ready":false,"message":"No luck.","hint":"Try again."}'
"""
DEAF = """#!/bin/sh
read order
echo '{"ready":true}'
exec sleep 600
"""
DIES = """#!/bin/sh
exit 3
"""


class Place:
    """Children that are what a script says."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._script = folder / "child"
        self.ended: list[str] = []
        patch.setattr(sys, "executable", str(self._script))
        patch.setattr(posts, "FIRST_WAIT_S", 0.01)
        patch.setattr(posts, "LONGEST_WAIT_S", 0.05)

    def are(self, script: str) -> None:
        fresh = self._script.with_suffix(".new")
        fresh.write_text(script)
        fresh.chmod(stat.S_IRWXU)
        fresh.replace(self._script)

    def post(self, role: Role = "worker") -> Post:
        plan = Plan(".", "control.sock", 1, [], "")
        return Post(role, 1, plan, lambda _role, _number, name: self.ended.append(name))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


async def begun(post: Post) -> posts.Child:
    child = await post.begin()
    child.order(GO)
    await child.ready()
    return child


async def test_it_tells_what_it_has_to_say_and_ends_when_told(place: Place) -> None:
    place.are(READY)
    child = await place.post().begin()
    child.order(GO)
    assert await child.ready() == "hello"
    await child.end(10)
    assert child.code == 0


async def test_what_went_wrong_is_passed_on(place: Place) -> None:
    place.are(FAILS)
    child = await place.post().begin()
    with pytest.raises(OperatorError, match=r"No luck\.") as caught:
        await child.ready()
    assert caught.value.hint == "Try again."
    place.are(DIES)
    child = await place.post().begin()
    with pytest.raises(OperatorError, match="worker-1-1 did not start"):
        await child.ready()


async def test_one_that_does_not_end_is_killed(place: Place) -> None:
    place.are(DEAF)
    child = await begun(place.post())
    with log.captured() as events:
        await child.end(0.05)
    assert child.code == -9
    assert events[0]["event"] == "process_killed"


async def test_a_dead_one_has_a_successor_once_that_is_possible(place: Place) -> None:
    place.are(READY)
    post = place.post()
    first = await begun(post)
    place.are(DIES)
    keeping = asyncio.create_task(post.keep())
    with log.captured() as events:
        await first.kill()
        while sum(each["event"] == "process_not_started" for each in events) < 4:
            await asyncio.sleep(0.01)
        place.are(READY)
        while post.child is first:
            await asyncio.sleep(0.01)
    keeping.cancel()
    assert [each["event"] for each in events].count("process_died") == 1
    assert place.ended == ["worker-1-1"]
    assert post.restarts == 1
    (child,) = post.living()
    assert child is post.child
    await child.end(10)


@pytest.mark.parametrize("role", ["worker", "control"])
async def test_a_successor_comes_before_a_worker_goes_and_after_the_control_process(
    place: Place, role: Role
) -> None:
    place.are(READY)
    post = place.post(role)
    first = await begun(post)
    with log.captured() as events:
        assert await post.replace(10)
    assert post.child is not None
    assert post.child is not first
    assert first.code == 0
    assert [each["event"] for each in events] == ["process_started"]
    await post.child.end(10)


async def test_without_a_successor_a_worker_stays(place: Place) -> None:
    place.are(READY)
    post = place.post()
    first = await begun(post)
    place.are(FAILS)
    with log.captured():
        assert not await post.replace(10)
    assert post.child is first
    assert first.code is None
    await first.end(10)


async def test_a_control_process_that_was_replaced_in_vain_is_tried_again(place: Place) -> None:
    place.are(READY)
    post = place.post("control")
    first = await begun(post)
    keeping = asyncio.create_task(post.keep())
    place.are(FAILS)
    with log.captured():
        assert not await post.replace(10)
        place.are(READY)
        while post.child is first:
            await asyncio.sleep(0.01)
    keeping.cancel()
    assert post.child is not None
    await post.child.end(10)
