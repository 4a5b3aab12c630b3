"""Requests as no well-behaved client makes them, and the routes that there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from starlette.routing import Route
from tests.control.oauth.conftest import World

from xrouter.control import server
from xrouter.control.kit import access

SAFE = {"GET", "HEAD", "OPTIONS"}
PREFIX = "/control/v1"


async def ask(
    app: Any, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> tuple[int, bytes]:
    """One request, its target as it stands. Returns status and body."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": unquote(path),
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "client": ("203.0.113.66", 1),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    told: list[Any] = []
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return given.pop() if given else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        told.append(message)

    await app(scope, receive, send)
    return told[0]["status"], b"".join(each.get("body", b"") for each in told[1:])


def control_routes() -> Iterator[tuple[str, str, access.Access]]:
    """Method, path and access of each, also of those that no document names."""
    rooms = [*((PREFIX, room) for room in server._ROOMS), *(("", page) for page in server._PAGES)]
    for prefix, room in rooms:
        for route in room.routes:
            assert isinstance(route, Route)
            who = getattr(route.endpoint, access._MARK, access.Access.OPERATOR)
            for method in route.methods or ():
                yield method, prefix + route.path, who


def oauth_routes(world: World) -> Iterator[tuple[str, str]]:
    """Method and path of each page and endpoint of the authorization server."""
    for route in world.oauth.app.routes:
        assert isinstance(route, Route)
        for method in route.methods or ():
            yield method, route.path


def filled(path: str, **known: str) -> str:
    """With something in the place of each parameter."""
    steps = [
        known.get(step[1:-1].partition(":")[0], "1") if step.startswith("{") else step
        for step in path.split("/")
    ]
    return "/".join(steps)
