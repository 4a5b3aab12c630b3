"""xrouter doctor: is everything as it should be, and if not, what to do."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from xrouter.cli import checks
from xrouter.cli.control import settings
from xrouter.cli.output import print_json

MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "problem": "[red]problem[/]"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check settings, disk, database, catalog and every provider's endpoint."""
    current = settings()
    with Console(stderr=True).status("Examining ..."):
        findings = asyncio.run(checks.examine(current))
    if as_json:
        print_json(msgspec.to_builtins(findings))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for finding in findings:
            console.print(f"{MARKS[finding.state]} {finding.check}: ", end="")
            console.print(finding.found, markup=False)
            if finding.advice:
                console.print(f"        {finding.advice}", markup=False)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)
