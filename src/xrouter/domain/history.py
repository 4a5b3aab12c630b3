"""Answers that are kept, so that a later request may go on from them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from msgspec import Struct


class StoredResponse(Struct, frozen=True):
    """One answer of the Responses API and what led to it. Belongs to a project.

    created_at: unix seconds. body: the response object, JSON. input: the items it was asked with,
    a JSON array. items: the conversation so far, its output included: what a follow-up begins with,
    sealed reasoning too. dropped: what of the request was given up.
    """

    id: str
    project: str
    created_at: float
    body: bytes
    input: bytes
    items: bytes
    dropped: tuple[str, ...] = ()


class StoredJob(Struct, frozen=True):
    """Work on an answer that goes on when nobody waits for it. data: what is needed to go on."""

    id: str
    data: bytes


class ResponseStore(ABC):
    """Keeps answers for a bounded time, and the work on those that are not there yet."""

    @abstractmethod
    def keep(self, response: StoredResponse) -> None:
        """Keep it, or replace the one of this id; at once to be found in this process.

        Never waits: what was kept in the last moments may be lost if the process is killed.
        """

    @abstractmethod
    async def find(self, response_id: str, project: str) -> StoredResponse | None:
        """The answer of this id if it is the project's, else None."""

    @abstractmethod
    async def remove(self, response_id: str, project: str) -> bool:
        """Forget it; whether it was there."""

    @abstractmethod
    async def begin(self, job: StoredJob) -> None:
        """Write down, for good, that this process works on it; or replace what was written."""

    @abstractmethod
    async def finish(self, job_id: str) -> None:
        """The work is over."""

    @abstractmethod
    async def abandoned(self) -> list[StoredJob]:
        """Work that was begun by a process that is gone; it is this one's now.

        To be asked every few seconds: that also says that this process is still there.
        """
