"""xrouter credentials: the accounts that projects bring for providers."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from xrouter.cli.control import call
from xrouter.cli.output import fail, print_json, show

app = typer.Typer(
    no_args_is_help=True, help="Projects' own credentials for providers: list, set, remove."
)

COLUMNS = ("provider", "fields", "last4", "is_only", "is_enabled", "updated_at")
USUAL = "api_key"

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Project = Annotated[str, typer.Argument(help="The project's slug, see `xrouter projects list`.")]
Provider = Annotated[str, typer.Argument(help="The provider's name.")]


@app.command("list")
def list_(project: Project, as_json: Json = False) -> None:
    """Show a project's own credentials, without the secrets."""
    rows = call("GET", f"/projects/{project}/credentials")["data"]
    empty = "It has none: it asks all providers on the router's account."
    show(rows, COLUMNS, as_json=as_json, empty=empty)


@app.command("set")
def set_(
    project: Project,
    provider: Provider,
    name: Annotated[
        str | None, typer.Option(help=f"Of the secret: credentials ...; {USUAL} by default.")
    ] = None,
    only: Annotated[
        bool, typer.Option("--only/--first", help="Never ask on the router's account.")
    ] = False,
    enable: Annotated[bool, typer.Option("--enable/--disable", help="Switch it.")] = True,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the secret there is.")] = False,
    as_json: Json = False,
) -> None:
    """Let a project ask a provider on its own account.

    The secret is asked for, or read from standard input; without --name it may be a JSON object of
    several, like {"api_key": "...", "folder_id": "..."}.
    """
    body: dict[str, Any] = {"is_only": only, "is_enabled": enable}
    if not keep:
        body["credential"] = _secrets(name)
    made = call("PUT", f"/projects/{project}/credentials/{provider}", body)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{project} asks {provider} {_told(made)}.")


@app.command()
def remove(project: Project, provider: Provider) -> None:
    """Forget a credential: the project asks on the router's account again."""
    call("DELETE", f"/projects/{project}/credentials/{provider}")
    typer.echo(f"{project} asks {provider} on the router's account.")


def _secrets(name: str | None) -> dict[str, str]:
    """Never from the arguments: other processes see those."""
    text = typer.prompt("Secret", hide_input=True) if sys.stdin.isatty() else sys.stdin.read()
    text = str(text).strip()
    if not text:
        raise fail("There is no secret.", "Send it to standard input, or answer the question.")
    if name is not None or not text.startswith("{"):
        return {name or USUAL: text}
    try:
        found = json.loads(text)
    except ValueError:
        raise fail("The secret begins like a JSON object, but is none.") from None
    return {str(key): str(value) for key, value in found.items()}


def _told(made: dict[str, Any]) -> str:
    if not made["is_enabled"]:
        return "on the router's account: its own is switched off"
    end = f" (...{made['last4']})" if made["last4"] else ""
    return f"on its own account{end}{', and on no other' if made['is_only'] else ' first'}"
