"""What is under way to providers, so that it is known of a process that was killed."""

from __future__ import annotations

from abc import ABC, abstractmethod

from msgspec import Struct


class Sent(Struct, frozen=True, array_like=True):
    """A call to a provider that goes out now. at: unix seconds. asked: the model by the caller.

    calls: by which the same is asked. characters: of the prompt.
    """

    event_id: str
    request_id: str
    at: float
    key_id: str | None
    project: str | None
    end_user: str | None
    asked: str
    model: str
    version: str
    provider: str
    endpoint: str
    attempts: int
    calls: int
    streamed: bool
    characters: int


class Track(ABC):
    """Where it is kept. Nothing here waits or fails."""

    @abstractmethod
    def put(self, sent: Sent) -> int | None:
        """Keep it until it is cleared; the slot, None where it cannot be kept."""

    @abstractmethod
    def clear(self, slot: int) -> None:
        """Its usage event is written, or takes another slot's place."""
