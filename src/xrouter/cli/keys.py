"""xrouter keys: API keys of applications."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from xrouter.cli.control import call
from xrouter.cli.output import fail, print_json, show

app = typer.Typer(no_args_is_help=True, help="API keys: create, list, set, rotate, revoke.")

COLUMNS = ("key_id", "name", "project", "rpm", "last_used_at", "expires_at", "revoked_at")
HELD = ("groups", "scopes", "models", "ip_ranges", "tags")
CHANGED = ("key_id", "name", "project", "rpm", *HELD, "expires_at")
NEVER = "never"
KeyId = Annotated[str, typer.Argument(help="The key's public id.")]
Groups = Annotated[list[str] | None, typer.Option("--group", help="Access group.")]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help="chat, embeddings, images, audio, moderations or models."),
]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="provider/model, provider/* or route/name.")
]
Ranges = Annotated[
    list[str] | None, typer.Option("--ip", help="Addresses that it works from: 10.0.0.0/8.")
]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="For you; nothing hangs on it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    project: Annotated[str | None, typer.Option(help="The project it belongs to.")] = None,
    rpm: Annotated[int | None, typer.Option(help="At most so many requests a minute.")] = None,
    expires: Annotated[str | None, typer.Option(help="ISO 8601, for example 2027-01-31.")] = None,
    group: Groups = None,
    scope: Scopes = None,
    model: Models = None,
    ip: Ranges = None,
    tag: Tags = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once and cannot be shown again.

    Options for one of several things may be repeated; without them a key may do all.
    """
    body = {
        "name": name,
        "project": project,
        "rpm": rpm,
        "expires_at": _moment(expires),
        **_held(group, scope, model, ip, tag),
    }
    made = call("POST", "/keys", {k: v for k, v in body.items() if v is not None})
    _tell(made, as_json=as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Show all keys, without their secrets."""
    show(call("GET", "/keys")["data"], COLUMNS, as_json=as_json, empty="There are no keys yet.")


@app.command("set")
def set_(
    key_id: KeyId,
    name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    project: Annotated[str | None, typer.Option(help="The project it belongs to.")] = None,
    rpm: Annotated[int | None, typer.Option(help="Requests a minute; 0 for no limit.")] = None,
    expires: Annotated[str | None, typer.Option(help="ISO 8601, or 'never'.")] = None,
    group: Groups = None,
    scope: Scopes = None,
    model: Models = None,
    ip: Ranges = None,
    tag: Tags = None,
    as_json: Json = False,
) -> None:
    """Change a key; what is not given stays. Takes effect within a second.

    Of what may be repeated all are given; '' for none.
    """
    body: dict[str, Any] = {"name": name, "project": project}
    body = {field: value for field, value in body.items() if value is not None}
    if rpm is not None:
        body["rpm"] = rpm or None
    if expires is not None:
        body["expires_at"] = None if expires == NEVER else _moment(expires)
    body |= _held(group, scope, model, ip, tag)
    if not body:
        raise fail("There is nothing to change.", "`xrouter keys set --help` lists what can be.")
    changed = call("PATCH", f"/keys/{key_id}", body)
    show([changed], CHANGED, as_json=as_json, empty="")


@app.command()
def rotate(
    key_id: KeyId,
    grace: Annotated[
        int, typer.Option(help="Seconds for which the secret before it stays good.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Give a key a fresh secret. It is shown once and cannot be shown again."""
    _tell(call("POST", f"/keys/{key_id}/rotate", {"grace_seconds": grace}), as_json=as_json)


@app.command("revoke-all")
def revoke_all(
    project: Annotated[str, typer.Option(help="The project whose keys have leaked.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Refuse all keys of a project from now on, for good. Takes effect within a second."""
    if not yes and typer.prompt(f"This cannot be undone. Type '{project}' to go on") != project:
        raise fail("Nothing was revoked.")
    body = {"project": project, "confirm": project}
    done = call("POST", "/keys/revoke-all", body)
    typer.echo(f"{done['revoked']} keys of the project '{project}' are revoked.")


@app.command()
def revoke(key_id: KeyId) -> None:
    """Refuse a key from now on. Takes effect within a second."""
    call("POST", f"/keys/{key_id}/revoke")
    typer.echo(f"Key {key_id} is revoked.")


def _held(*given: list[str] | None) -> dict[str, list[str]]:
    """What a key is held to, by field, of what was given."""
    named = zip(HELD, given, strict=True)
    return {name: [each for each in values if each] for name, values in named if values}


def _tell(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    typer.echo(made["key"])
    typer.echo(f"Key {made['key_id']}: keep it, it is not shown again.", err=True)


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise fail(f"'{text}' is not an ISO 8601 date.", "For example 2027-01-31.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
