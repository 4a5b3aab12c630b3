"""What is said of the models in public: no endpoint, address or account is in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from msgspec import Struct

Condition = Literal["available", "degraded", "unavailable", "deprecated"]
"""degraded: answers, but some of what answers for it does not. deprecated: answers, and will go."""


class ModelStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model. channels: those that answer now.

    since: unix seconds when it came to be so, None when it has been so since before anybody
    watched. successor, retires_at (unix seconds): of a deprecated or retired one, if known.
    vanished: answers as its state says, but its provider's list has it no more.
    """

    id: str
    name: str
    provider: str
    state: Condition
    channels: tuple[str, ...]
    since: int | None = None
    successor: str | None = None
    retires_at: int | None = None
    vanished: bool = False


class StatusView(Struct, frozen=True):
    """All models that everybody may use, by id. watched_since: unix seconds."""

    watched_since: int
    models: tuple[ModelStatus, ...]


class PublicStatus(ABC):
    """Knows how the models are. Implemented by the flow, shown by the door."""

    @abstractmethod
    async def look(self) -> StatusView:
        """As of the last seconds; the same object while nothing changes. Raises NotReady."""
