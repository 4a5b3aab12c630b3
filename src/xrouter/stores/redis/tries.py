"""Tries of passwords and secrets, counted for all processes. Redis sees no names, only MACs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from typing_extensions import override

from xrouter.domain.tries import SharedTries
from xrouter.stores.redis.link import Link, RedisAway

SIZE = 100_000
"""Who is remembered; who has not tried for longest goes first."""
_PREFIX = "xr:{tries}:"
_KEYS = [f"{_PREFIX}tries", f"{_PREFIX}last"]
_SCRIPT = files("xrouter.stores.redis").joinpath("tries.lua").read_text(encoding="utf-8")
_SECOND = 1_000_000


class RedisTries(SharedTries):
    """Of one process. mac: of the installation; the same in each process."""

    def __init__(self, link: Link, mac: Callable[[str], bytes], size: int = SIZE) -> None:
        self._link = link
        self._mac = mac
        self._size = size
        self._script = link.script(_SCRIPT)

    @override
    async def enter(
        self, tries: Mapping[str, int], longest_s: float, forget_s: float
    ) -> float | None:
        told: list[str | int] = ["enter", _micros(longest_s), _micros(forget_s), self._size]
        for who, free in tries.items():
            told += [self._name(who), free]
        wait = await self._run(_KEYS, told)
        return None if wait is None else wait / _SECOND

    @override
    async def passed(self, who: Sequence[str], back: str | None = None) -> None:
        given_back = "" if back is None else self._name(back)
        await self._run(_KEYS, ["pass", given_back, *map(self._name, who)])

    @override
    async def miss(self, who: str, window_s: float) -> tuple[int, float] | None:
        keys = [*_KEYS, f"{_PREFIX}missed:{self._name(who)}"]
        found = await self._run(keys, ["miss", _micros(window_s)])
        return None if found is None else (found[0], found[1] / _SECOND)

    def _name(self, who: str) -> str:
        return self._mac("tries:" + who).hex()

    async def _run(self, keys: list[str], told: Sequence[str | int]) -> Any:
        """None while Redis is away."""
        try:
            return await self._link.call(
                lambda redis: self._script(keys=keys, args=told, client=redis)
            )
        except RedisAway:
            return None


def _micros(seconds: float) -> int:
    return round(seconds * _SECOND)
