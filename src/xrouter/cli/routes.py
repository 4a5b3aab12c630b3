"""xrouter routes: virtual models, and where a request would go."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xrouter.cli import given
from xrouter.cli.control import call, every
from xrouter.cli.output import fail, print_json, show

app = typer.Typer(no_args_is_help=True, help="Routes: list, show, add, set, remove, explain.")

COLUMNS = ("model", "strategy", "targets", "aliases", "is_enabled")
EXPLAINED = ("place", "model", "version", "provider", "endpoint", "breaker", "latency_ms", "price")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Name, with or without route/.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Show the routes."""
    rows = every("/routes")
    for row in rows:
        row["strategy"] = row["policy"].get("strategy", "priority")
        row["targets"] = [target["model"] for target in row["targets"]]
    show(rows, COLUMNS, as_json=as_json, empty="There are no routes: `xrouter routes add`.")


@app.command("show")
def show_(name: Name) -> None:
    """Show a route as JSON."""
    print_json(call("GET", f"/routes/{name}"))


@app.command()
def add(
    name: Name,
    targets: Annotated[list[str], typer.Argument(help="model[:channel][=weight] ...")],
    strategy: Annotated[str, typer.Option(help="How targets are ordered.")] = "priority",
    alias: Annotated[list[str] | None, typer.Option(help="Another name; may be repeated.")] = None,
    policy: Annotated[str | None, typer.Option(help="Further fields of the policy, JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Make a route over targets, tried in this order unless the strategy says otherwise."""
    body: dict[str, Any] = {
        "name": name.removeprefix("route/"),
        "aliases": alias or [],
        "policy": {"strategy": strategy, **given.json_object(policy, "The policy")},
        "targets": [_target(text, place, strategy) for place, text in enumerate(targets)],
    }
    made = call("POST", "/routes", body)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{made['model']} leads to {', '.join(t['model'] for t in made['targets'])}.")


@app.command("set")
def set_(
    name: Name,
    target: Annotated[
        list[str] | None, typer.Option(help="model[:channel][=weight]; all of them anew.")
    ] = None,
    alias: Annotated[list[str] | None, typer.Option(help="All other names anew.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Fields of the policy, JSON; null takes one back.")
    ] = None,
) -> None:
    """Change a route; what is not given stays, also of its policy."""
    now = call("GET", f"/routes/{name}")
    said = now["policy"] | given.json_object(policy, "The policy")
    body: dict[str, Any] = {} if alias is None else {"aliases": alias}
    if policy is not None:
        body["policy"] = {field: value for field, value in said.items() if value is not None}
    if target is not None:
        strategy = said.get("strategy") or "priority"
        body["targets"] = [_target(text, place, strategy) for place, text in enumerate(target)]
    if not body:
        raise fail("There is nothing to change.", "Give --policy, --target or --alias.")
    changed = call("PATCH", f"/routes/{name}", body, if_match=now["etag"])
    typer.echo(f"{changed['model']} is changed.")


@app.command()
def enable(name: Name) -> None:
    """Let a route answer."""
    _switch(name, on=True)


@app.command()
def disable(name: Name) -> None:
    """Switch a route off; requests for it get a clear error."""
    _switch(name, on=False)


@app.command()
def remove(name: Name) -> None:
    """Delete a route."""
    call("DELETE", f"/routes/{name}")
    typer.echo(f"{name} is removed.")


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="A model, with or without version, or a route.")],
    text: Annotated[str | None, typer.Option(help="What the user says.")] = None,
    key_id: Annotated[str | None, typer.Option(help="With the rights of this key.")] = None,
    as_json: Json = False,
) -> None:
    """Show where a request would go, and why, without sending it."""
    body: dict[str, Any] = {"model": name, "key_id": key_id}
    if text is not None:
        body["request"] = {"messages": [{"role": "user", "content": text}]}
    told = call("POST", "/explain", body)
    if as_json:
        print_json(told)
        return
    if told["error"] is not None:
        raise fail(told["error"]["message"], told["error"]["hint"])
    typer.echo(f"{told['asked']}: {told['reason']}, at most {told['max_attempts']} attempts")
    show(told["targets"], EXPLAINED, as_json=False, empty="There are no targets.")
    for target in told["targets"]:
        if target["place"] is None:
            typer.echo(f"left out: {target['model']} at {target['endpoint']}: {target['why']}")


def _switch(name: str, *, on: bool) -> None:
    changed = call("PATCH", f"/routes/{name}", {"is_enabled": on})
    typer.echo(f"{changed['model']} is {'available' if on else 'switched off'}.")


def _target(text: str, place: int, strategy: str) -> dict[str, Any]:
    """`model=weight`; by priority they stand one behind the other, else side by side."""
    model, equals, weight = text.rpartition("=")
    if equals and weight.isdecimal():
        return {"model": model, "weight": int(weight)}
    return {"model": text, "priority": place if strategy == "priority" else 0}
