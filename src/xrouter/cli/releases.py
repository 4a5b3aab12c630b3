"""xrouter releases: new versions at a time, watched while few get them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from xrouter.cli.control import call
from xrouter.cli.output import fail, print_json, show

app = typer.Typer(
    no_args_is_help=True,
    help="Releases of versions: list, plan, show, cancel, rollback; builds and drift.",
)

COLUMNS = ("id", "model_id", "label", "channel", "at", "status", "reason")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Number = Annotated[int, typer.Argument(help="Of the release.", min=1)]
Model = Annotated[str | None, typer.Option(help="Only this model's.")]
When = Annotated[str, typer.Option(help="ISO 8601 with a zone, or `now`.")]
Until = Annotated[str | None, typer.Option(help="ISO 8601 with a zone.")]


@app.command("list")
def list_(
    model: Model = None,
    status: Annotated[str | None, typer.Option(help="planned, canary, done ...")] = None,
    as_json: Json = False,
) -> None:
    """Show releases, the newest first."""
    rows = call("GET", "/releases", query={"model_id": model, "status": status})["data"]
    show(rows, COLUMNS, as_json=as_json, empty="There are no releases: `xrouter releases plan`.")


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="provider/name")],
    label: Annotated[str, typer.Argument(help="Of the version that is to be released.")],
    at: When = "now",
    channel: Annotated[str, typer.Option(help="That is to lead to it.")] = "latest",
    retire_at: Until = None,
    canary: Annotated[
        float | None, typer.Option(help="Share of the requests that get it first, 0 to 1.")
    ] = None,
    canary_from: Until = None,
    by: Annotated[
        str, typer.Option(help="What makes the share stick: key, user, request.")
    ] = "key",
    max_errors: Annotated[float | None, typer.Option(help="Share of failures, 0 to 1.")] = None,
    max_slowdown: Annotated[float | None, typer.Option(help="1.5: half as slow again.")] = None,
    max_refusals: Annotated[float | None, typer.Option(help="Share of refusals, 0 to 1.")] = None,
    min_requests: Annotated[int | None, typer.Option(help="Before the bounds count.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would change.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let a channel lead to another version at a time; by default at once."""
    bounds = {
        "max_errors": max_errors,
        "max_slowdown": max_slowdown,
        "max_refusals": max_refusals,
        "min_requests": min_requests,
    }
    given = {name: value for name, value in bounds.items() if value is not None}
    if canary is None and (given or canary_from is not None):
        raise fail("Bounds are those of a canary.", "Give its share with --canary.")
    body: dict[str, Any] = {
        "model_id": model,
        "label": label,
        "channel": channel,
        "at": datetime.now(UTC).isoformat() if at == "now" else at,
        "dry_run": dry_run,
    }
    body |= {} if retire_at is None else {"retire_at": retire_at}
    body |= {} if canary_from is None else {"canary_from": canary_from}
    body |= {} if canary is None else {"canary": {"share": canary, "by": by} | given}
    _tell(call("POST", "/releases", body), as_json=as_json)


@app.command("show")
def show_(number: Number, as_json: Json = False) -> None:
    """Show a release and what it will change."""
    _tell(call("GET", f"/releases/{number}"), as_json=as_json)


@app.command()
def cancel(number: Number) -> None:
    """Let a release that is not done go no further."""
    call("POST", f"/releases/{number}/cancel")
    typer.echo(f"The release {number} is cancelled.")


@app.command()
def rollback(
    number: Number, reason: Annotated[str | None, typer.Option(help="For the records.")] = None
) -> None:
    """Take a canary away, or let the channel lead to the version before."""
    done = call("POST", f"/releases/{number}/rollback", {"reason": reason})
    now = done["replaced"]
    what = f"{done['channel']} leads to {now} again" if now else f"{done['label']} is out"
    typer.echo(f"The release {number} is rolled back: {what}.")


@app.command()
def builds(model: Model = None, as_json: Json = False) -> None:
    """Show the builds that have answered, as the providers named them."""
    rows = call("GET", "/builds", query={"model_id": model})["data"]
    columns = ("model_id", "version", "endpoint", "build", "answers")
    show(rows, columns, as_json=as_json, empty="No provider has named a build yet.")


@app.command()
def drift(model: Model = None, as_json: Json = False) -> None:
    """Show builds that appeared behind a name that had another."""
    rows = call("GET", "/drift", query={"model_id": model})["data"]
    for row in rows:
        row["since"] = datetime.fromtimestamp(row["first_seen"], UTC).isoformat(timespec="seconds")
    columns = ("model_id", "version", "endpoint", "old", "new", "since")
    show(rows, columns, as_json=as_json, empty="No name has begun to mean another build.")


def _tell(release: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(release)
        return
    what = "A release" if release["id"] is None else f"Release {release['id']}"
    typer.secho(
        f"{what}: {release['model_id']} {release['channel']} -> {release['label']} "
        f"at {release['at']}, {release['status']}",
        bold=True,
    )
    if release["reason"]:
        typer.echo(f"  {release['reason']}")
    for step in release["diff"]:
        typer.echo(f"  {step['at']}  {step['path']}: {step['old']} -> {step['new']}")
