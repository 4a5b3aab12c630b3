"""xrouter limits: rates, quotas, budgets, and calls at a time."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from xrouter.cli.control import call
from xrouter.cli.output import fail, print_json, show

app = typer.Typer(no_args_is_help=True, help="Limits: list, add, set, remove, state.")

COLUMNS = (
    "id", "subject", "model", "meter", "window", "amount", "time_zone", "warn_at", "is_enabled",
    "missing",
)  # fmt: skip
STATE = ("subject", "amount", "used", "remaining", "resets_in_s")
MONEY = "money"
NOW = {"running": "now", "streams": "now"}
_RUBLES = re.compile(r"\d{1,9}(\.\d{1,9})?")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[int, typer.Argument(help="Of the limit, see `xrouter limits list`.")]
Amount = Annotated[str, typer.Option(help="Requests, tokens, calls at a time, or rubles.")]
WarnAt = Annotated[int | None, typer.Option(help="Warn when so many percent are used.")]
Zone = Annotated[str | None, typer.Option(help="Of days and months, like Europe/Moscow.")]


@app.command("list")
def list_(
    subject: Annotated[str | None, typer.Option(help="Only those of this subject.")] = None,
    as_json: Json = False,
) -> None:
    """Show the limits."""
    rows: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = call("GET", "/limits", query={"after": after, "subject": subject})
        rows += page["data"]
        after = page["next"]
        if after is None:
            break
    show(rows, COLUMNS, as_json=as_json, empty="There are no limits: `xrouter limits add`.")


@app.command()
def add(
    subject: Annotated[
        str,
        typer.Argument(
            help="key:<id>, project:<slug>, organization:<slug>, user:<name>, model:<id>, "
            "version:<id>:<label>; key:* for each key."
        ),
    ],
    meter: Annotated[str, typer.Argument(help="requests, tokens, running, streams or money.")],
    amount: Annotated[str, typer.Argument(help="Requests, tokens, calls at a time, or rubles.")],
    window: Annotated[
        str | None, typer.Option("--per", help="minute (without it), day, month or total.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Count only what this model answers.")] = None,
    time_zone: Zone = None,
    warn_at: WarnAt = None,
    as_json: Json = False,
) -> None:
    """Make a limit."""
    body: dict[str, Any] = {
        "subject": subject,
        "meter": meter,
        "window": window or NOW.get(meter, "minute"),
        "amount": _amount(amount, meter),
        "model": model,
        "warn_at": warn_at,
    }
    if time_zone is not None:
        body["time_zone"] = time_zone
    made = call("POST", "/limits", body)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"Limit {made['id']}: {_told(made)}.")
        for name in made["missing"]:
            typer.echo(f"There is no {name}: nothing is counted until there is.", err=True)


@app.command("set")
def set_(
    limit: Id,
    amount: Annotated[str | None, typer.Option(help="The new amount.")] = None,
    time_zone: Zone = None,
    warn_at: WarnAt = None,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Switch it.")] = None,
) -> None:
    """Change a limit."""
    new: dict[str, Any] = {}
    if amount is not None:
        new["amount"] = _amount(amount, call("GET", f"/limits/{limit}")["meter"])
    if time_zone is not None:
        new["time_zone"] = time_zone
    if warn_at is not None:
        new["warn_at"] = warn_at
    if enable is not None:
        new["is_enabled"] = enable
    if not new:
        raise fail("There is nothing to change.", "`xrouter limits set --help` shows what can be.")
    changed = call("PATCH", f"/limits/{limit}", new)
    off = "" if changed["is_enabled"] else ", switched off"
    typer.echo(f"Limit {limit}: {_told(changed)}{off}.")


@app.command()
def remove(limit: Id) -> None:
    """Delete a limit."""
    call("DELETE", f"/limits/{limit}")
    typer.echo(f"Limit {limit} is removed.")


@app.command()
def state(
    limit: Id,
    of: Annotated[str | None, typer.Option(help="Of whom, for limits of a whole kind.")] = None,
    project: Annotated[str | None, typer.Option(help="Of the end user.")] = None,
    as_json: Json = False,
) -> None:
    """Show how much of a limit is used."""
    told = call("GET", f"/limits/{limit}/state", query={"of": of, "project": project})
    if as_json:
        print_json(told)
    else:
        show([told], STATE, as_json=False, empty="")


def _amount(text: str, meter: str) -> int | str:
    if meter == MONEY:
        if not _RUBLES.fullmatch(text):
            raise fail("The amount must be rubles, like 150.50.", "With a point, and none below 0.")
        return text
    if not text.isdecimal():
        raise fail("The amount must be a whole number.", "Only money has parts.")
    return int(text)


def _told(limit: dict[str, Any]) -> str:
    unit = {"money": "rubles", "running": "calls"}.get(limit["meter"], limit["meter"])
    window = {"total": "in total", "now": "at a time"}.get(limit["window"])
    at = "" if limit["model"] is None else f" at {limit['model']}"
    return f"{limit['subject']}{at}: {limit['amount']} {unit} {window or 'a ' + limit['window']}"
