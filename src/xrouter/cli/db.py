"""xrouter db: the database's schema."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from xrouter.app import presence
from xrouter.app.control import vault_of
from xrouter.cli.control import settings
from xrouter.cli.output import fail, print_json
from xrouter.control.db import schema
from xrouter.domain.errors import XRouterError
from xrouter.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The database: upgrade, downgrade, current.")


@app.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Up to this revision.")] = "head",
) -> None:
    """Bring the tables up to date; a new database is made."""
    current_settings = _alone()
    try:
        vault_of(current_settings)  # the key that will seal what the tables hold
    except XRouterError as error:
        raise fail(error.message, error.hint) from None
    _run(schema.migrations().upgrade(current_settings.database, revision))
    _tell(current_settings)


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help='Down to this revision, or "base" for nothing.')],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Bring the tables down; what only newer tables can hold is lost."""
    current_settings = _alone()
    if not yes:
        typer.confirm(f"Downgrade to {revision}? Data may be lost.", abort=True)
    _run(schema.migrations().downgrade(current_settings.database, revision))
    _tell(current_settings)


@app.command()
def current(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the revision the database has, and the newest one."""
    found, newest = _current(settings()), schema.migrations().head()
    if as_json:
        print_json({"current": found, "head": newest})
    else:
        typer.echo(f"current {found or 'none'}, newest {newest}")


def _alone() -> Settings:
    """The settings, when no server uses the data folder, which is there then."""
    found = settings()
    try:
        found.data_dir.mkdir(parents=True, exist_ok=True)
        held = presence.is_held(found.data_dir)
    except OSError as error:
        raise fail(f"The data folder cannot be used: {error}", "Set XROUTER_DATA_DIR.") from None
    if held:
        raise fail("The server is running.", "Stop it before the tables are changed.")
    return found


def _tell(current_settings: Settings) -> None:
    found = _current(current_settings)
    typer.echo(f"The database is at {found}." if found else "The database has no tables.")


def _current(current_settings: Settings) -> str | None:
    found: str | None = _run(schema.current(current_settings.database))
    return found


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except XRouterError as error:
        raise fail(error.message, error.hint) from None
