"""xrouter usage: what was asked and what it took."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from xrouter.cli.control import call
from xrouter.cli.output import show

SUMS = ("group", "requests", "errors", "cancelled", "tokens_in", "tokens_out", "tokens_cached")
EVENTS = (
    "at",
    "status",
    "model_served",
    "version",
    "endpoint",
    "attempts",
    "tokens_in",
    "tokens_out",
    "total_ms",
    "request_id",
)
MAX_EVENTS = 1000


class By(StrEnum):
    """What usage is summed by."""

    model = "model"
    key = "key"
    provider = "provider"
    day = "day"


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Since = Annotated[str | None, typer.Option(help="ISO 8601 with a zone.")]


def usage(
    by: Annotated[By, typer.Option(help="Sum by this.")] = By.model,
    since: Since = None,
    until: Since = None,
    events: Annotated[
        int | None, typer.Option(min=1, max=MAX_EVENTS, help="Show so many single requests.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show usage: sums by model, key, provider or day, or the last single requests."""
    period = {"since": since, "until": until}
    if events is not None:
        rows = call("GET", "/usage", query=period | {"limit": events})["data"]
        show(rows, EVENTS, as_json=as_json, empty="Nothing was asked yet.")
        return
    sums = call("GET", "/usage/summary", query=period | {"group_by": by.value})["data"]
    show(sums, SUMS, as_json=as_json, empty="Nothing was asked yet.")
