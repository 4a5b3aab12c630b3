"""How much somebody may: limits of rates, quotas and budgets, all of one shape."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from xrouter.domain.identity import Principal

Meter = Literal["requests", "tokens", "running", "streams", "money"]
Window = Literal["minute", "day", "month", "total", "now"]

PLACES: tuple[Meter, ...] = ("running", "streams")
"""Meters of what is free again when a request has ended; of them alone the window is `now`."""

KINDS = ("key", "project", "organization", "user", "model", "version")
"""Of subjects."""
ALL = "*"

_MAX_NAME = 64


class Limit(Struct, frozen=True, kw_only=True):
    """A row of `limits`.

    subject: `key:<id>`, `project:<slug>`, `organization:<slug>`, `user:<end user>`, `model:<id>`,
    `version:<id>:<label>`; `<kind>:*` gives each of a kind as much. model: counts only what this
    model answers. amount: requests, tokens, calls at a time, or billionths of a ruble.
    warn_at: percent of the amount. `running` counts streams too, `streams` nothing else.
    """

    subject: str
    meter: Meter
    window: Window
    amount: int
    model: str | None = None
    time_zone: str = "Europe/Moscow"
    warn_at: int | None = None


class Tenant(Struct, frozen=True, kw_only=True):
    """Whose a project is. margin, vat: hundredths of a percent. groups: of all its keys."""

    project: str
    organization: str
    time_zone: str = "Europe/Moscow"
    margin: int = 0
    vat: int = 0
    is_active: bool = True
    groups: tuple[str, ...] = ()

    def entitle(self, principal: Principal) -> Principal:
        """With the access groups of the organisation."""
        if not self.groups:
            return principal
        return replace(principal, groups=principal.groups + self.groups)


def counter_of(subject: str, limit: Limit, project: str) -> str:
    """The name of what is counted. End users are known to their project alone."""
    kind, _, name = subject.partition(":")
    if kind == "user":
        if len(name) > _MAX_NAME:
            name = blake2b(name.encode("utf-8", "replace"), digest_size=16).hexdigest()
        subject = f"user:{project}/{name}"
    return f"{subject}|{limit.model or ALL}|{limit.meter}|{limit.window}"
