"""xrouter prices: what models cost, and where that is from."""

from __future__ import annotations

from typing import Annotated

import typer

from xrouter.cli.control import call, every
from xrouter.cli.output import print_json, show

app = typer.Typer(no_args_is_help=True, help="Prices: list, import.")

COLUMNS = (
    "id", "model", "version", "mode", "currency", "input", "output", "cached_input", "in_force",
    "source",
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
