"""The protocol that stands before the application: what uvicorn does not bound, is bounded here.

No timer for each request: `sweep` looks at all connections about once a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Any
from urllib.parse import unquote

import httptools
from typing_extensions import override
from uvicorn import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from xrouter.domain.errors import InvalidRequest, XRouterError
from xrouter.domain.usage import new_id
from xrouter.edge.asgi import Header
from xrouter.edge.limits import GuardLimits
from xrouter.edge.line import LINE, Line
from xrouter.edge.routes import wrong_method
from xrouter.edge.voice import encode

_GOODBYE_S = 1.0
_GOODBYE_BYTES = 1 << 20
_FRAMING_BYTES = 64 << 10
_FRAMING_RATIO = 8
_PIPELINED = 8
_MOST_WAITING = 1000
_LINE_ENDS = 4
_OFFER = (b"upgrade", b"connection", b"http2-settings")


class TargetTooLong(InvalidRequest):
    """414: the URL."""

    status = 414
    default_code = "uri_too_long"


class HeadTooLarge(InvalidRequest):
    """431: the request line and the headers together."""

    status = 431
    default_code = "headers_too_large"


class GuardedConfig(Config):
    """uvicorn's configuration, with our limits."""

    guard = GuardLimits()


class GuardProtocol(HttpToolsProtocol):
    """One connection.

    Bounds the head of a request in size and time (absolute: trickled bytes do not prolong it), the
    framing of its body, and how long a caller may not read. Refuses in OpenAI's envelope.

    Upgrades, uvicorn's access log and its limit of concurrency are not for us: left out.
    """

    cycle: Line

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.guard if isinstance(config, GuardedConfig) else GuardLimits()
        self._running: Line | None = None
        self._waiting: deque[Line] = deque()
        self._base: dict[str, Any] = {}
        self._base_url = b""
        self._refusal: XRouterError | None = None
        self._head_since: float | None = None
        self._head_bytes = 0
        self._others_bytes = 0
        self._read_bytes = 0
        self._in_body = False
        self._wire_bytes = 0
        self._body_bytes = 0
        self._deaf_since: float | None = None
        self._idle_since: float | None = None
        self._dropped_bytes = 0
        self._unsent = 0
        self._moved_at = 0.0
        self._wants_upgrade = False
        self.url = b""
        self.headers = []

    # --- what comes in

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_since = self._moved_at = monotonic()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered, also when another one waits behind it."""
        if self._running is not None and self._is_answering:
            self._running.gone()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        self._idle_since = None
        if self._deaf_since is not None:
            self._drop(data)
            return
        size = self._read_bytes = len(data)
        if self._in_body:
            self._wire_bytes += size
        else:
            if self._head_since is None:
                self._head_since = monotonic()
                self._head_bytes = self._others_bytes = 0
            self._head_bytes += size
            if self._head_bytes > self._limits.max_head and self._head_is_too_large(data):
                self._refuse(self._too_large(data))
                return
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as at:
            self._feed_without_upgrade(data[at.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refusal or InvalidRequest("Invalid HTTP request received."))
        else:
            if self._in_body:
                self._check_framing()

    @override
    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        if self._head_since is None:  # behind another request, in the same read
            self._head_since = monotonic()
            self._head_bytes = self._others_bytes = self._read_bytes

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # trailers are nobody's headers
            self.headers.append((name.lower(), value))

    @override
    def on_headers_complete(self) -> None:
        parser, url, limits = self.parser, self.url, self._limits
        method = parser.get_method()
        upgrades = self._wants_upgrade = parser.should_upgrade()
        if upgrades and method != b"CONNECT":
            return
        if self._head_bytes > limits.max_head or len(url) > limits.max_target:
            self._check_head()
        if upgrades:
            self._stop(wrong_method("CONNECT", url.decode("latin-1")))
        if url != self._base_url:
            self._base, self._base_url = self._scope_of(url), url
        self._head_since = None
        self._in_body = True
        self._wire_bytes = self._body_bytes = 0
        version = parser.get_http_version()
        headers, self.headers = self.headers, []  # what comes behind the body is nobody's header
        scope = self._base.copy()
        scope["method"] = method.decode("ascii")
        scope["http_version"] = version
        scope["headers"] = headers
        scope["state"] = self.app_state.copy()
        line = scope[LINE] = Line(self, scope, dict(headers))
        line.keep_alive = version != "1.0" and parser.should_keep_alive()
        if b"expect" in line.headers:
            line.waiting_for_100_continue = _expects(headers)
        self._enter(line)

    @override
    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        line = self.cycle
        if line.response_complete:
            return
        line.body += body
        if len(line.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        line.came()

    @override
    def on_message_complete(self) -> None:
        if self._wants_upgrade:
            return
        self._in_body = False
        self._head_since = None
        line = self.cycle
        if not line.response_complete:
            line.more_body = False
            line.came()

    @override
    def on_response_complete(self) -> None:
        """As uvicorn's, without a timer for each answer: `check` closes what is idle too long."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._waiting:
            self._start(self._waiting.popleft())
        else:
            self._idle_since = monotonic()

    @override
    def shutdown(self) -> None:
        if self._running is not None:
            self._running.keep_alive = False
        super().shutdown()

    # --- how a request begins

    def _scope_of(self, url: bytes) -> dict[str, Any]:
        """What ASGI is told of all requests with this URL on this connection."""
        parsed = httptools.parse_url(url)
        path = parsed.path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "path": self.root_path + path,
            "raw_path": self.root_path.encode("ascii") + parsed.path,
            "query_string": parsed.query or b"",
        }

    def _enter(self, line: Line) -> None:
        """Begin with it, or let it wait behind the one that is being answered."""
        before: Line | None = self.cycle
        self.cycle = line
        if before is None or before.response_complete:
            self._start(line)
            return
        self.flow.pause_reading()
        if len(self._waiting) >= _MOST_WAITING:
            self._stop(InvalidRequest("Too many requests wait on this connection."))
        self._waiting.append(line)
        if len(self._waiting) <= _PIPELINED:
            self.flow.resume_reading()  # so that the caller's leaving is still noticed

    def _start(self, line: Line) -> None:
        self._running = line
        task = line.task = self.loop.create_task(line.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # --- what is checked

    @property
    def _is_answering(self) -> bool:
        running = self._running
        return not (running is None or running.response_complete or running.disconnected)

    def _head_is_too_large(self, data: bytes) -> bool:
        """Whether the head is too large for certain, before it is complete."""
        size = self._head_bytes - self._others_bytes
        if size <= self._limits.max_head:
            return False
        end = data.find(b"\r\n\r\n")
        return end < 0 or size - len(data) + end + _LINE_ENDS > self._limits.max_head

    def _too_large(self, data: bytes = b"") -> XRouterError:
        """Which of the two it is. data: what the parser has not seen yet."""
        line = len(self.url) if self.url else data.find(b"\r\n")
        if line < 0 or line > self._limits.max_target:
            return TargetTooLong(f"The URL is longer than {self._limits.max_target} bytes.")
        return HeadTooLarge(
            f"The request headers are larger than {self._limits.max_head} bytes together."
        )

    def _check_head(self) -> None:
        """The exact sizes, now that the head is complete."""
        size = len(self.url) + sum(len(n) + len(v) + _LINE_ENDS for n, v in self.headers)
        if len(self.url) > self._limits.max_target or size > self._limits.max_head:
            self._stop(self._too_large())

    def _check_framing(self) -> None:
        """A body made of almost nothing but chunk sizes and extensions is an attack."""
        framing = self._wire_bytes - self._body_bytes
        if framing > _FRAMING_BYTES + _FRAMING_RATIO * self._body_bytes:
            self._refuse(InvalidRequest("The chunks of the request body carry too little."))

    def _stop(self, reason: XRouterError) -> None:
        """Out of the parser, from within one of its callbacks."""
        self._refusal = reason
        raise reason

    # --- how it is refused

    def _feed_without_upgrade(self, rest: bytes) -> None:
        """Answer a request that offers another protocol as plain HTTP, by leaving out the offer.

        The parser would take the body for the other protocol; Java's client offers HTTP/2 always.
        """
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%b: %b\r\n" % pair for pair in self.headers if pair[0] not in _OFFER]
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(lines))
        self.parser = parser
        self._feed(head + rest)

    def _refuse(self, reason: XRouterError) -> None:
        """Answer, unless that would end up in the middle of another answer, and hear no more."""
        self._deaf_since = monotonic()
        running = self._running
        if running is not None and self._is_answering:
            if not (self._in_body and running is self.cycle) or running.response_started:
                running.keep_alive = False
                return
            running.gone()
        self.transport.write(self._envelope(reason))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _envelope(self, reason: XRouterError) -> bytes:
        body = encode(reason.body())
        lines = [b"%b: %b\r\n" % pair for pair in self.server_state.default_headers]
        head = (
            b"content-type: application/json\r\ncontent-length: %d\r\n"
            b"x-request-id: %b\r\nconnection: close\r\n\r\n"
        ) % (len(body), new_id("req_").encode())
        return STATUS_LINE[reason.status] + b"".join(lines) + head + body

    def _drop(self, data: bytes) -> None:
        """Read on for a while, so that closing does not reset the answer on its way."""
        self._dropped_bytes += len(data)
        if self._dropped_bytes > _GOODBYE_BYTES and not self._is_answering:
            self.transport.close()

    # --- what is looked at about once a second

    def check(self, now: float) -> None:
        """Close the connection when it has used up a deadline. now: `time.monotonic()`."""
        if self._is_stuck(now):
            self.transport.abort()
        elif self._is_answering:
            if self._head_since is not None:
                self._head_since = now
        elif self._is_late(now):
            self.transport.close()
        elif self._in_body and self._head_since is None:
            self._head_since = now  # answered early, and the rest of the body is still to come

    def _is_late(self, now: float) -> bool:
        """Whether the caller takes too long to leave, to send a head, or to come with another."""
        if self._deaf_since is not None:
            return now - self._deaf_since > _GOODBYE_S
        if self._head_since is not None:
            return now - self._head_since > self._limits.head_timeout
        return self._idle_since is not None and now - self._idle_since > self.timeout_keep_alive

    def _is_stuck(self, now: float) -> bool:
        """Whether the caller has taken nothing for too long of what waits for it."""
        if not (self.flow.write_paused or self.transport.is_closing()):
            self._moved_at = now
            return False
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent or unsent == 0:
            self._unsent = unsent
            self._moved_at = now
        return now - self._moved_at > self._limits.write_timeout


def _expects(headers: list[Header]) -> bool:
    return any(n == b"expect" and v.lower() == b"100-continue" for n, v in headers)


def sweep(connections: Iterable[Any]) -> None:
    """Look at all connections once."""
    now = monotonic()
    for connection in list(connections):
        if isinstance(connection, GuardProtocol):
            connection.check(now)
