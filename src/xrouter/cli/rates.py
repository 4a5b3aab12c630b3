"""xrouter rates: exchange rates of the Bank of Russia."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from xrouter.cli.control import call
from xrouter.cli.output import fail, show

app = typer.Typer(no_args_is_help=True, help="Exchange rates: list, set, import.")

COLUMNS = ("currency", "day", "rubles")
_ENCODING = re.compile(rb"""\A[^>]*\bencoding=["']([A-Za-z0-9._-]{1,40})["']""")

_BANK = ZoneInfo("Europe/Moscow")
"""Where a day of a rate begins."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Show the latest rates: rubles for one unit."""
    found = call("GET", "/rates")["data"]
    show(found, COLUMNS, as_json=as_json, empty="There are no rates: `xrouter rates import`.")


@app.command("set")
def set_(
    currency: Annotated[str, typer.Argument(help="USD, EUR, CNY ...")],
    rubles: Annotated[str, typer.Argument(help="For one unit.")],
    day: Annotated[str | None, typer.Option(help="Like 2026-11-20; today without.")] = None,
) -> None:
    """Say a rate by hand; one of the same day is replaced."""
    today = datetime.now(_BANK).date().isoformat()
    given = {"currency": currency, "rubles": rubles, "day": day or today}
    call("PUT", "/rates", {"rates": [given]})
    typer.echo(f"{currency} is {rubles} rubles on {given['day']}.")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="XML_daily or XML_dynamic of the Bank of Russia.")],
    currency: Annotated[
        str | None, typer.Option(help="Of an XML_dynamic, where its number is not known: TRY.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take over the rates of a file; it may have been downloaded anywhere."""
    found = call("POST", "/rates/import", {"xml": _text(file), "currency": currency})["data"]
    show(found, COLUMNS, as_json=as_json, empty="There are no rates.")


def _text(file: Path) -> str:
    """In the encoding that the file names for itself."""
    try:
        data = file.read_bytes()
        named = _ENCODING.search(data)
        return data.decode(named[1].decode() if named else "utf-8-sig")
    except (OSError, UnicodeDecodeError, LookupError) as error:
        raise fail(f"The file {file} cannot be read: {error}") from None
