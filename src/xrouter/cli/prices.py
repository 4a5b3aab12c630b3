"""xrouter prices: what models cost, and where that is from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from xrouter.cli.control import call, every
from xrouter.cli.output import print_json, show

app = typer.Typer(no_args_is_help=True, help="Prices: list, add, remove, import.")

COLUMNS = (
    "id", "model", "version", "mode", "currency", "input", "output", "cached_input", "cache_write",
    "reasoning", "request", "image", "effective_from", "in_force", "source",
)  # fmt: skip

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    model: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    as_json: Json = False,
) -> None:
    """List prices for a million tokens, with where each is from."""
    found = every("/prices", {"model": model})
    show(found, COLUMNS, as_json=as_json, empty="There are no prices: `xrouter prices import`.")


@app.command()
def add(
    model: Annotated[str, typer.Argument(help="Its id: provider/name.")],
    input_: Annotated[str, typer.Option("--input", help="For a million tokens of prompts.")],
    output: Annotated[str, typer.Option(help="For a million tokens of answers.")],
    source: Annotated[str, typer.Option(help="Where the price is from, with its date.")],
    version: Annotated[str | None, typer.Option(help="A label; all versions without.")] = None,
    currency: Annotated[str, typer.Option(help="RUB, USD ...")] = "RUB",
    cached_input: Annotated[str | None, typer.Option(help="For a million cached tokens.")] = None,
    cache_write: Annotated[str | None, typer.Option(help="For a million kept tokens.")] = None,
    reasoning: Annotated[str | None, typer.Option(help="For a million tokens of thought.")] = None,
    request: Annotated[str, typer.Option(help="For each request.")] = "0",
    image: Annotated[str | None, typer.Option(help="For each picture drawn.")] = None,
    deferred: Annotated[
        bool, typer.Option("--deferred", help="Of answers that are left for later.")
    ] = False,
    since: Annotated[str | None, typer.Option(help="From when on; now without.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a model costs from a moment on. Earlier prices hold until then."""
    body = {
        "model": model,
        "version": version,
        "currency": currency,
        "input": input_,
        "output": output,
        "cached_input": cached_input,
        "cache_write": cache_write,
        "reasoning": reasoning,
        "request": request,
        "image": image,
        "mode": "deferred" if deferred else "sync",
        "effective_from": since or datetime.now(UTC).isoformat(),
        "source": source,
    }
    made = call("POST", "/prices", body)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"Price {made['id']}: {made['model']}, from {made['effective_from']}.")


@app.command()
def remove(
    price: Annotated[int, typer.Argument(help="Its id, see `xrouter prices list`.")],
) -> None:
    """Remove a price that has not begun yet; one that holds is followed by another."""
    call("DELETE", f"/prices/{price}")
    typer.echo(f"Price {price} is removed.")


@app.command("import")
def import_(
    provider: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where there is a price already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take over prices that ship with us, or that live lists have named. Look at their sources."""
    found = call("POST", "/prices/import", {"provider": provider, "replace": replace})
    if as_json:
        print_json(found)
        return
    show(found["added"], COLUMNS, as_json=False, empty="No price was added.")
    if found["kept"]:
        typer.echo(f"{found['kept']} stay as they were; --replace takes theirs.")
