"""The door's own pages: health, metrics, the OpenAPI document and its reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xrouter.domain.status import PublicStatus
from xrouter.edge.health import Health
from xrouter.edge.openapi import document, merge
from xrouter.edge.outlet import JSON
from xrouter.edge.routes import Route
from xrouter.edge.status import StatusPages
from xrouter.edge.visit import Visit
from xrouter.edge.voice import encode

_PAGE = Path(__file__).with_name("page")
_OK = 200
_NOT_READY = 503
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_FRESH = (b"cache-control", b"no-store")
_POLICY = (
    b"content-security-policy",
    (
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
)
_SAFE = (_POLICY, (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_FILES = {
    "/docs": ("index.html", b"text/html; charset=utf-8"),
    "/docs/app.js": ("app.js", b"text/javascript; charset=utf-8"),
    "/docs/app.css": ("app.css", b"text/css; charset=utf-8"),
}


class Pages:
    """Serves what is not a model request.

    metrics_text: takes milliseconds, so it runs in a thread. hot: the routes to be documented.
    status: of the models, None where it is nobody's business.
    """

    def __init__(
        self,
        health: Health,
        metrics_text: Callable[[], bytes],
        hot: list[Route],
        other_openapi: Callable[[], dict[str, Any]] | None,
        status: PublicStatus | None = None,
    ) -> None:
        self._health = health
        self._metrics_text = metrics_text
        self._hot = hot
        self._other = other_openapi
        self._status = StatusPages(status) if status is not None else None
        self._openapi: bytes | None = None

    def routes(self) -> list[Route]:
        """All pages."""
        pages = {
            "/": self._root,
            "/health/live": self._live,
            "/health/ready": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": self._document,
        }
        found = [Route(method="GET", path=path, serve=serve) for path, serve in pages.items()]
        for path, (name, kind) in _FILES.items():
            found.append(Route(method="GET", path=path, serve=_file(_PAGE / name, kind)))
        return found + (self._status.routes() if self._status is not None else [])

    async def _root(self, visit: Visit) -> None:
        about = {
            "name": "XRouter",
            "api": "/v1",
            "docs": "/docs",
            "openapi": "/openapi.json",
            "health": "/health/ready",
        }
        await visit.out.whole(_OK, JSON, encode(about))

    async def _live(self, visit: Visit) -> None:
        await visit.out.whole(_OK, JSON, b'{"status":"live"}', _FRESH)

    async def _ready(self, visit: Visit) -> None:
        state = self._health.readiness()
        status = _OK if state.ready else _NOT_READY
        await visit.out.whole(status, JSON, encode(state), _FRESH)

    async def _metrics(self, visit: Visit) -> None:
        text = await asyncio.to_thread(self._metrics_text)
        await visit.out.whole(_OK, _PROMETHEUS, text, _FRESH)

    async def _document(self, visit: Visit) -> None:
        if self._openapi is None:
            ours = document(self._hot)
            self._openapi = encode(merge(ours, self._other()) if self._other else ours)
        await visit.out.whole(_OK, JSON, self._openapi)


def _file(path: Path, kind: bytes) -> Callable[[Visit], Any]:
    content = path.read_bytes()

    async def serve(visit: Visit) -> None:
        await visit.out.whole(_OK, kind, content, *_SAFE)

    return serve
