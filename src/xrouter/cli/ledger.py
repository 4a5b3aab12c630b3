"""xrouter ledger: money that comes in, is moved, or taken back, and what accounts hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from xrouter.cli.control import call
from xrouter.cli.output import fail, print_json, show
from xrouter.domain.usage import new_id

app = typer.Typer(no_args_is_help=True, help="The ledger: top-up, adjust, reverse, lines.")

LINES = ("at", "kind", "amount", "memo", "author", "transfer")
PAYERS = ("project", "organization")

Account = Annotated[
    str, typer.Argument(help="project:<slug>, organization:<slug>, bank, margin, vat ...")
]
Rubles = Annotated[str, typer.Argument(help="Like 1500.50.")]
Memo = Annotated[str, typer.Option(help="What for; for people.")]
Id = Annotated[
    str | None,
    typer.Option("--id", help="Of the transfer, like that of a payment: the same never twice."),
]
At = Annotated[str | None, typer.Option(help="ISO 8601 with a zone, in an open month; or now.")]


@app.command("top-up")
def top_up(account: Account, rubles: Rubles, memo: Memo, id_: Id = None, at: At = None) -> None:
    """Write down money that has come in for a project or an organisation."""
    kind, _, name = account.partition(":")
    if kind not in PAYERS or not name:
        raise fail(f"'{account}' is not who pays.", "For example organization:alfa, project:bot.")
    _move("top-ups", {kind: name, "amount": rubles, "memo": memo, "at": at}, id_)


@app.command()
def adjust(
    source: Account,
    target: Account,
    rubles: Rubles,
    memo: Memo,
    id_: Id = None,
    at: At = None,
) -> None:
    """Move money between two accounts."""
    given = {"source": source, "target": target, "amount": rubles, "memo": memo, "at": at}
    _move("adjustments", given, id_)


@app.command()
def reverse(
    transfer: Annotated[str, typer.Argument(help="Its id, see `xrouter ledger lines`.")],
    memo: Memo,
) -> None:
    """Take a transfer back, now; once."""
    _told(call("POST", f"/billing/transfers/{transfer}/reversal", {"memo": memo}))


@app.command()
def lines(
    account: Account,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the last lines of an account."""
    found = call("GET", f"/billing/accounts/{account}/lines", query={"limit": limit})["data"]
    if as_json:
        print_json(found)
        return
    rows = [row | {"at": _moment(row["at"]), "amount": row["amount"]["rubles"]} for row in found]
    show(rows, LINES, as_json=False, empty="There are no lines.")


def _move(what: str, given: dict[str, Any], key: str | None) -> None:
    body = {name: value for name, value in given.items() if value is not None}
    _told(call("POST", f"/billing/{what}", body, idempotency_key=key or new_id(f"{what}-")))


def _told(made: dict[str, Any]) -> None:
    typer.echo(f"Transfer {made['id']}:")
    for line in made["lines"]:
        typer.echo(f"  {line['account']}  {line['amount']['rubles']}")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
