"""How endpoints get at their services: by type, from the application's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Depends
from starlette.requests import Request

T = TypeVar("T")


class Rooms:
    """The services of an application, one of each type."""

    def __init__(self, *services: object) -> None:
        self._services = {type(service): service for service in services}

    def get(self, kind: type[T]) -> T:
        """The service of this type."""
        found: Any = self._services[kind]
        service: T = found
        return service


def room(kind: type[T]) -> Any:
    """A FastAPI dependency: the service of this type."""
    return Depends(_finder(kind))


def _finder(kind: type[T]) -> Callable[[Request], T]:
    def find(request: Request) -> T:
        rooms: Rooms = request.app.state.rooms
        return rooms.get(kind)

    return find
