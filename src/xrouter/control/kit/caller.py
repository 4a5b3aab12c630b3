"""Whose address a request has, when it came through proxies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xrouter.domain.bounds import Network
from xrouter.domain.origin import origin


def behind(proxies: Sequence[Network], scope: Any) -> Any:
    """The scope as the caller's own connection would have made it; `client` is None where trusted
    proxies say nothing that is an address.

    Everything behind it (throttling, the audit log, ranges of addresses) reads `client` alone.
    """
    direct = scope.get("client")
    if not proxies or scope["type"] != "http" or direct is None:
        return scope
    found = origin(direct[0], scope["headers"], proxies)
    return {**scope, "client": None if found is None else (found, 0)}
