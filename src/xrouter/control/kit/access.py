"""Which routes are open to whom. A route that says nothing is the operators'."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import TypeVar

from fastapi import APIRouter
from starlette.routing import Route, compile_path

_MARK = "__xrouter_access__"

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


class Access(Enum):
    """PUBLIC: the route checks by its own means. GUEST: as PUBLIC, but not from pages of others.

    PERSON: whoever is signed in; the service checks the rest. OPERATOR: the admin token, operators.
    """

    PUBLIC = "public"
    GUEST = "guest"
    PERSON = "person"
    OPERATOR = "operator"


def open_to(access: Access) -> Callable[[Endpoint], Endpoint]:
    """Decorate an endpoint, below its route: who gets in. Without it, operators alone do."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MARK, access)
        return endpoint

    return mark


class Doors:
    """The accesses of an application's routes, in the order in which it looks for a match."""

    def __init__(self, routers: Iterable[tuple[str, APIRouter]] = ()) -> None:
        """routers: each with its prefix."""
        self._routes = [
            (
                compile_path(prefix + route.path)[0],
                frozenset(route.methods or ()),
                getattr(route.endpoint, _MARK, Access.OPERATOR),
            )
            for prefix, router in routers
            for route in router.routes
            if isinstance(route, Route)
        ]

    def access(self, method: str, path: str) -> Access:
        """Of the route that will answer; what matches none is the operators'."""
        for pattern, methods, access in self._routes:
            if method in methods and pattern.match(path):
                return access
        return Access.OPERATOR
