"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import typer

Row = Mapping[str, Any]

GAP = "  "
NARROW = 100


def show(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """Print rows as a table with these columns, or all of them as JSON."""
    if as_json:
        print_json(list(rows))
    elif not rows:
        typer.echo(empty)
    elif _fits(rows, columns):
        _table(rows, columns)
    else:
        _cards(rows, columns)


def print_json(value: Any) -> None:
    """Print for programs."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def working(what: str) -> None:
    """Say on standard error that something takes a while."""
    typer.echo(f"{what} ...", err=True)


def fail(message: str, hint: str | None = None) -> typer.Exit:
    """Say what is wrong and what to do; raise the result."""
    typer.secho(message, fg="red", err=True)
    if hint:
        typer.echo(hint, err=True)
    return typer.Exit(1)


def _widths(rows: Sequence[Row], columns: Sequence[str]) -> list[int]:
    return [max(len(c), *(len(_cell(row.get(c))) for row in rows)) for c in columns]


def _fits(rows: Sequence[Row], columns: Sequence[str]) -> bool:
    room = max(NARROW, shutil.get_terminal_size().columns)
    return sum(_widths(rows, columns)) + len(GAP) * (len(columns) - 1) <= room


def _table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    widths = _widths(rows, columns)
    titles = [c.replace("_", " ").ljust(w) for c, w in zip(columns, widths, strict=True)]
    typer.secho(GAP.join(titles).rstrip(), bold=True)
    for row in rows:
        cells = [_cell(row.get(c)).ljust(w) for c, w in zip(columns, widths, strict=True)]
        typer.echo(GAP.join(cells).rstrip())


def _cards(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """A row a paragraph, for rows that are wider than the terminal."""
    width = max(len(column) for column in columns)
    for row in rows:
        for column in columns:
            typer.echo(f"{column.replace('_', ' ').ljust(width)}{GAP}{_cell(row.get(column))}")
        typer.echo()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "-"
    return str(value)
