"""xrouter models: the catalog."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xrouter.cli import given
from xrouter.cli.control import call, every
from xrouter.cli.output import fail, print_json, show, working

app = typer.Typer(no_args_is_help=True, help="Models: list, sync, add, set, enable, remove ...")
version = typer.Typer(no_args_is_help=True, help="Versions of a model: add, remove.")
app.add_typer(version, name="version")

COLUMNS = ("model_id", "kind", "context_length", "is_available", "vanished", "channels")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelId = Annotated[str, typer.Argument(help="provider/name")]
Label = Annotated[str, typer.Argument(help="The version's label.")]
_VERSION = (
    *("label", "upstream", "channel", "status", "released_at", "retires_at", "weight"),
    "successor",
)


@app.command("list")
def list_(
    provider: Annotated[str | None, typer.Option(help="Only this provider's.")] = None,
    available: Annotated[bool | None, typer.Option("--available/--unavailable")] = None,
    as_json: Json = False,
) -> None:
    """Show the models."""
    rows = every("/models", {"provider": provider, "available": available})
    for row in rows:
        row["vanished"] = row["vanished_at"] is not None
        row["channels"] = [v["channel"] or v["label"] for v in row["versions"]]
    show(rows, COLUMNS, as_json=as_json, empty="There are no models: `xrouter models sync`.")


@app.command()
def sync(
    provider: Annotated[str | None, typer.Option(help="Only this provider's.")] = None,
    live: Annotated[bool, typer.Option(help="Also ask the providers for their lists.")] = False,
    as_json: Json = False,
) -> None:
    """Write the models that the adapters know, and with --live those the providers list."""
    if live:
        working("Asking the providers")
    done = call("POST", "/models/sync", {"provider": provider, "live": live})
    if as_json:
        print_json(done)
    else:
        counts = ("added", "updated", "unchanged", "vanished")
        typer.echo(", ".join(f"{done[what]} {what}" for what in counts))
        for failure in done["failed"]:
            typer.secho(f"{failure['provider']}: {failure['error']}", fg="red", err=True)
    if done["failed"]:
        raise typer.Exit(1)


@app.command()
def add(
    model_id: ModelId,
    upstream: Annotated[str | None, typer.Option(help="The provider's own name for it.")] = None,
    display_name: Annotated[str | None, typer.Option()] = None,
    context_length: Annotated[int | None, typer.Option(help="Tokens.")] = None,
    kind: Annotated[str, typer.Option(help="chat or embeddings")] = "chat",
    adapter: Annotated[str | None, typer.Option(help="Dotted path of the adapter class.")] = None,
    as_json: Json = False,
) -> None:
    """Add a model. It answers within a second, without a restart."""
    provider, slash, name = model_id.partition("/")
    if not slash or not name:
        raise fail(f"'{model_id}' is not a model id.", "It is made of provider/name.")
    body: dict[str, Any] = {
        "model_id": model_id,
        "provider": provider,
        "kind": kind,
        "display_name": display_name,
        "context_length": context_length,
        "adapter_class": adapter,
    }
    if upstream is not None:
        body["versions"] = [{"label": "latest", "channel": "latest", "upstream": upstream}]
    made = call("POST", "/models", {k: v for k, v in body.items() if v is not None})
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{model_id} is added.")


@app.command("set")
def set_(
    model_id: ModelId,
    policy: Annotated[
        str | None, typer.Option(help="Fields of the policy, JSON; null takes one back.")
    ] = None,
    context_length: Annotated[int | None, typer.Option(help="Tokens.")] = None,
    group: Annotated[str | None, typer.Option(help="Who may use it; - for everybody.")] = None,
) -> None:
    """Change a model; what is not given stays, also of its policy."""
    body: dict[str, Any] = {}
    seen: str | None = None
    if context_length is not None:
        body["context_length"] = context_length
    if group is not None:
        body["access_group"] = None if group == "-" else group
    if policy is not None:
        now = call("GET", f"/models/{model_id}")
        seen = now["etag"]
        said = now["policy"] | given.json_object(policy, "The policy")
        body["policy"] = {field: value for field, value in said.items() if value is not None}
    if not body:
        raise fail("There is nothing to change.", "Give --policy, --context-length or --group.")
    call("PATCH", f"/models/{model_id}", body, if_match=seen)
    typer.echo(f"{model_id} is changed.")


@version.command("add")
def add_version(
    model_id: ModelId,
    label: Label,
    upstream: Annotated[str, typer.Option(help="The provider's own name for it.")],
    channel: Annotated[str | None, typer.Option(help="latest, rc, deprecated or none.")] = None,
) -> None:
    """Add a version behind the others; `releases plan` makes it the latest one."""
    fresh = {"label": label, "upstream": upstream, "channel": channel}
    known, seen = _versions(model_id)
    _put_versions(model_id, [*known, fresh], seen)
    typer.echo(f"{model_id}:{label} is added.")


@version.command("remove")
def remove_version(model_id: ModelId, label: Label) -> None:
    """Take a version out."""
    known, seen = _versions(model_id)
    kept = [each for each in known if each["label"] != label]
    if len(kept) == len(known):
        labels = ", ".join(each["label"] for each in known)
        raise fail(f"{model_id} has no version {label}.", f"It has: {labels}.")
    _put_versions(model_id, kept, seen)
    typer.echo(f"{model_id}:{label} is removed.")


def _versions(model_id: str) -> tuple[list[dict[str, Any]], str]:
    """The versions of a model, and the model's etag."""
    found = call("GET", f"/models/{model_id}")
    return [{name: each[name] for name in _VERSION} for each in found["versions"]], found["etag"]


def _put_versions(model_id: str, versions: list[dict[str, Any]], seen: str) -> None:
    call("PATCH", f"/models/{model_id}", {"versions": versions}, if_match=seen)


@app.command()
def enable(model_id: ModelId) -> None:
    """Let a model answer."""
    call("PATCH", f"/models/{model_id}", {"is_available": True})
    typer.echo(f"{model_id} is available.")


@app.command()
def disable(model_id: ModelId) -> None:
    """Switch a model off; requests for it get a clear error."""
    call("PATCH", f"/models/{model_id}", {"is_available": False})
    typer.echo(f"{model_id} is switched off.")


@app.command()
def remove(model_id: ModelId) -> None:
    """Delete a model's row. A sync may bring it back: to keep it away, disable it."""
    call("DELETE", f"/models/{model_id}")
    typer.echo(f"{model_id} is removed.")
