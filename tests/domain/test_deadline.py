from __future__ import annotations

import asyncio

import pytest

from xrouter.domain.deadline import Deadline


async def test_work_in_time_is_not_disturbed() -> None:
    with Deadline(30):
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_late_work_is_cancelled_and_told() -> None:
    forever = asyncio.Event()
    with pytest.raises(TimeoutError), Deadline(0.01):
        await forever.wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_outside_stays_one() -> None:
    entered = asyncio.Event()

    async def work() -> None:
        with Deadline(30):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel("leave")
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task
    assert cancelled.value.args == ("leave",)


async def test_both_at_once_is_a_cancellation() -> None:
    entered = asyncio.Event()

    async def work() -> None:
        deadline = Deadline(30)
        with deadline:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                deadline.expire()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), Deadline(30):
        raise KeyError("x")


async def test_inner_and_outer_deadlines_are_told_apart() -> None:
    told = []

    async def work() -> None:
        try:
            with Deadline(30):
                await asyncio.Event().wait()
        except TimeoutError:
            told.append("inner")

    with pytest.raises(TimeoutError), Deadline(0.01):
        await work()
    assert told == []


async def test_a_shorter_one_behind_a_longer_one_passes_in_its_time() -> None:
    forever = asyncio.Event()
    told = []

    async def work(seconds: float) -> None:
        try:
            with Deadline(seconds):
                await forever.wait()
        except TimeoutError:
            told.append(seconds)

    with Deadline(30):
        waits = [asyncio.create_task(work(seconds)) for seconds in (20, 0.03, 0.01, 0.02, 25)]
        await asyncio.wait(waits[1:4])
        assert told == [0.01, 0.02, 0.03]
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def test_deadlines_follow_one_another() -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError), Deadline(0.005):
            await asyncio.Event().wait()


def test_each_loop_of_a_thread_has_its_own() -> None:
    async def late() -> None:
        with pytest.raises(TimeoutError), Deadline(0.005):
            await asyncio.Event().wait()

    async def left_over() -> None:
        Deadline(30).__enter__()

    asyncio.run(left_over())
    asyncio.run(late())
