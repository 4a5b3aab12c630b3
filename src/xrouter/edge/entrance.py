"""Where callers come in. Who accepts connections is told by whoever starts the server."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

Protocols = Callable[[], asyncio.BaseProtocol]
"""Makes one for each connection."""


class Entrance(ABC):
    """Sockets that are bound already."""

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether anybody may come."""

    @property
    @abstractmethod
    def address(self) -> tuple[str, int]:
        """Host and port of the first socket."""

    @abstractmethod
    def start(self, backlog: int) -> None:
        """Let callers in from now on. backlog: how many may wait."""

    @abstractmethod
    def close(self) -> None:
        """Let nobody in any more; twice is harmless."""
