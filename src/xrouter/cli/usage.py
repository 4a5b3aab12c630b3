"""xrouter usage: what was asked and what it took."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xrouter.cli.control import call, every
from xrouter.cli.output import fail, show
from xrouter.cli.sheets import whole

SUMS = (
    "requests", "errors", "cancelled", "tokens_in", "tokens_out", "tokens_cached", "unknown",
    "total",
)  # fmt: skip
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
DIMENSIONS = (
    "organization", "project", "key", "end_user", "model", "requested", "version", "provider",
    "endpoint", "route", "operation", "status", "outcome", "error", "finish", "streamed", "cached",
    "hour", "day", "month",
)  # fmt: skip


def _known(by: str) -> str:
    unknown = [name for name in by.split(",") if name not in DIMENSIONS]
    if unknown:
        raise typer.BadParameter(f"'{unknown[0]}' is none of: {', '.join(DIMENSIONS)}.")
    return by


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Since = Annotated[str | None, typer.Option(help="ISO 8601 with a zone.")]
Only = Annotated[str | None, typer.Option(help="Only this one's.")]


def usage(
    by: Annotated[
        str,
        typer.Option(
            callback=_known,
            help=f"Sum by these, up to five, with commas between: {', '.join(DIMENSIONS)}.",
        ),
    ] = "model",
    since: Since = None,
    until: Since = None,
    organization: Only = None,
    project: Only = None,
    key: Only = None,
    model: Only = None,
    end_user: Only = None,
    provider: Only = None,
    time_zone: Annotated[str | None, typer.Option(help="Of hours and days, UTC.")] = None,
    events: Annotated[
        int | None, typer.Option(min=1, max=MAX_EVENTS, help="Show so many single requests.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the sums into this file.")] = None,
    as_json: Json = False,
) -> None:
    """Show usage: sums by anything, or the last single requests."""
    query = {
        "since": since,
        "until": until,
        "organization": organization,
        "project": project,
        "key_id": key,
        "model": model,
        "end_user": end_user,
        "provider": provider,
    }
    if events is not None:
        rows = call("GET", "/usage", query=query | {"limit": events})["data"]
        show(rows, EVENTS, as_json=as_json, empty="Nothing was asked yet.")
        return
    query |= {"group_by": by, "time_zone": time_zone}
    if csv is not None:
        save(csv, whole("/usage/summary", query, len))
        return
    rows = [_flat(row) for row in every("/usage/summary", query)]
    columns = (*by.split(","), *SUMS)
    show(rows, columns, as_json=as_json, empty="Nothing was asked yet.")


def save(file: Path, data: bytes) -> None:
    """Write what was fetched, and say so."""
    try:
        file.write_bytes(data)
    except OSError as error:
        raise fail(f"The file {file} cannot be written: {error}") from None
    typer.echo(f"{file}: {len(data)} bytes.")


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The dimensions beside the sums, money as its rubles."""
    group: dict[str, Any] = row.pop("group")
    return group | {n: v["rubles"] if isinstance(v, dict) else v for n, v in row.items()}
