"""xrouter doctor: is everything as it should be, and if not, what to do."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from xrouter.cli import checks
from xrouter.cli.control import settings
from xrouter.cli.output import print_json, working

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check settings, disk, database, catalog and every provider's endpoint."""
    current = settings()
    working("Examining")
    findings = asyncio.run(checks.examine(current))
    if as_json:
        print_json(msgspec.to_builtins(findings))
    else:
        for finding in findings:
            typer.secho(finding.state.ljust(8), fg=COLOURS[finding.state], nl=False)
            typer.echo(f"{finding.check}: {finding.found}")
            if finding.advice:
                typer.echo(f"        {finding.advice}")
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)
