"""One request at the door, as the routes see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from msgspec import Struct

from xrouter.domain.bounds import Scope as KeyScope
from xrouter.domain.errors import ClientGone, InvalidRequest, Unauthenticated, XRouterError
from xrouter.domain.history import ResponseStore
from xrouter.domain.identity import Principal
from xrouter.domain.origin import origin
from xrouter.domain.ports import CallInfo, Flow, KeyBook, SnapshotSource
from xrouter.domain.usage import new_id
from xrouter.edge import fields
from xrouter.edge.asgi import Headers, Message, Receive, Scope, Send
from xrouter.edge.background import Background
from xrouter.edge.body import declared_length, read_body
from xrouter.edge.credential import credential
from xrouter.edge.disconnect import CLIENT_GONE, GONE, Cancellation, watch
from xrouter.edge.heartbeat import Heartbeat
from xrouter.edge.limits import DoorLimits
from xrouter.edge.line import LINE, Line
from xrouter.edge.outlet import JSON, Outlet
from xrouter.edge.reply import HttpReply
from xrouter.edge.shed import PRIORITY, Overloaded, Place, Shed
from xrouter.edge.voice import Voice, encode
from xrouter.telemetry.logs import log
from xrouter.telemetry.veil import veiled

STRANGERS_BODY = 1 << 20
"""Bytes; for a larger body, or one of unknown length, the key is looked at before it is read."""

HUGE_BODY = 4 << 20
"""Bytes; a larger body is decoded in a thread, one at a time."""

_NO_KEY = "You didn't provide an API key. Send it as 'Authorization: Bearer <key>'."
_LINGER_S = 1.0
_LINGER_BYTES = 4 << 20
_SMALL_DIGITS = 6
_CLOSE = (b"connection", b"close")
_ONCE = frozenset(
    {
        *(b"authorization", b"api-key", b"x-api-key", b"host", b"content-encoding", PRIORITY),
        *(b"x-xrouter-countries", b"x-xrouter-max-price", b"x-xrouter-tags"),
        *(b"x-xrouter-session", b"x-xrouter-cache"),
    }
)

_Parsed = TypeVar("_Parsed")

Refusal = Callable[[XRouterError, str], bytes]
"""The body of an error that is told at the door, given the request id."""


def plain_refusal(error: XRouterError, _request_id: str) -> bytes:
    """OpenAI's envelope."""
    return encode(error.body())


class Means(Struct, frozen=True):
    """What the routes work with, the same for all visits.

    small_body: bytes; what has come whole and is no larger, is read without waiting.
    """

    flow: Flow
    snapshots: SnapshotSource
    keys: KeyBook
    responses: ResponseStore
    background: Background
    limits: DoorLimits
    heartbeat: Heartbeat
    shed: Shed
    small_body: int


