"""The sockets that several processes accept from.

One socket for each address, which all inherit, and not one for each process (SO_REUSEPORT): what
waits to be accepted belongs to nobody, so that no connection is lost when a process is killed or
replaced, and one that is busy leaves it to the others.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from xrouter.domain.errors import OperatorError

BACKLOG = 2048


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on all addresses that the name stands for. Raises OperatorError."""
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            made.append(_listening(family, address))
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


def opened(descriptors: Sequence[int]) -> list[socket.socket]:
    """Those that were inherited."""
    return [socket.socket(fileno=each) for each in descriptors]


def _listening(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
