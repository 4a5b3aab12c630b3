"""How much somebody may: limits of rates, quotas and budgets, all of one shape."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Meter = Literal["requests", "tokens", "running", "money"]
Window = Literal["minute", "day", "month", "total", "now"]


class Limit(Struct, frozen=True, kw_only=True):
    """A row of `limits`.

    subject: `key:<id>`, `project:<slug>`, `organization:<slug>`, `user:<end user>`, `model:<id>`,
    `version:<id>:<label>`; `<kind>:*` gives each of a kind as much. model: counts only what this
    model answers. amount: requests, tokens, calls at a time, or billionths of a ruble.
    warn_at: percent of the amount.
    """

    subject: str
    meter: Meter
    window: Window
    amount: int
    model: str | None = None
    time_zone: str = "Europe/Moscow"
    warn_at: int | None = None


class Tenant(Struct, frozen=True, kw_only=True):
    """Whose a project is. margin, vat: hundredths of a percent."""

    project: str
    organization: str
    time_zone: str = "Europe/Moscow"
    margin: int = 0
    vat: int = 0
    is_active: bool = True
