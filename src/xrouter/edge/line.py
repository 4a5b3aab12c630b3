"""What our own server offers a request beside ASGI; behind another server it is not there.

The caller's leaving is told at once, without a task that waits for it; an answer goes out in one
write, without messages and without a look at each header on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from xrouter.edge.asgi import Header

LINE = "xrouter.line"
"""Where in a scope's `extensions` the Line lies."""

_CONNECTION = b"connection: "
_CLOSE = _CONNECTION + b"close\r\n"


class Line:
    """One request's way back on its connection."""

    __slots__ = ("_cycle", "_gone", "_tell")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._gone = False
        self._tell: Callable[[], None] | None = None

    def then(self, tell: Callable[[], None]) -> None:
        """Call this when the caller leaves, or now if that has happened."""
        self._tell = tell
        if self._gone:
            tell()

    def forget(self) -> None:
        """Nobody wants to be told any more; what refers to each other lets go."""
        self._tell = None

    def gone(self) -> None:
        """The caller has left."""
        self._gone = True
        if self._tell is not None:
            self._tell()

    def whole(self, status: int, headers: list[Header], body: bytes) -> bool:
        """Send a whole answer at once; False, and nothing is sent, where ASGI's way is needed.

        headers: `content-length` and no `transfer-encoding` among them.
        """
        cycle = self._cycle
        if cycle.response_started or cycle.disconnected or cycle.flow.write_paused:
            return False
        if cycle.scope["method"] == "HEAD":
            return False
        head = _lines(cycle.default_headers) + _lines(headers)
        if head.count(b"\n") != len(cycle.default_headers) + len(headers) or b"\0" in head:
            return False
        if _CONNECTION in head:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        if not cycle.keep_alive:
            head += _CLOSE
        cycle.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], head, body))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True

    def write(self, data: bytes) -> bool:
        """Send a piece of a body that goes out in chunks; False as above."""
        cycle = self._cycle
        if not data or not cycle.chunked_encoding or cycle.response_complete:
            return False
        if cycle.disconnected or cycle.flow.write_paused or cycle.scope["method"] == "HEAD":
            return False
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True


def _lines(headers: Iterable[Header]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
