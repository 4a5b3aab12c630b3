"""xrouter bills, xrouter packages: what requests cost, months, prepaid tokens, reconciliation."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from xrouter.cli.control import call, every, fetch
from xrouter.cli.output import fail, print_json, show
from xrouter.cli.sheets import whole
from xrouter.cli.usage import save

bills = typer.Typer(
    no_args_is_help=True,
    help="Bills: sum, charges, statement, document, register, months, close, balance, reconcile.",
)
packages = typer.Typer(no_args_is_help=True, help="Prepaid tokens: list, add, set, remove, check.")

SUMS = ("group", "requests", "unknown", "total")
ROWS = (
    "project", "model", "is_correction", "requests", "unknown", "tokens_in", "tokens_out", "net",
    "vat", "total",
)  # fmt: skip
MONTHS = ("month", "requests", "unknown", "total", "closed_at")
PACKAGES = ("id", "provider", "endpoint", "models", "left", "bought", "value", "expires_at")
LEFT = ("usage", "packages", "ours", "theirs", "tokens")
FORMS = ("pdf", "xlsx")
DIFFERENCES = ("day", "model", "our_tokens", "their_tokens", "tokens", "cost")
CALLS = (
    "what", "call", "event_id", "model", "our_tokens", "their_tokens", "our_cost", "their_cost",
)  # fmt: skip

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Organization = Annotated[str, typer.Argument(help="Its slug.")]
Month = Annotated[str, typer.Argument(help="Like 2026-11.")]
Project = Annotated[str | None, typer.Option(help="Only this project's.")]
Csv = Annotated[Path | None, typer.Option(help="Write it into this file, for 1C and Excel.")]


class Encoding(StrEnum):
    """Of texts."""

    utf8 = "utf-8"
    cp1251 = "cp1251"


CsvEncoding = Annotated[Encoding, typer.Option(help="Of the file.")]


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
    found = every("/billing/summary", query)
    _show(found, SUMS, as_json=as_json, empty="Nothing was charged.")


@bills.command()
def charges(
    out: Annotated[Path, typer.Argument(help="The CSV file.")],
    organization: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    project: Project = None,
    month: Annotated[str | None, typer.Option(help="Only this one's, like 2026-11.")] = None,
    encoding: CsvEncoding = Encoding.utf8,
) -> None:
    """Write what each request has cost, for 1C and Excel; the newest first."""
    query = {
        "organization": organization,
        "project": project,
        "month": month,
        "encoding": encoding.value,
    }
    charset = "cp1251" if encoding is Encoding.cp1251 else "utf-8-sig"
    save(out, whole("/billing/charges", query, lambda rows: rows[-1][0], charset))


@bills.command()
def statement(
    organization: Organization,
    month: Month,
    project: Project = None,
    csv: Csv = None,
    encoding: CsvEncoding = Encoding.utf8,
    as_json: Json = False,
) -> None:
    """Show a month of an organisation, or of one project of it."""
    path = f"/billing/statements/{organization}/{month}"
    query = {"project": project}
    if csv is not None:
        save(csv, fetch(path, query | {"format": "csv", "encoding": encoding.value}))
        return
    found = call("GET", path, query=query)
    if as_json:
        print_json(found)
        return
    _show(found["data"], ROWS, as_json=False, empty="Nothing was charged.")
    for name in ("opening", "top_ups", "adjustments", "charged", "closing"):
        typer.echo(f"{name.replace('_', ' ')}: {found[name]['rubles']}")
    _warn(found["unknown"])


class Kind(StrEnum):
    """What can be written for a month."""

    invoice = "invoice"
    act = "act"


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
    encoding: CsvEncoding = Encoding.utf8,
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
    _warn(done["unknown"])


@bills.command()
def balance(account: Annotated[str, typer.Argument(help="project:<slug>, bank ...")]) -> None:
    """Show what an account of the ledger holds."""
    found = call("GET", f"/billing/accounts/{account}")
    typer.echo(f"{account}: {found['balance']['rubles']} rubles")


@bills.command()
def reconcile(
    provider: Annotated[str, typer.Argument(help="Whose statement it is.")],
    file: Annotated[
        Path,
        typer.Argument(help="CSV with day, model, and tokens or amount; or with call, at, model."),
    ],
    settle: Annotated[
        bool, typer.Option("--settle", help="Book what differs: the ledger becomes the bill.")
    ] = False,
    endpoint: Annotated[
        list[str] | None, typer.Option(help="Whose account's it is; repeat it.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="From when it is: ISO 8601 and zone.")] = None,
    until: Annotated[str | None, typer.Option(help="Until when it is.")] = None,
    as_json: Json = False,
) -> None:
    """Compare a provider's statement with our charges; with --settle, book what differs."""
    body = {"provider": provider, "csv": _text(file), "settle": settle, "endpoints": endpoint or []}
    span = {name: at for name, at in (("since", since), ("until", until)) if at is not None}
    found = call("POST", "/billing/reconciliations", body | span)
    by_call = found["calls"]
    if by_call is None:
        empty = f"No difference: {found['agreed']} days and models agree."
        _show(found["data"], DIFFERENCES, as_json=as_json, empty=empty)
    else:
        empty = f"No difference: {found['agreed']} calls agree."
        _show(by_call["data"], CALLS, as_json=as_json, empty=empty)
    if settle and not as_json:
        made = "" if by_call is None else f"{by_call['settled']} attempts made exact; "
        rubles = found["booked"]["rubles"]
        typer.echo(f"{made}{provider} gets {rubles} rubles more than was booked before.")


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


@packages.command("set")
def set_(
    number: Annotated[int, typer.Argument(help="Of the package.", min=1)],
    until: Annotated[str | None, typer.Option(help="When it expires: ISO 8601, a zone.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="For these models alone; repeat it. '' for all.")
    ] = None,
) -> None:
    """Change until when a package holds, and what for."""
    new: dict[str, Any] = {} if until is None else {"expires_at": until}
    if model is not None:
        new["models"] = [name for name in model if name]
    if not new:
        raise fail("There is nothing to change.", "`xrouter packages set --help`")
    changed = call("PATCH", f"/billing/packages/{number}", new)
    typer.echo(f"Package {number}: until {changed['expires_at']}, {changed['left']} tokens left.")


@packages.command()
def remove(number: Annotated[int, typer.Argument(help="Of the package.", min=1)]) -> None:
    """Take back the purchase of a package of which nothing was drawn."""
    call("DELETE", f"/billing/packages/{number}")
    typer.echo(f"The package {number} is removed.")


def _text(file: Path) -> str:
    """UTF-8, else what 1C and Excel in Russia write."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise fail(f"The file {file} cannot be read: {error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1251", "replace")


def _warn(unknown: int) -> None:
    """Of what nobody knows the price of."""
    if unknown:
        typer.echo(
            f"{unknown} of the requests had no price or no exchange rate, and cost nothing: "
            "`xrouter bills sum --by model` names their models.",
            err=True,
        )


def _show(
    rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool, empty: str
) -> None:
    """Money in a table is its rubles."""
    if as_json:
        print_json(rows)
        return
    plain = [{n: v["rubles"] if isinstance(v, dict) else v for n, v in row.items()} for row in rows]
    show(plain, columns, as_json=False, empty=empty)
