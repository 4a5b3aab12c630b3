"""Stop 1: the ASGI application. It gives each request an id, a route, and a way to end.

Hot routes are served here; everything else goes to the fallback application, where there is one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

from msgspec import structs

from xrouter.domain.errors import InternalError, NotReady, XRouterError
from xrouter.domain.history import ResponseStore
from xrouter.domain.ports import SERVER_SHUTDOWN, Flow, KeyBook, SnapshotSource
from xrouter.domain.status import PublicStatus
from xrouter.domain.usage import new_id
from xrouter.edge import cors, dialects
from xrouter.edge.asgi import App, Message, Receive, Scope, Send
from xrouter.edge.background import Background
from xrouter.edge.health import Health
from xrouter.edge.heartbeat import Heartbeat
from xrouter.edge.limits import DoorLimits
from xrouter.edge.pages import Pages
from xrouter.edge.routes import (
    PREFIXES,
    Methods,
    RouteTable,
    scan,
    unknown_url,
    workers,
    wrong_method,
)
from xrouter.edge.shed import Shed, ShedHealth
from xrouter.edge.visit import STRANGERS_BODY, Means, Visit

_THEIRS = ("/control/", "/oauth/", "/.well-known/oauth-authorization-server")
_THEIR_PAGES = frozenset(
    {
        "/auth",
        "/api/v1/auth/keys",
        "/api/v1/auth/key",
        "/api/v1/key",
        "/api/v1/credits",
        "/api/v1/generation",
    }
)
_NO_CONTENT = 204
_LEAVING_RETRY_S = 1.0

_log = logging.getLogger(__name__)

Lifespan = Callable[[], AbstractAsyncContextManager[None]]


class Door:
    """The ASGI application of the data plane.

    metrics_text: renders the metrics; called in a thread. fallback: gets what lies under
    /control/, and what signs people and applications in. lifespan: entered before the first
    request, left after the last.
    other_openapi: the fallback's document, to be merged into ours. status: shown to everybody.
    """

    def __init__(
        self,
        flow: Flow,
        snapshots: SnapshotSource,
        keys: KeyBook,
        metrics_text: Callable[[], bytes],
        health: Health,
        *,
        responses: ResponseStore,
        limits: DoorLimits | None = None,
        fallback: App | None = None,
        lifespan: Lifespan | None = None,
        other_openapi: Callable[[], dict[str, Any]] | None = None,
        status: PublicStatus | None = None,
    ) -> None:
        limits = limits or DoorLimits()
        self.health = health
        self._heartbeat = Heartbeat(limits.heartbeat)
        self.shed = Shed(limits)
        self._means = Means(
            flow,
            snapshots,
            keys,
            responses,
            Background(),
            limits,
            self._heartbeat,
            self.shed,
            min(STRANGERS_BODY, limits.max_body),
        )
        self._workers = workers(dialects)
        self._fallback = fallback
        self._lifespan = lifespan
        self._visits: set[Visit] = set()
        self._table = RouteTable()
        routes = scan(dialects)
        for route in routes:
            self._table.add(route, PREFIXES)
        told = ShedHealth(health, self.shed)
        for page in Pages(told, metrics_text, routes, other_openapi, status).routes():
            self._table.add(structs.replace(page, vital=True))

    @property
    def running(self) -> int:
        """Requests that are being answered."""
        return len(self._visits)

    @property
    def busy(self) -> bool:
        """Whether something goes on in the background that a leaving server should wait for."""
        return self._means.background.ending > 0

    def leave(self) -> None:
        """Begin nothing new in the background."""
        self._means.background.leave()

    def cut(self) -> None:
        """End all that runs: each request is told that the server leaves, and settled."""
        for visit in list(self._visits):
            visit.cancellation.cancel(SERVER_SHUTDOWN)
        self._means.background.cut()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the process.

        Whatever happens, the caller gets one whole answer, or is gone.
        """
        if scope["type"] != "http":
            await self._no_request(scope, receive, send)
            return
        path: str = scope["path"]
        found = self._table.find(path)
        if found is None and self._fallback is not None and _is_theirs(path):
            await self._fallback(scope, receive, _numbered(send))
            return
        visit = Visit(scope, receive, send, self._means)
        self._visits.add(visit)
        try:
            try:
                await self._route(visit, found)(visit)
            except Exception as error:  # noqa: BLE001 - the last line of defence of a request
                await visit.refuse(_told(error, visit.request_id))
            else:
                if not visit.out.finished:
                    await visit.refuse(_unanswered(visit.request_id))
        except asyncio.CancelledError:
            if not visit.cancellation.is_ours():
                raise
            if visit.cancellation.reason == SERVER_SHUTDOWN:
                await visit.refuse(_leaving())
        finally:
            visit.leave()
            self._visits.discard(visit)

    def _route(
        self, visit: Visit, found: tuple[Methods, str] | None
    ) -> Callable[[Visit], Awaitable[None]]:
        """What serves it. Raises what it is refused with at the door."""
        method: str = visit.scope["method"]
        path: str = visit.scope["path"]
        visit.check_head()
        if found is None:
            visit.refusal = self._table.refusal(path) or visit.refusal
            raise unknown_url(method, path)
        methods, visit.rest = found
        if b"origin" in visit.headers:
            if method == "OPTIONS":
                return partial(_allow, methods)
            visit.out.headers += cors.ANSWER
        route = methods.get(method)
        if route is None:
            visit.out.headers.append((b"allow", ", ".join(methods).encode()))
            visit.refusal = self._table.refusal(path) or visit.refusal
            raise wrong_method(method, path)
        if route.refuse is not None:
            visit.refusal = route.refuse
        if not route.vital:
            visit.place = self.shed.enter(visit.headers)
        return route.serve

    async def _no_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._fallback is not None:
            await self._fallback(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """The ASGI lifespan: start, wait, stop. What goes wrong is told to the server."""
        async with AsyncExitStack() as stack:
            await receive()
            try:
                if self._lifespan is not None:
                    await stack.enter_async_context(self._lifespan())
            except Exception as error:  # noqa: BLE001 - the server has to be told
                _log.exception("could not start")
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            self._heartbeat.start()
            self.shed.start()
            background = self._means.background
            for worker in self._workers:
                background.start(worker.__module__, worker(self._means))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self.shed.stop()
            await self._heartbeat.stop()
            await background.close()
            try:
                await stack.aclose()
            except Exception as error:  # noqa: BLE001 - the server has to be told
                _log.exception("could not stop properly")
                await send({"type": "lifespan.shutdown.failed", "message": str(error)})
                return
            await send({"type": "lifespan.shutdown.complete"})


async def _allow(methods: Methods, visit: Visit) -> None:
    await visit.out.empty(_NO_CONTENT, *cors.preflight(visit.headers, methods))


def _is_theirs(path: str) -> bool:
    return path.startswith(_THEIRS) or path in _THEIR_PAGES


def _told(error: Exception, request_id: str) -> XRouterError:
    """What the caller is told."""
    if isinstance(error, XRouterError):
        return error
    _log.error("defect at the door, request_id=%s", request_id, exc_info=error)
    return InternalError("XRouter failed to handle the request; it has been recorded.")


def _unanswered(request_id: str) -> InternalError:
    _log.error("no answer was given, request_id=%s", request_id)
    return InternalError("XRouter did not answer the request; it has been recorded.")


def _leaving() -> NotReady:
    return NotReady(
        "The server is shutting down and could not finish the answer.",
        code=SERVER_SHUTDOWN,
        retry_after=_LEAVING_RETRY_S,
    )


def _numbered(send: Send) -> Send:
    """Let the fallback's answers have a request id, too."""

    async def numbered(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if all(name.lower() != b"x-request-id" for name, _ in headers):
                headers.append((b"x-request-id", new_id("req_").encode()))
            message = {**message, "headers": headers}
        await send(message)

    return numbered
