"""xrouter bills, xrouter packages: what requests cost, months, prepaid tokens, reconciliation."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from xrouter.cli.control import call, fetch
from xrouter.cli.output import fail, print_json, show
from xrouter.cli.usage import save

bills = typer.Typer(
    no_args_is_help=True,
    help="Bills: sum, statement, document, register, months, close, balance, reconcile.",
)
packages = typer.Typer(no_args_is_help=True, help="Prepaid tokens: list, add, remove, check.")

SUMS = ("group", "requests", "unknown", "total")
ROWS = ("project", "model", "requests", "tokens_in", "tokens_out", "net", "vat", "total")
MONTHS = ("month", "requests", "total", "closed_at")
PACKAGES = ("id", "provider", "endpoint", "models", "left", "bought", "value", "expires_at")
LEFT = ("usage", "packages", "ours", "theirs", "tokens")
FORMS = ("pdf", "xlsx")
DIFFERENCES = ("day", "model", "our_tokens", "their_tokens", "tokens", "cost")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Organization = Annotated[str, typer.Argument(help="Its slug.")]
Month = Annotated[str, typer.Argument(help="Like 2026-11.")]
Project = Annotated[str | None, typer.Option(help="Only this project's.")]


@bills.command("sum")
def sum_(
    by: Annotated[
        str, typer.Option(help="project, key, model, provider, day, month, end_user.")
    ] = "project",
    organization: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    project: Project = None,
    month: Annotated[str | None, typer.Option(help="Only this one's, like 2026-11.")] = None,
    as_json: Json = False,
) -> None:
    """Show what requests have cost."""
    query = {"group_by": by, "organization": organization, "project": project, "month": month}
    found = call("GET", "/billing/summary", query=query)["data"]
    _show(found, SUMS, as_json=as_json, empty="Nothing was charged.")


@bills.command()
def statement(
    organization: Organization, month: Month, project: Project = None, as_json: Json = False
) -> None:
    """Show a month of an organisation, or of one project of it."""
    path = f"/billing/statements/{organization}/{month}"
    found = call("GET", path, query={"project": project})
    if as_json:
        print_json(found)
        return
    _show(found["data"], ROWS, as_json=False, empty="Nothing was charged.")
    for name in ("opening", "top_ups", "adjustments", "charged", "closing"):
        typer.echo(f"{name.replace('_', ' ')}: {found[name]['rubles']}")


class Kind(StrEnum):
    """What can be written for a month."""

    invoice = "invoice"
    act = "act"


class Encoding(StrEnum):
    """Of texts."""

    utf8 = "utf-8"
    cp1251 = "cp1251"


@bills.command()
def document(
    organization: Organization,
    month: Month,
    kind: Annotated[Kind, typer.Argument(help="What to write.")],
    out: Annotated[Path, typer.Argument(help="The file: .pdf or .xlsx.")],
    project: Project = None,
    english: Annotated[bool, typer.Option("--english", help="In English.")] = False,
    one_line: Annotated[bool, typer.Option("--one-line", help="Not a line a model.")] = False,
    vat_on_top: Annotated[bool, typer.Option("--vat-on-top", help="Lines without VAT.")] = False,
) -> None:
    """Write an invoice or an act; a draft while the month is open."""
    form = out.suffix.lower().removeprefix(".")
    if form not in FORMS:
        raise fail(f"{out} must end in .pdf or .xlsx.")
    query = {
        "format": form,
        "project": project,
        "language": "en" if english else "ru",
        "lines": "one" if one_line else "models",
        "vat": "out" if vat_on_top else "in",
    }
    save(out, fetch(f"/billing/documents/{organization}/{month}/{kind.value}", query))


@bills.command()
def register(
    month: Month,
    out: Annotated[Path, typer.Argument(help="The CSV file.")],
    organization: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    encoding: Annotated[Encoding, typer.Option(help="Of the file.")] = Encoding.utf8,
) -> None:
    """Write what was sold in a month, for 1C: a row for each line of each act."""
    query = {"organization": organization, "encoding": encoding.value}
    save(out, fetch(f"/billing/register/{month}", query))


@bills.command()
def months(organization: Organization, as_json: Json = False) -> None:
    """Show months, those that are closed and those with charges."""
    found = call("GET", f"/billing/months/{organization}")["data"]
    _show(found, MONTHS, as_json=as_json, empty="There are no months with charges.")


@bills.command()
def close(organization: Organization, month: Month) -> None:
    """Freeze a month that is over."""
    done = call("POST", f"/billing/months/{organization}/{month}/close")
    total = done["total"]["rubles"]
    typer.echo(f"The month {month} is closed: {done['requests']} requests, {total} rubles.")


@bills.command()
def balance(account: Annotated[str, typer.Argument(help="project:<slug>, bank ...")]) -> None:
    """Show what an account of the ledger holds."""
    found = call("GET", f"/billing/accounts/{account}")
    typer.echo(f"{account}: {found['balance']['rubles']} rubles")


@bills.command()
def reconcile(
    provider: Annotated[str, typer.Argument(help="Whose statement it is.")],
    file: Annotated[Path, typer.Argument(help="CSV with day, model, and tokens or amount.")],
    as_json: Json = False,
) -> None:
    """Compare a provider's statement with our charges."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"The file {file} cannot be read: {error}") from None
    found = call("POST", "/billing/reconciliations", {"provider": provider, "csv": text})
    empty = f"No difference: {found['agreed']} days and models agree."
    _show(found["data"], DIFFERENCES, as_json=as_json, empty=empty)


