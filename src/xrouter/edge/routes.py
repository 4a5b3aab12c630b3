"""From a path and a method to what serves it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import ModuleType
from typing import Any

from msgspec import Struct

from xrouter.domain.errors import MethodNotAllowed, NotFound
from xrouter.edge.visit import Means, Refusal, Visit

PREFIXES = ("/v1", "/api/v1", "")
_REST = "/*"
_SHOWN = 200
_DEEPEST = 8


class Route(Struct, frozen=True, kw_only=True):
    """One operation of a dialect, or a page of the door.

    path: without prefix; `/models/*` takes any rest, slashes too. serve: answers, or raises an
    XRouterError before anything was sent. request, answer and example (of a request body): for the
    OpenAPI document. streams: the answer may be an event stream. refuse: the body of an error (and
    the request id) in the dialect's words, None for OpenAI's. vital: answered under any load.
    """

    method: str
    path: str
    serve: Callable[[Visit], Awaitable[None]]
    summary: str = ""
    request: type | None = None
    answer: type | None = None
    example: dict[str, Any] | None = None
    streams: bool = False
    refuse: Refusal | None = None
    vital: bool = False


Methods = dict[str, Route]


class RouteTable:
    """Finds routes by exact path first, then by the beginnings that leave a rest."""

    def __init__(self) -> None:
        self._exact: dict[str, Methods] = {}
        self._open: dict[str, Methods] = {}

    def add(self, route: Route, prefixes: Iterable[str] = ("",)) -> None:
        """Serve a route under each prefix, with and without a slash at its end."""
        for prefix in prefixes:
            path = prefix + route.path
            if path.endswith(_REST):
                self._put(self._open, path.removesuffix("*"), route)
            else:
                self._put(self._exact, path, route)
                if path != "/":
                    self._put(self._exact, path + "/", route)

    def find(self, path: str) -> tuple[Methods, str] | None:
        """The methods of a path and the rest of it, or None."""
        methods = self._exact.get(path)
        if methods is not None:
            return methods, ""
        for beginning, open_methods in self._open.items():
            if path.startswith(beginning) and len(path) > len(beginning):
                return open_methods, path[len(beginning) :].rstrip("/")
        return None

    def refusal(self, path: str) -> Refusal | None:
        """How the dialect that has this path, or one that it goes on from, tells an error."""
        parts = path.split("/", _DEEPEST)
        for count in range(len(parts), 1, -1):
            methods = self._exact.get("/".join(parts[:count]))
            if methods is not None:
                return next(iter(methods.values())).refuse
        return None

    @staticmethod
    def _put(table: dict[str, Methods], path: str, route: Route) -> None:
        methods = table.setdefault(path, {})
        methods[route.method] = route
        if route.method == "GET":
            methods["HEAD"] = route


def scan(package: ModuleType) -> list[Route]:
    """The ROUTES of the module `routes` in each package under `package`."""
    found: list[Route] = []
    for entry in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{entry.name}.routes")
        found += module.ROUTES
    return found


def workers(package: ModuleType) -> list[Callable[[Means], Coroutine[Any, Any, None]]]:
    """The `work` of those modules `routes` that have one: it runs as long as the door is open."""
    found = []
    for entry in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{entry.name}.routes")
        if hasattr(module, "work"):
            found.append(module.work)
    return found


def unknown_url(method: str, path: str) -> NotFound:
    """404."""
    return NotFound(
        f"Unknown request URL: {method} {path[:_SHOWN]}.",
        code="unknown_url",
        hint="GET /openapi.json lists what there is.",
    )


def wrong_method(method: str, path: str) -> MethodNotAllowed:
    """405."""
    return MethodNotAllowed(f"Not allowed to {method} on {path[:_SHOWN]}.")
