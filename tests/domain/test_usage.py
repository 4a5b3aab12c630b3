from __future__ import annotations

import re
import time
from itertools import pairwise

from xrouter.domain.usage import new_id


def test_ids_are_ulids() -> None:
    assert re.fullmatch(r"req_[0-7][0-9A-HJKMNP-TV-Z]{25}", new_id("req_"))


def test_ids_hold_the_time_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    number = 0
    for character in new_id()[:10]:
        number = number * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(character)
    assert before <= number <= time.time_ns() // 1_000_000


def test_ids_do_not_repeat() -> None:
    assert len({new_id() for _ in range(100_000)}) == 100_000


def test_ids_sort_in_the_order_of_their_making() -> None:
    """Over more than a second, and more than fit into the random bits of one."""
    made, ends_at = [new_id()], time.monotonic() + 1.2
    while time.monotonic() < ends_at or len(made) < 1 << 20:
        made.append(new_id())
    assert all(one < next_ for one, next_ in pairwise(made))
