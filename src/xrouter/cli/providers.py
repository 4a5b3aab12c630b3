"""xrouter providers: who serves models, and how to reach them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xrouter.cli.control import call
from xrouter.cli.output import fail, print_json, show

app = typer.Typer(no_args_is_help=True, help="Providers: list, add, standby, enable, remove ...")

COLUMNS = ("provider", "endpoint", "base_url", "priority", "enabled", "credential", "adapter")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The provider's name.")]
BaseUrl = Annotated[str, typer.Option("--base-url", help="Where it answers.")]
Adapter = Annotated[str | None, typer.Option(help="Dotted path; by default found by the name.")]
Credentials = Annotated[
    list[str] | None,
    typer.Option(
        "--credential",
        help="name=@file, name=- for standard input, or name=value (seen by other processes).",
    ),
]
Options = Annotated[list[str] | None, typer.Option("--option", help="name=value")]
CaBundle = Annotated[Path | None, typer.Option(help="PEM file to trust besides the system's.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Show providers with their endpoints, in the order in which they are tried."""
    providers = call("GET", "/providers")["data"]
    if as_json:
        print_json(providers)
        return
    rows = [_row(provider, each) for provider in providers for each in provider["endpoints"]]
    show(rows, COLUMNS, as_json=False, empty="There are no providers: `xrouter providers add`.")


@app.command()
def add(
    name: Name,
    base_url: BaseUrl,
    adapter: Adapter = None,
    credential: Credentials = None,
    option: Options = None,
    ca_bundle: CaBundle = None,
    as_json: Json = False,
) -> None:
    """Register a provider with its primary endpoint, and the models its adapter knows."""
    body = _connection(base_url, adapter, credential, option, ca_bundle)
    made = call("POST", "/providers", {"name": name} | body)
    synced = call("POST", "/models/sync", {"provider": name, "live": True})
    if as_json:
        print_json(made | {"models": synced})
        return
    typer.echo(f"{name} is registered; models: {synced['added']} added.")
    for failure in synced["failed"]:
        typer.secho(f"Its live list could not be read: {failure['error']}", fg="yellow", err=True)


@app.command()
def standby(
    name: Name,
    base_url: BaseUrl,
    adapter: Adapter = None,
    credential: Credentials = None,
    option: Options = None,
    ca_bundle: CaBundle = None,
) -> None:
    """Add an endpoint that is tried when those before it fail."""
    body = _connection(base_url, adapter, credential, option, ca_bundle)
    made = call("POST", f"/providers/{name}/endpoints", body)
    typer.echo(f"{name} has the further endpoint {made['name']}, priority {made['priority']}.")


@app.command()
def enable(name: Name) -> None:
    """Let a provider answer."""
    call("PATCH", f"/providers/{name}", {"is_enabled": True})
    typer.echo(f"{name} is enabled.")


@app.command()
def disable(name: Name) -> None:
    """Switch a provider off."""
    call("PATCH", f"/providers/{name}", {"is_enabled": False})
    typer.echo(f"{name} is switched off.")


@app.command()
def remove(
    name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Delete a provider with its endpoints and models."""
    if not yes:
        typer.confirm(f"Delete {name} with its endpoints and models?", abort=True)
    call("DELETE", f"/providers/{name}")
    typer.echo(f"{name} is removed.")


@app.command()
def adapters(as_json: Json = False) -> None:
    """Show the supported adapter classes."""
    rows = call("GET", "/adapters")["data"]
    show(rows, ("adapter_class", "provider", "models"), as_json=as_json, empty="There are none.")


def _row(provider: dict[str, Any], endpoint: dict[str, Any]) -> dict[str, Any]:
    return {
        "provider": provider["name"],
        "endpoint": endpoint["name"],
        "base_url": endpoint["base_url"],
        "priority": endpoint["priority"],
        "enabled": provider["is_enabled"] and endpoint["is_enabled"],
        "credential": endpoint["credential_fields"],
        "adapter": endpoint["adapter_class"].rpartition(".")[2],
    }


def _connection(
    base_url: str,
    adapter: str | None,
    credential: list[str] | None,
    option: list[str] | None,
    ca_bundle: Path | None,
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "base_url": base_url,
        "credential": {name: _secret(name, value) for name, value in _pairs(credential)},
        "options": dict(_pairs(option)),
    }
    if adapter is not None:
        body["adapter_class"] = adapter
    if ca_bundle is not None:
        body["ca_bundle"] = str(ca_bundle.resolve())
    return body


def _pairs(given: list[str] | None) -> list[tuple[str, str]]:
    pairs = []
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise fail("A credential or option has no name or no value.", "Write name=value.")
        pairs.append((name, value))
    return pairs


def _secret(name: str, value: str) -> str:
    if value == "-":
        return sys.stdin.read().strip()
    if value.startswith("@"):
        try:
            return Path(value[1:]).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise fail(f"The credential '{name}' could not be read: {error}") from None
    return value
