"""What our own server offers a request beside ASGI; behind another server it is not there.

The caller's leaving is told at once, without a task that waits for it; a body that has come is
taken, and an answer goes out in one write, without messages and without a look at each header on
its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from xrouter.edge.asgi import Header, Headers

LINE = "xrouter.line"
"""Where in a scope the Line lies, until it is taken: they would hold each other."""

_END = b"\r\n\r\n"
_CLOSE_END = b"\r\nconnection: close" + _END
_line = b": ".join
_lines = b"\r\n".join


class _Common:
    """The headers of all answers, as uvicorn lists them anew each second.

    lines: None when one of them is not for the short way.
    """

    __slots__ = ("headers", "lines")

    def __init__(self, headers: list[Header]) -> None:
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        is_usual = _is_clean(lines, len(headers)) and b"connection: " not in lines
        self.headers = headers
        self.lines = lines if is_usual else None


def _is_clean(lines: bytes, ends: int) -> bool:
    """Whether no header has become two."""
    return lines.count(b"\n") == ends and 0 not in lines


_common = _Common([])


class Line(RequestResponseCycle):
    """One request on its connection, and the way back: uvicorn's, with shorter ways beside ASGI's.

    headers: of the request. task: that answers it. It begins with what uvicorn's begins with.
    """

    logger = logging.getLogger("uvicorn.error")
    access_logger = logging.getLogger("uvicorn.access")
    access_log = False
    chunked_encoding: bool | None = None
    expected_content_length = 0
    _taken = False
    _gone = False
    _tell: Callable[[], None] | None = None

    def __init__(self, connection: HttpToolsProtocol, scope: Any, headers: Headers) -> None:
        self.headers = headers
        self.scope = scope
        self.transport = connection.transport
        self.flow = connection.flow
        self.default_headers = connection.server_state.default_headers
        self.on_response = connection.on_response_complete
        self.body = bytearray()
        self.keep_alive = self.more_body = True
        self.disconnected = self.waiting_for_100_continue = False
        self.response_started = self.response_complete = False
        self.task: asyncio.Task[None] | None = None
        self._event: asyncio.Event | None = None

    @property
    @override
    def message_event(self) -> asyncio.Event:  # type: ignore[override]
        """What `receive` waits for. Hardly any request does: made when one asks."""
        event = self._event
        if event is None:
            event = self._event = asyncio.Event()
            if not self._taken and (self.body or not self.more_body):
                event.set()
        return event

    def came(self) -> None:
        """Something has come, or the caller has left: whoever waits goes on."""
        if self._event is not None:
            self._event.set()

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
        self.disconnected = self._gone = True
        self.came()
        if self._tell is not None:
            self._tell()

    def take(self, most: int) -> bytes | None:
        """The body, once, when all of it is there as it was declared, plain and at most so large.

        None: wait for it, or look closer, the usual way.
        """
        size, headers = len(self.body), self.headers
        if self.more_body or size > most or headers.get(b"content-length") != b"%d" % size:
            return None
        if self.waiting_for_100_continue or b"content-encoding" in headers:
            return None
        if self.disconnected or self._event is not None:
            return None
        self.flow.resume_reading()
        body = bytes(self.body)
        self.body = bytearray()
        self._taken = True
        return body

    def whole(self, status: int, headers: list[Header], body: bytes) -> bool:
        """Send a whole answer at once; False, and nothing is sent, where ASGI's way is needed.

        headers: `content-length` and neither `transfer-encoding` nor `connection` among them.
        """
        global _common  # noqa: PLW0603 - whoever comes first in a second makes it
        if self.response_started or self.disconnected or self.flow.write_paused:
            return False
        if self.scope["method"] == "HEAD":
            return False
        common = _common
        if common.headers is not self.default_headers:
            _common = common = _Common(self.default_headers)
        head = _lines(map(_line, headers))
        if common.lines is None or not _is_clean(head, len(headers) - 1):
            return False
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        end = _END if self.keep_alive else _CLOSE_END
        self.transport.write(b"".join((STATUS_LINE[status], common.lines, head, end, body)))
        self.came()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True

    def write(self, data: bytes) -> bool:
        """Send a piece of a body that goes out in chunks; False as above."""
        if not data or not self.chunked_encoding or self.response_complete:
            return False
        if self.disconnected or self.flow.write_paused or self.scope["method"] == "HEAD":
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True