class Visit:
    """From the head of a request to the end of its answer. Belongs to the task that made it.

    serial: a ULID; ids that the caller sees are made of it. rest: what a `/*` route left open.
    request_id: goes out as `x-request-id`. refusal: how the route's dialect tells an error. place:
    what it takes up, once it is let in.
    """

    __slots__ = (
        "_beating",
        "_line",
        "_receive",
        "_received",
        "_reply",
        "_watcher",
        "body_read",
        "cancellation",
        "headers",
        "means",
        "out",
        "place",
        "received_at",
        "refusal",
        "request_id",
        "rest",
        "scope",
        "serial",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, means: Means) -> None:
        self.received_at = now = monotonic()
        self.serial = serial = new_id()
        self.request_id = request_id = "req_" + serial
        self.scope = scope
        self.means = means
        line: Line | None = scope.pop(LINE, None)
        self._line = line
        self.headers: Headers = dict(scope["headers"]) if line is None else line.headers
        self.out = Outlet(send, request_id, now, line)
        self.rest = ""
        self.refusal: Refusal = plain_refusal
        self.body_read = False
        self.place: Place | None = None
        self.cancellation = Cancellation(None if line is None else line.task)
        self._receive = receive
        self._received = 0
        self._reply: HttpReply | None = None
        self._beating: HttpReply | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def reply(self) -> HttpReply | None:
        """The way back, once the flow has it."""
        return self._reply

    def check_head(self) -> None:
        """Raise InvalidRequest when the URL is no text, or a header is twice that must be once."""
        path: str = self.scope["path"]
        if not path.isascii() and path != path.encode(errors="replace").decode():
            raise InvalidRequest("The URL is not valid UTF-8.", code="invalid_url")
        pairs = self.scope["headers"]
        if len(pairs) == len(self.headers):
            return
        for name, value in pairs:
            if name in _ONCE and self.headers[name] != value:
                raise InvalidRequest(
                    f"The header '{name.decode()}' was sent twice.", code="repeated_header"
                )

    def credential(self) -> str | None:
        """The caller's key. Raises InvalidRequest when there are two different ones."""
        return credential(self.headers)

    def project(self, scope: KeyScope) -> str:
        """Whose the caller's key is. Raises Unauthenticated, Forbidden, or NotReady."""
        principal = self._principal()
        if principal.bounds is not None:
            principal.bounds.require_scope(scope)
        return principal.project

    @property
    def client(self) -> str | None:
        """The caller's address: of the connection, or what a proxy that is trusted says."""
        address, proxies = self.scope.get("client"), self.means.limits.proxies
        direct: str | None = address[0] if address else None
        return origin(direct, self.scope["headers"], proxies) if proxies else direct

    def info(self, operation: str) -> CallInfo:
        """Who calls, for the records."""
        return CallInfo(
            self.request_id,
            self.received_at,
            operation,
            self.client,
            self.headers,
        )

    async def body(self) -> bytes:
        """The whole request body. Raises what `read_body` and `project` raise, Overloaded."""
        declared = declared_length(self.headers)
        if declared > STRANGERS_BODY or b"transfer-encoding" in self.headers:
            self._principal()
            if declared <= self.means.limits.max_body:
                self._hold(declared)
        body = await read_body(self._next, self.headers, self.means.limits, declared)
        if len(body) > self._received:
            self._hold(len(body))
        return body

    async def read(self, parse: Callable[[bytes], _Parsed]) -> _Parsed:
        """The body, decoded. Raises what `body` and `parse` raise.

        A huge one is decoded beside the event loop: other requests get their turn between the
        steps of `parse`, though not within one call of the decoder.
        """
        body = self._at_hand()
        if body is None:
            body = await self.body()
        if len(body) <= HUGE_BODY:
            return parse(body)
        async with self.means.shed.decoding:
            return await asyncio.to_thread(parse, body)

    def answer_with(self, voice: Voice) -> HttpReply:
        """The way back for the flow; from now on the caller's leaving cancels this task."""
        reply = self._reply = HttpReply(self.out, voice)
        if self._line is not None:
            self._line.then(self._gone)
        else:  # another server: wait for its word
            loop = asyncio.get_running_loop()
            self._watcher = loop.create_task(watch(self._receive, self._gone))
        if voice.streaming:
            self._beating = reply
            self.means.heartbeat.add(reply)
        return reply

    async def refuse(self, error: XRouterError) -> None:
        """Answer with an error that no flow told. A broken open answer is cut off instead."""
        if isinstance(error, ClientGone) or self.out.finished:
            return
        if not isinstance(error, Overloaded):  # those are counted
            log.warning(
                "refused_at_the_door",
                request_id=self.request_id,
                method=self.scope["method"],
                path=veiled(self.scope["path"]),
                status=error.status,
                code=error.code,
            )
        if self._reply is not None:
            await self._reply.refuse(error)
        elif not self.out.started:
            await self._refuse(error)

    def leave(self) -> None:
        """The visit is over."""
        line = self._line
        self.cancellation.disarm()
        if line is not None:
            line.forget()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._beating is not None:
            self.means.heartbeat.discard(self._beating)
        if self.place is not None:
            self.place.leave()

    def _at_hand(self) -> bytes | None:
        """A small plain body that has come already; None where `body` must wait or look closer."""
        line = self._line
        body = None if line is None else line.take(self.means.small_body)
        if body is not None:
            self.body_read = True
            if self.place is not None:
                self.place.hold(len(body))
        return body

    async def _next(self) -> Message:
        """The next message of the body, counted."""
        message = await self._receive()
        self.body_read = not message.get("more_body", False)
        self._received += len(message.get("body", b""))
        if self.place is not None:
            self.place.hold(self._received)
        return message

    def _hold(self, size: int) -> None:
        if self.place is not None:
            self.place.hold(size)

    async def _refuse(self, error: XRouterError) -> None:
        if isinstance(error, Overloaded) and self._body_is_coming() and self._body_is_small():
            await self._linger()  # the connection is of use to both of us
        body = self.refusal(error, self.request_id)
        headers = fields.error(error)
        if not self._body_is_coming():
            await self.out.whole(error.status, JSON, body, *headers)
            return
        length = (b"content-length", b"%d" % len(body))
        await self.out.open(error.status, (b"content-type", JSON), length, _CLOSE, *headers)
        await self.out.write(body)
        if b"expect" not in self.headers:
            await self._linger()
        await self.out.close()

    def _body_is_coming(self) -> bool:
        if self.body_read:
            return False
        return (
            b"transfer-encoding" in self.headers
            or self.headers.get(b"content-length", b"0").strip() != b"0"
        )

    def _body_is_small(self) -> bool:
        """Whether it is cheaper to read it than to make a new connection."""
        length = self.headers.get(b"content-length", b"")
        return len(length) <= _SMALL_DIGITS and length.isdigit() and b"expect" not in self.headers

    async def _linger(self) -> None:
        """Let a caller in the middle of sending come to read the answer, for a bounded while.

        Closing a socket with unread bytes resets it, and the answer is lost on its way.
        """
        left = _LINGER_BYTES
        try:
            async with asyncio.timeout(_LINGER_S):
                while left > 0:
                    message = await self._receive()
                    if message["type"] == GONE or not message.get("more_body", False):
                        self.body_read = True
                        return
                    left -= len(message.get("body", b""))
        except TimeoutError:
            pass

    def _principal(self) -> Principal:
        """Who asks. Strangers are turned away, and keys from where they may not be used."""
        key = self.credential()
        if key is None:
            raise Unauthenticated(_NO_KEY)
        principal = self.means.keys.find(key, self.means.snapshots.current)
        if principal.bounds is not None:
            principal.bounds.require_address(self.client)
        return principal

    def _gone(self) -> None:
        if not self.out.finished:
            self.cancellation.cancel(CLIENT_GONE)
