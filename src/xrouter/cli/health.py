"""xrouter health: how the providers' endpoints are and were."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from xrouter.cli.control import call
from xrouter.cli.output import show

app = typer.Typer(help="Health: endpoints now, incidents, uptime, running processes.")

STATES = ("provider", "endpoint", "state", "since", "cause", "p50_ms", "last_check")
INCIDENTS = (
    *("provider", "endpoint", "state", "started_at", "ended_at"),
    *("cause", "failed", "saved"),
)
UPTIME = ("name", "asked", "answered", "uptime_%", "sla_%")
INSTANCES = ("instance_id", "host", "pid", "role", "revision", "behind", "silent")
MAX_INCIDENTS = 1000


class Window(StrEnum):
    """Over which time uptime is measured."""

    hour = "1h"
    day = "24h"
    month = "30d"


class By(StrEnum):
    """Of what uptime is measured."""

    provider = "provider"
    endpoint = "endpoint"
    model = "model"
    version = "version"


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(invoke_without_command=True)
def states(context: typer.Context, as_json: Json = False) -> None:
    """Show how the endpoints are: healthy, degraded or down, since when and why."""
    if context.invoked_subcommand is not None:
        return
    rows = call("GET", "/health")["data"]
    if not as_json:
        for row in rows:
            row["state"] = row["state"] if row["enabled"] else "switched off"
            row["last_check"] = _outcome(row["last_check"])
    show(rows, STATES, as_json=as_json, empty="There are no endpoints: `xrouter providers add`.")


@app.command()
def incidents(
    provider: Annotated[str | None, typer.Option(help="Only this provider's.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that last.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=MAX_INCIDENTS, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """Show incidents, the newest first, and the requests that they cost or did not cost."""
    query = {"provider": provider, "open": True if only_open else None, "limit": limit}
    rows = call("GET", "/health/incidents", query=query)["data"]
    show(rows, INCIDENTS, as_json=as_json, empty="There are no incidents.")


@app.command()
def uptime(
    window: Annotated[Window, typer.Option(help="Over this time.")] = Window.day,
    by: Annotated[By, typer.Option(help="Of each of these.")] = By.provider,
    as_json: Json = False,
) -> None:
    """Show the share of attempts that were answered, and of minutes in which 95 % were."""
    rows = call("GET", "/health/uptime", query={"window": window.value, "by": by.value})["data"]
    if not as_json:
        for row in rows:
            row["uptime_%"], row["sla_%"] = row["uptime"], row["sla"]
    show(rows, UPTIME, as_json=as_json, empty="Nothing was asked in this time.")


@app.command()
def instances(as_json: Json = False) -> None:
    """Show the running processes, and which of them run an old revision of the catalog."""
    rows = call("GET", "/instances")["data"]
    show(rows, INSTANCES, as_json=as_json, empty="No process has been seen.")


def _outcome(check: dict[str, object] | None) -> str | None:
    if check is None:
        return None
    return "answered" if check["ok"] else str(check["error_code"])
