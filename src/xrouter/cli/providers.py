"""xrouter providers: who serves models, and how to reach them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xrouter.cli import given
from xrouter.cli.control import call, every
from xrouter.cli.output import fail, print_json, show

app = typer.Typer(no_args_is_help=True, help="Providers: list, add, standby, set, remove ...")
endpoint = typer.Typer(no_args_is_help=True, help="Single endpoints: add, set, remove.")
app.add_typer(endpoint, name="endpoint")

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
Endpoint = Annotated[str, typer.Argument(help="The endpoint's name, as `list` shows it.")]
Timeouts = Annotated[
    list[str] | None,
    typer.Option("--timeout", help="connect, first_token, idle, total = seconds; repeatable."),
]
Priority = Annotated[int | None, typer.Option(min=0, help="The smallest is tried first.")]
MaxRunning = Annotated[int | None, typer.Option(min=0, help="Calls at a time; 0: no limit.")]
Country = Annotated[str | None, typer.Option(help="Where it is: RU, US ...; - for unknown.")]
CaBundle = Annotated[Path | None, typer.Option(help="PEM file to trust besides the system's.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Show providers with their endpoints, in the order in which they are tried."""
    providers = every("/providers")
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


@app.command("set")
def set_(
    name: Name,
    country: Country = None,
    display_name: Annotated[str | None, typer.Option()] = None,
    policy: Annotated[
        str | None, typer.Option(help="The policy of its models without their own, JSON.")
    ] = None,
) -> None:
    """Change a provider; what is not given stays."""
    body: dict[str, Any] = {} if country is None else {"country": _country(country)}
    seen: str | None = None
    if display_name is not None:
        body["display_name"] = display_name
    if policy is not None:
        now = call("GET", f"/providers/{name}")
        seen = now["etag"]
        body["settings"] = now["settings"] | {"policy": given.json_object(policy, "The policy")}
    _change(f"/providers/{name}", body, seen)
    typer.echo(f"{name} is changed.")


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


@endpoint.command("add")
def add_endpoint(
    name: Name,
    endpoint_name: Endpoint,
    base_url: BaseUrl,
    adapter: Adapter = None,
    credential: Credentials = None,
    option: Options = None,
    ca_bundle: CaBundle = None,
    timeout: Timeouts = None,
    priority: Priority = None,
    max_running: MaxRunning = None,
    country: Country = None,
) -> None:
    """Add an endpoint under a name of its own; without --priority it is the last one tried."""
    body = _connection(base_url, adapter, credential, option, ca_bundle)
    body |= _bounds(priority, max_running, country)
    if timeout:
        body["timeouts"] = given.numbers(timeout, "A timeout")
    made = call("POST", f"/providers/{name}/endpoints", {"name": endpoint_name} | body)
    typer.echo(f"{name} has the further endpoint {made['name']}, priority {made['priority']}.")


@endpoint.command("set")
def set_endpoint(
    name: Name,
    endpoint_name: Endpoint,
    base_url: Annotated[str | None, typer.Option(help="Where it answers.")] = None,
    credential: Credentials = None,
    option: Options = None,
    timeout: Timeouts = None,
    priority: Priority = None,
    max_running: MaxRunning = None,
    country: Country = None,
    on: Annotated[bool | None, typer.Option("--enable/--disable")] = None,
) -> None:
    """Change an endpoint; what is not given stays, also of its secrets, options and timeouts."""
    body = _bounds(priority, max_running, country)
    seen: str | None = None
    if base_url is not None:
        body["base_url"] = base_url
    if credential:
        body["credential"] = given.secrets(credential)
    if on is not None:
        body["is_enabled"] = on
    if option or timeout:
        now = _endpoint_of(name, endpoint_name)
        seen = now["etag"]
        body["options"] = now["options"] | given.pairs(option)
        body["timeouts"] = now["timeouts"] | given.numbers(timeout, "A timeout")
    _change(f"/providers/{name}/endpoints/{endpoint_name}", body, seen)
    typer.echo(f"{name}/{endpoint_name} is changed.")


@endpoint.command("remove")
def remove_endpoint(name: Name, endpoint_name: Endpoint) -> None:
    """Delete an endpoint with its credential."""
    call("DELETE", f"/providers/{name}/endpoints/{endpoint_name}")
    typer.echo(f"{name}/{endpoint_name} is removed.")


def _change(path: str, body: dict[str, Any], seen: str | None) -> None:
    if not body:
        raise fail("There is nothing to change.", "Give an option: --help lists them.")
    call("PATCH", path, body, if_match=seen)


def _endpoint_of(name: str, endpoint_name: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = call("GET", f"/providers/{name}")["endpoints"]
    for row in rows:
        if row["name"] == endpoint_name:
            return row
    known = ", ".join(row["name"] for row in rows)
    raise fail(f"{name} has no endpoint {endpoint_name}.", f"It has: {known}.")


def _bounds(priority: int | None, max_running: int | None, country: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {} if priority is None else {"priority": priority}
    if max_running is not None:
        body["max_running"] = max_running or None
    if country is not None:
        body["country"] = _country(country)
    return body


def _country(text: str) -> str | None:
    return None if text == "-" else text


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
        "credential": given.secrets(credential),
        "options": given.pairs(option),
    }
    if adapter is not None:
        body["adapter_class"] = adapter
    if ca_bundle is not None:
        body["ca_bundle"] = str(ca_bundle.resolve())
    return body
