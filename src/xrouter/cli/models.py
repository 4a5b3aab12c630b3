"""xrouter models: the catalog."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xrouter.cli.control import call
from xrouter.cli.output import fail, print_json, show, working

app = typer.Typer(no_args_is_help=True, help="Models: list, sync, add, enable, disable, remove.")

COLUMNS = ("model_id", "kind", "context_length", "is_available", "channels")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelId = Annotated[str, typer.Argument(help="provider/name")]


@app.command("list")
def list_(
    provider: Annotated[str | None, typer.Option(help="Only this provider's.")] = None,
    available: Annotated[bool | None, typer.Option("--available/--unavailable")] = None,
    as_json: Json = False,
) -> None:
    """Show the models."""
    rows = everything({"provider": provider, "available": available})
    for row in rows:
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


def everything(query: dict[str, Any]) -> list[dict[str, Any]]:
    """All pages of the model list."""
    rows: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = call("GET", "/models", query=query | {"after": after})
        rows += page["data"]
        after = page.get("next")
        if after is None:
            return rows
