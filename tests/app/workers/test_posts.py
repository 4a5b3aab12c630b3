from __future__ import annotations

import asyncio
import stat
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from xrouter.app.workers import posts
from xrouter.app.workers.leash import GO, Role
from xrouter.app.workers.posts import Plan, Post
from xrouter.domain.errors import OperatorError
from xrouter.settings import Settings
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
BEATS = """#!/bin/sh
echo
read order
echo
echo '{"ready":true,"text":"hello"}'
while true; do echo; sleep 0.01; done
"""
WRITES = """#!/bin/sh
trap 'echo here >"$0.where"' USR2
read order
echo '{"ready":true}'
while true; do sleep 0.01; done
"""


class Place:
    """Children that are what a script says."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._script = folder / "child"
        self.ended: list[str] = []
        patch.setattr(sys, "executable", str(self._script))
        patch.setattr(posts, "FIRST_WAIT_S", 0.01)
        patch.setattr(posts, "LONGEST_WAIT_S", 0.05)
        patch.setattr(posts, "LOOK_S", 0.01)
        patch.setattr(posts, "SPEAK_S", 0.5)

    def are(self, script: str) -> None:
        fresh = self._script.with_suffix(".new")
        fresh.write_text(script)
        fresh.chmod(stat.S_IRWXU)
        fresh.replace(self._script)

    def where(self) -> str:
        return self._script.with_suffix(".where").read_text()

    def post(self, role: Role = "worker", hang_s: float = 0.0) -> Post:
        plan = Plan(".", "control.sock", 1, [], "", hang_s)
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


# --- one that hangs


@pytest.mark.parametrize("seconds", [0.0, 3.0, 600.0])
def test_how_long_one_may_hang(seconds: float) -> None:
    assert Settings(hang_timeout=seconds).hang_timeout == seconds


@pytest.mark.parametrize("seconds", [-1.0, 0.1, 2.9])
def test_who_is_busy_for_a_moment_does_not_hang(seconds: float) -> None:
    with pytest.raises(ValidationError):
        Settings(hang_timeout=seconds)


async def hung(post: Post, times: int) -> list[dict[str, object]]:
    """What is logged of the first so many that hang."""
    with log.captured() as events:
        keeping = asyncio.create_task(post.keep())
        async with asyncio.timeout(30):
            while [each["event"] for each in events].count("process_started") < times:
                await asyncio.sleep(0.01)
        keeping.cancel()
    assert post.child is not None
    await post.child.kill()
    return [each for each in events if each["event"] == "process_hangs"]


@pytest.mark.parametrize("role", ["worker", "control"])
async def test_one_that_hangs_has_a_successor(place: Place, role: Role) -> None:
    place.are(DEAF)
    post = place.post(role, hang_s=0.05)
    first = await begun(post)
    assert len(await hung(post, 1)) == 1
    assert first.code is not None
    assert (post.hangs, post.restarts) == (1, 1)
    assert place.ended == [f"{role}-1-1"]


async def test_it_says_where_it_hangs_before_it_is_killed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts, "SPEAK_S", 2.0)
    place.are(WRITES)
    post = place.post(hang_s=0.1)
    first = await begun(post)
    await hung(post, 1)
    assert place.where() == "here\n"
    assert first.code == -9


async def test_those_that_hang_one_after_another_are_killed_ever_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts, "LONGEST_HANG_S", 0.3)
    place.are(DEAF)
    post = place.post(hang_s=0.1)
    await begun(post)
    silent = [round(float(str(each["silent_s"])), 1) for each in await hung(post, 4)]
    assert silent == [0.1, 0.2, 0.3, 0.3]


async def test_one_that_was_well_for_long_is_not_blamed_for_its_predecessor(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts, "CALM_S", 0.0)
    place.are(DEAF)
    post = place.post(hang_s=0.1)
    await begun(post)
    silent = [round(float(str(each["silent_s"])), 1) for each in await hung(post, 2)]
    assert silent == [0.1, 0.1]


async def test_its_heart_is_heard(place: Place) -> None:
    place.are(BEATS)
    child = await place.post().begin()
    child.order(GO)
    assert await child.ready() == "hello"
    async with asyncio.timeout(30):
        while child._beats < 3:
            await asyncio.sleep(0.01)
    await child.kill()


async def test_one_whose_heart_beats_does_not_hang(place: Place) -> None:
    place.are(DEAF)
    child = await begun(place.post())
    hanging = asyncio.create_task(child.hangs(lambda: 0.04))
    for _ in range(20):
        child._beats += 1
        await asyncio.sleep(0.01)
    assert not hanging.done()
    assert await hanging >= 0.04
    await child.kill()


async def test_for_ever_where_nobody_watches(place: Place) -> None:
    place.are(DEAF)
    post = place.post()
    child = await begun(post)
    keeping = asyncio.create_task(post.keep())
    await asyncio.sleep(0.1)
    keeping.cancel()
    assert (post.hangs, child.code) == (0, None)
    await child.kill()
