"""xrouter keys: API keys of applications."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from xrouter.cli.control import call
from xrouter.cli.output import fail, print_json, show

app = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")

COLUMNS = ("key_id", "name", "project", "rpm", "created_at", "expires_at", "revoked_at")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    project: Annotated[str | None, typer.Option(help="The project it belongs to.")] = None,
    rpm: Annotated[int | None, typer.Option(help="At most so many requests a minute.")] = None,
    expires: Annotated[str | None, typer.Option(help="ISO 8601, for example 2027-01-31.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Access group; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once and cannot be shown again."""
    body = {
        "name": name,
        "project": project,
        "rpm": rpm,
        "expires_at": _moment(expires),
        "groups": group,
    }
    made = call("POST", "/keys", {k: v for k, v in body.items() if v is not None})
    if as_json:
        print_json(made)
        return
    typer.echo(made["key"])
    typer.echo(f"Key {made['key_id']}: keep it, it is not shown again.", err=True)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Show all keys, without their secrets."""
    show(call("GET", "/keys")["data"], COLUMNS, as_json=as_json, empty="There are no keys yet.")


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The key's public id.")]) -> None:
    """Refuse a key from now on. Takes effect within a second."""
    call("POST", f"/keys/{key_id}/revoke")
    typer.echo(f"Key {key_id} is revoked.")


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise fail(f"'{text}' is not an ISO 8601 date.", "For example 2027-01-31.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
