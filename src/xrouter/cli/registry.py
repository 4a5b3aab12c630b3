"""xrouter registry: the whole catalog as a document, its history, and the way back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xrouter.cli.control import call
from xrouter.cli.output import fail, print_json
from xrouter.control.registry import litellm_file
from xrouter.control.registry.litellm_variables import complete
from xrouter.domain.errors import XRouterError
from xrouter.providers import factory
from xrouter.settings import provider_environment

app = typer.Typer(
    no_args_is_help=True, help="The whole catalog: export, import, litellm, changes, restore."
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")]
File = Annotated[Path, typer.Argument(help="A JSON file, - for standard input.")]
Config = Annotated[Path, typer.Argument(help="A YAML or JSON file, - for standard input.")]
_WIDE = 120


@app.command("export")
def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write there, not to standard output.")
    ] = None,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="With credentials, for the same master key only.")
    ] = False,
) -> None:
    """Print providers, models, prices, routes, rates, limits and planned releases as JSON."""
    found = call("GET", "/registry", query={"secrets": "sealed" if sealed else "none"})
    if output is None:
        print_json(found)
        return
    text = json.dumps(found, ensure_ascii=False, indent=2)
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise fail(f"{output} could not be written: {error.strerror}") from None
    typer.echo(f"The registry is in {output}.")


@app.command("import")
def import_(
    file: File,
    dry_run: DryRun = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete what the document does not have.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the catalog what a document says; all of it or, if anything is wrong, nothing."""
    _put(_read(file), dry_run=dry_run, prune=prune, as_json=as_json)


@app.command("litellm")
def litellm(file: Config, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Take over the configuration of a LiteLLM proxy; tell what could not be taken over.

    Variables that it names are looked up in the environment of this command.
    """
    try:
        config = litellm_file.read(_bytes(file))
        whole = complete(config, provider_environment(), factory.providers())
    except XRouterError as error:
        raise fail(error.message, error.hint) from None
    query = {"dry_run": str(dry_run).lower()}
    _tell(call("POST", "/registry/litellm", whole, query=query), as_json=as_json)


@app.command("changes")
def changes(
    kind: Annotated[str | None, typer.Option(help="provider, model, prices, route ...")] = None,
    name: Annotated[str | None, typer.Option("--object", help="Its name.")] = None,
    author: Annotated[str | None, typer.Option(help="Who changed it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """Show who changed what, the newest change first."""
    query = {"kind": kind, "object": name, "author": author, "limit": limit}
    rows = call("GET", "/changes", query=query)["data"]
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo("There are no changes.")
    for row in rows:
        head = f"{row['revision']}  {row['at']}  {row['author']}"
        typer.secho(f"{head}  {row['action']} {row['kind']} {row['object']}", bold=True)
        _differences(row["diff"])


@app.command("restore")
def restore(
    revision: Annotated[int, typer.Argument(help="As `registry changes` shows it.", min=0)],
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Undo all that was changed after a revision."""
    if not dry_run and not yes:
        typer.confirm(f"Undo all changes after revision {revision}?", abort=True)
    done = call("POST", f"/revisions/{revision}/restore", {"dry_run": dry_run})
    _tell(done, as_json=as_json)


def _put(document: Any, *, dry_run: bool, prune: bool, as_json: bool) -> None:
    query = {"dry_run": str(dry_run).lower(), "prune": str(prune).lower()}
    _tell(call("PUT", "/registry", document, query=query), as_json=as_json)


def _read(file: Path) -> Any:
    try:
        return json.loads(_bytes(file))
    except (ValueError, RecursionError) as error:
        raise fail(f"{file} is not JSON: {error}") from None


def _bytes(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise fail(f"{file} could not be read: {error.strerror}") from None


def _tell(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        for each in done["changed"]:
            typer.secho(f"{each['action']} {each['kind']} {each['object']}", bold=True)
            if each["action"] == "update":
                _differences(each["diff"])
        what = "would change" if done["dry_run"] else "changed"
        typer.echo(f"Objects that {what}: {len(done['changed'])}.")
    for warning in done["warnings"]:
        typer.secho(warning, fg="yellow", err=True)


def _differences(diff: list[dict[str, Any]]) -> None:
    for each in diff:
        typer.echo(f"  {each['path']}: {_short(each['old'])} -> {_short(each['new'])}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDE else text[:_WIDE] + "..."
