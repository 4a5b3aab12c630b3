"""Whoever tries passwords waits longer and longer: by account, and by address.

A try counts when it begins, so that many at once are as slow as one after another.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from xrouter.domain.errors import RateLimited

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
    """clock: seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, size: int = SIZE) -> None:
        self._clock = clock
        self._size = size
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tries)

    def enter(self, account: str | None, ip: str | None) -> None:
        """Count a try. Raises RateLimited when it comes too early; then it does not count.

        account: None where nobody says whose it is. ip: None where it is not known; all such
        callers are one address.
        """
        keys = _keys(account, ip)
        now = self._clock()
        wait = max((self._known(key, now).until - now for key in keys), default=0.0)
        if wait > 0:
            raise RateLimited(
                "There were too many attempts to sign in; wait a little.",
                code="too_many_attempts",
                retry_after=wait,
            )
        for key, free in keys.items():
            self._count(key, free, now)

    def passed(self, account: str | None, ip: str | None) -> None:
        """The try was right: the account begins anew, the address gets the try back."""
        if account is not None:
            self.forgive(account)
        tries = self._tries.get(f"address:{neighbourhood(ip)}")
        if tries is not None:
            tries.count -= 1

    def forgive(self, account: str) -> None:
        """The account begins anew."""
        self._tries.pop(f"account:{account}", None)

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
