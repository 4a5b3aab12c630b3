"""Shapes of the audit log's API."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from xrouter.control.kit.schemas import Id, In, Moment, Name, Out

MAX_PAGE = 1000


class AuditQuery(In):
    """organization: its slug. after: an id; what is older. actor, action, object: just these."""

    organization: Name | None = None
    actor: Id | None = None
    action: Id | None = None
    object: Id | None = None
    after: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100


class EventOut(Out):
    """What happened. digest: SHA-256 over this event and all before it, hexadecimal."""

    id: int
    at: Moment
    actor: str
    ip: str | None
    action: str
    object: str
    organization: str | None
    detail: dict[str, Any]
    digest: str


class EventsOut(Out):
    """Part of the log, the newest first. next: what to send as `after`, None at the end."""

    data: list[EventOut]
    next: int | None = None


class ChainOut(Out):
    """Whether the log is as it was written. broken_at: id of the first row that is not.

    count: of rows that are right. head: digest of the last of them; whoever keeps it elsewhere can
    tell whether the end of the log was cut off.
    """

    is_intact: bool
    count: int
    head: str | None
    broken_at: int | None = None
