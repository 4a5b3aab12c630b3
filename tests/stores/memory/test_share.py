from __future__ import annotations

import pytest

from xrouter.domain.ports import Spent, Want
from xrouter.stores.memory.meters import MemoryMeters
from xrouter.stores.memory.share import ShareMeters

PROCESSES = 3


def want(limit: int, amount: int = 1) -> Want:
    return Want("counter", "requests", "day", limit, amount, "UTC")


async def granted(limit: int, *, spent: int = 0) -> int:
    """By all processes together, however often they are asked."""
    total = 0
    for _ in range(PROCESSES):
        meters = ShareMeters(MemoryMeters(wall=lambda: 1000.0), PROCESSES)
        meters.seed([Spent("counter", "day", "UTC", spent, 1000.0)])
        for _ in range(limit + 1):
            verdict = await meters.take([want(limit)], 60)
            if verdict.hold is not None:
                meters.settle(verdict.hold, [1])
                total += 1
    return total


@pytest.mark.parametrize("limit, all_together", [(30, 30), (31, 30), (3, 3), (0, 0)])
async def test_all_together_grant_no_more_than_the_limit(limit: int, all_together: int) -> None:
    assert await granted(limit) == all_together


async def test_a_limit_below_their_number_is_one_for_each() -> None:
    assert await granted(2) == PROCESSES


@pytest.mark.parametrize("spent", [29, 30, 40])
async def test_what_all_have_spent_is_shared_out_too(spent: int) -> None:
    assert await granted(30, spent=spent) == 0


async def test_what_is_left_is_of_the_share() -> None:
    meters = ShareMeters(MemoryMeters(), PROCESSES)
    assert [level.remaining for level in await meters.look([want(30)])] == [10]
    verdict = await meters.take([want(30, 4)], 60)
    assert [level.remaining for level in verdict.levels] == [6]
    assert verdict.hold is not None
    meters.release(verdict.hold)
    assert [level.remaining for level in await meters.look([want(30)])] == [10]
