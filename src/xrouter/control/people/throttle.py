"""Whoever tries passwords waits longer and longer: by account, and by address.

A try counts when it begins, so that many at once are as slow as one after another. Processes that
share tries count together; one that cannot ask counts by itself, and goes on from what it has seen.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from xrouter.domain.errors import RateLimited
from xrouter.domain.tries import SharedTries

FREE_OF_ACCOUNT = 5
FREE_OF_ADDRESS = 30
"""Tries without a pause; behind a proxy, many people share an address."""
LONGEST_S = 300.0
FORGET_S = 900.0
SIZE = 20_000
"""Accounts and addresses that are remembered; the one not tried for longest goes first."""
_IPV6_PREFIX = 64


class _Tries(Struct):
    count: int = 0
    last: float = 0.0
    until: float = 0.0


class Throttle:
    """clock: seconds that never go back. shared: by all processes. door: of which tries these are,
    those of others are counted apart.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        size: int = SIZE,
        *,
        shared: SharedTries | None = None,
        door: str = "people",
    ) -> None:
        self._shared = shared
        self._door = door
        self._clock = clock
        self._size = size
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tries)

    async def enter(self, account: str | None, ip: str | None) -> None:
        """Count a try. Raises RateLimited when it comes too early; then it does not count.

        account: None where nobody says whose it is. ip: None where it is not known; all such
        callers are one address.
        """
        keys = _keys(account, ip)
        wait = None
        if self._shared is not None:
            named = {self._name(key): free for key, free in keys.items()}
            wait = await self._shared.enter(named, LONGEST_S, FORGET_S)
        now = self._clock()
        if wait is None:
            wait = max((self._known(key, now).until - now for key in keys), default=0.0)
        if wait > 0:
            raise RateLimited(
                "There were too many attempts to sign in; wait a little.",
                code="too_many_attempts",
                retry_after=wait,
            )
        for key, free in keys.items():
            self._count(key, free, now)

    async def passed(self, account: str | None, ip: str | None) -> None:
        """The try was right: the account begins anew, the address gets the try back."""
        address = f"address:{neighbourhood(ip)}"
        tries = self._tries.get(address)
        if tries is not None:
            tries.count -= 1
        await self._begin_anew(account, address)

    async def forgive(self, account: str) -> None:
        """The account begins anew."""
        await self._begin_anew(account, None)

    async def _begin_anew(self, account: str | None, address: str | None) -> None:
        who = [] if account is None else [f"account:{account}"]
        for each in who:
            self._tries.pop(each, None)
        if self._shared is not None:
            back = None if address is None else self._name(address)
            await self._shared.passed([self._name(each) for each in who], back)

    def _name(self, key: str) -> str:
        return f"{self._door}:{key}"

    def _known(self, key: str, now: float) -> _Tries:
        tries = self._tries.get(key)
        if tries is None or now - tries.last > FORGET_S:
            return _Tries()
        return tries

    def _count(self, key: str, free: int, now: float) -> None:
        tries = self._known(key, now)
        tries.count += 1
        tries.last = now
        if tries.count >= free:
            tries.until = now + min(2.0 ** min(tries.count - free, 10), LONGEST_S)
        self._tries[key] = tries
        self._tries.move_to_end(key)
        while len(self._tries) > self._size:
            self._tries.popitem(last=False)


def _keys(account: str | None, ip: str | None) -> dict[str, int]:
    keys = {f"address:{neighbourhood(ip)}": FREE_OF_ADDRESS}
    if account is not None:
        keys[f"account:{account}"] = FREE_OF_ACCOUNT
    return keys


def neighbourhood(ip: str | None) -> str:
    """Whom an address is counted as: an IPv6 caller has a whole network to call from."""
    if ip is None:
        return "unknown"
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return ip
