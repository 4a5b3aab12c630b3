"""The sockets that connections are accepted from.

Several processes inherit the same ones, and have none of their own (SO_REUSEPORT): what waits to be
accepted belongs to nobody, so that no connection is lost when a process is killed or replaced, and
one that is busy leaves it to the others.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from xrouter.domain.errors import OperatorError

BACKLOG = 2048


def bound(host: str, port: int) -> list[socket.socket]:
    """Take all addresses that the name stands for; nobody is let in yet. Raises OperatorError."""
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            made.append(_bound(family, address))
            if port == 0:
                break
    except OSError as error:
        for each in made:
            each.close()
        raise OperatorError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.",
            hint="Does another program listen there? Set XROUTER_PORT, or stop it.",
        ) from None
    return made


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen there: whoever comes waits to be accepted. Raises OperatorError."""
    made = bound(host, port)
    for each in made:
        each.listen(BACKLOG)
    return made


def opened(descriptors: Sequence[int]) -> list[socket.socket]:
    """Those that were inherited."""
    return [socket.socket(fileno=each) for each in descriptors]


def _bound(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
