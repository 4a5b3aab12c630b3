"""xrouter db: the database's tables, and the way from one database to another."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

import msgspec
import typer

from xrouter.app import presence
from xrouter.app.configured import vault_of
from xrouter.app.control import ControlPlane
from xrouter.cli.control import settings
from xrouter.cli.output import fail, print_json, show, working
from xrouter.control.db import schema
from xrouter.control.db.engine import Database
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.lock import WriterLock
from xrouter.control.db.move import Figures, prepare
from xrouter.control.db.move import move as move_all
from xrouter.control.db.url import database_url, is_sqlite, sqlite_file
from xrouter.domain.errors import XRouterError
from xrouter.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The database: upgrade, downgrade, current, move.")


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


@app.command()
def move(
    to: Annotated[
        str, typer.Option(help="Where to: postgresql://user@host/database, sqlite:///...")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Copy everything into another, empty database and compare the two.

    The database that is configured is the source; nothing is changed in it. A password is better
    given in PGPASSWORD or ~/.pgpass than on the command line.
    """
    current_settings = _alone()
    try:
        lock = presence.ServerLock(current_settings.data_dir)
    except presence.AlreadyRunning as error:
        raise fail(str(error), "Stop it before the database is moved.") from None
    try:
        found: list[Figures] = _run(_move(current_settings, to))
    finally:
        lock.release()
    if as_json:
        print_json([msgspec.to_builtins(each) for each in found])
        return
    rows = [_row(each) for each in found if each.rows]
    show(rows, ("table", "rows", "sums", "digest"), as_json=False, empty="There were no rows.")
    shown = database_url(to).render_as_string(hide_password=True)
    typer.echo(
        f"\nAll is in {shown}, and the same."
        "\nNow set XROUTER_DATABASE_URL to it and start the server."
        f"\nKeep the data folder {current_settings.data_dir}: master.key opens what was copied."
        "\nThe old database is as it was; delete it when you need it no more."
    )


def _row(each: Figures) -> dict[str, Any]:
    sums = ", ".join(f"{name} {value}" for name, value in each.sums.items())
    return {
        "table": each.table,
        "rows": each.rows,
        "sums": sums or None,
        "digest": each.digest[:12],
    }


async def _move(current_settings: Settings, to: str) -> list[Figures]:
    """Raises DatabaseError, VaultError."""
    url, target_url = database_url(current_settings.database), database_url(to)
    if (url.host, url.port, url.database) == (
        target_url.host,
        target_url.port,
        target_url.database,
    ):
        raise DatabaseError("This is the database that is configured already.")
    if await schema.current(current_settings.database) != schema.HEAD:
        raise DatabaseError("The tables are not up to date.", hint="xrouter db upgrade")
    async with ControlPlane.opened(current_settings):
        working("Storing what the journal holds")
    await prepare(to)
    lock = WriterLock(sqlite_file(url)) if is_sqlite(url) else None
    source, target = Database(current_settings.database), Database(to)
    try:
        if lock is not None:
            await lock.acquire()
        return await move_all(source, target, working)
    finally:
        await target.close()
        await source.close()
        if lock is not None:
            lock.release()


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
