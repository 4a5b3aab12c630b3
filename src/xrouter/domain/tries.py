"""The port of what counts tries of passwords and secrets; `stores` makes it real."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence


class SharedTries(ABC):
    """Counts tries of passwords and secrets for all processes. Never raises: None where that
    cannot be done at the moment. Times in seconds.
    """

    @abstractmethod
    async def enter(
        self, tries: Mapping[str, int], longest_s: float, forget_s: float
    ) -> float | None:
        """Count a try of each, or of none: how long to wait instead, 0 when it is let in.

        tries: how many of each are free; each further one doubles the pause after it.
        """

    @abstractmethod
    async def passed(self, who: Sequence[str], back: str | None = None) -> None:
        """These begin anew. back: has its last try back."""

    @abstractmethod
    async def miss(self, who: str, window_s: float) -> tuple[int, float] | None:
        """Count a miss: how many there were in this window, and how long it lasts."""