@packages.command("check")
def check(
    provider: Annotated[str, typer.Argument(help="Who is asked what is left.")],
    endpoint: Annotated[str | None, typer.Option(help="By which of its endpoints.")] = None,
    as_json: Json = False,
) -> None:
    """Compare what a provider says is left with our packages."""
    body = {"provider": provider, "endpoint": endpoint}
    found = call("POST", "/billing/reconciliations/balance", body)["data"]
    _show(found, LEFT, as_json=as_json, empty="There is nothing on either side.")


@packages.command("list")
def list_(
    provider: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    as_json: Json = False,
) -> None:
    """Show prepaid packages."""
    found = call("GET", "/billing/packages", query={"provider": provider})["data"]
    _show(found, PACKAGES, as_json=as_json, empty="There are no packages: `xrouter packages add`.")


@packages.command()
def add(
    provider: Annotated[str, typer.Argument(help="Whose tokens they are.")],
    tokens: Annotated[int, typer.Argument(help="Bought.", min=1)],
    paid: Annotated[str, typer.Argument(help="Rubles for all of them, like 1500.50.")],
    until: Annotated[str, typer.Option(help="When it expires: ISO 8601 with a zone.")],
    model: Annotated[list[str] | None, typer.Option(help="Only for this model; repeat it.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only for this endpoint.")] = None,
) -> None:
    """Write down tokens bought in advance."""
    body: dict[str, Any] = {
        "provider": provider,
        "bought": tokens,
        "paid": paid,
        "expires_at": until,
        "models": model or [],
        "endpoint": endpoint,
    }
    made = call("POST", "/billing/packages", body)
    typer.echo(f"Package {made['id']}: {tokens} tokens of {provider} for {paid} rubles.")


@packages.command()
def remove(number: Annotated[int, typer.Argument(help="Of the package.", min=1)]) -> None:
    """Take back the purchase of a package of which nothing was drawn."""
    call("DELETE", f"/billing/packages/{number}")
    typer.echo(f"The package {number} is removed.")


def _show(
    rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool, empty: str
) -> None:
    """Money in a table is its rubles."""
    if as_json:
        print_json(rows)
        return
    plain = [{n: v["rubles"] if isinstance(v, dict) else v for n, v in row.items()} for row in rows]
    show(plain, columns, as_json=False, empty=empty)
