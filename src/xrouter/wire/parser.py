"""What every parser of a streamed body has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from xrouter.domain.errors import UpstreamMalformed
from xrouter.wire.types import Event

MAX_LINE = 1 << 20
"""Longest line of a stream, in bytes."""

MAX_EVENT = 8 << 20
"""Largest event of several lines, in bytes."""

BOM = b"\xef\xbb\xbf"


class Parser(ABC):
    """Cuts a body into events, whatever the borders of the chunks. Made for one body."""

    __slots__ = ()

    @abstractmethod
    def feed(self, chunk: bytes) -> list[Event]:
        """The events this chunk completes. Raises UpstreamMalformed when a limit is passed."""

    @abstractmethod
    def end(self) -> list[Event]:
        """At the end of the body: the event that still lacked its terminator, if there is one."""


def too_long(what: str, limit: int) -> UpstreamMalformed:
    """The error for a line or an event that passes its limit (bytes)."""
    return UpstreamMalformed(f"The provider's stream has {what} of more than {limit} bytes.")
