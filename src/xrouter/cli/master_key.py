"""xrouter master-key: another key for what is sealed, while all that was sealed stays good."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine
from typing import Annotated, Any

import msgspec
import typer

from xrouter.app import presence
from xrouter.app.configured import MASTER_KEY
from xrouter.app.control import ControlPlane
from xrouter.app.gateway import RESPONSES, SNAPSHOT
from xrouter.cli.control import settings
from xrouter.cli.output import fail, print_json, working
from xrouter.control import rekey
from xrouter.control.db.engine import Database
from xrouter.domain.errors import XRouterError
from xrouter.settings import Settings
from xrouter.stores.responses import ResponseFile
from xrouter.stores.snapshot_file import SnapshotFile
from xrouter.stores.vault import Ring, Vault, VaultError, load_ring, save_ring

app = typer.Typer(no_args_is_help=True, help="The master key: show, rotate, retire.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(as_json: Json = False) -> None:
    """Name the master keys of the data folder; what they are is not shown."""
    current = settings()
    path = current.data_dir / MASTER_KEY
    if not path.exists():
        raise fail(f"There is no {path}.", "It is made when the server starts first.")
    try:
        vault = Vault(load_ring(path))
    except VaultError as error:
        raise fail(error.message, error.hint) from None
    told = {"seals": vault.key_ids[0], "opens": list(vault.key_ids), "pepper": vault.pepper_id}
    if as_json:
        print_json(told)
        return
    typer.echo(f"seals   {told['seals']}")
    typer.echo(f"opens   {', '.join(vault.key_ids)}")
    typer.echo(f"pepper  {told['pepper']} (never changes)")


@app.command()
def rotate(as_json: Json = False) -> None:
    """Make a new master key and seal everything with it; API keys stay as they are.

    The old key stays in the file, for opening, until `retire`. All servers must be stopped.
    """
    _alone(_rotate, as_json=as_json)


@app.command()
def retire(as_json: Json = False) -> None:
    """Drop the old master keys, after what they still seal was sealed with the newest.

    Backups and `registry export --sealed` of before need the old key file. All servers must be
    stopped.
    """
    _alone(_retire, as_json=as_json)


def _alone(work: Any, *, as_json: bool) -> None:
    """Run with the data folder's lock held; tell what was done."""
    current = settings()
    try:
        lock = presence.ServerLock(current.data_dir)
    except presence.AlreadyRunning as error:
        raise fail(str(error), "Stop it before the master key is changed.") from None
    except OSError as error:
        raise fail(f"The data folder cannot be used: {error}", "Set XROUTER_DATA_DIR.") from None
    try:
        done = _run(work(current))
    finally:
        lock.release()
    _tell(current, done, as_json=as_json)


async def _rotate(current: Settings) -> rekey.Resealed:
    ring = await _proved(current)
    ring = ring.turned()
    save_ring(current.data_dir / MASTER_KEY, ring)  # before anything is sealed with it
    return await _resealed(current, ring)


async def _retire(current: Settings) -> rekey.Resealed:
    ring = await _proved(current)
    done = await _resealed(current, ring)
    save_ring(current.data_dir / MASTER_KEY, ring.newest())
    return done


async def _proved(current: Settings) -> Ring:
    """The ring, when it is the database's and nobody works with it.

    Raises VaultError, DatabaseError.
    """
    async with ControlPlane.opened(current) as plane:
        await rekey.require_stopped(plane.db)
    return load_ring(current.data_dir / MASTER_KEY)


async def _resealed(current: Settings, ring: Ring) -> rekey.Resealed:
    """Raises DatabaseError, VaultError."""
    vault, db = Vault(ring), Database(current.database)
    working("Sealing with the newest key")
    try:
        done = await rekey.reseal(db, vault)
    finally:
        await db.close()
    responses = ResponseFile(current.data_dir / RESPONSES, vault)
    try:
        done.done["responses"] = responses.reseal()
        done.done["snapshot"] = int(SnapshotFile(current.data_dir / SNAPSHOT, vault).reseal())
    except (OSError, sqlite3.Error) as error:
        raise VaultError(
            f"A file of the data folder could not be sealed anew: {error}.",
            hint="Run the command again: all keys are still in the file.",
        ) from error
    finally:
        responses.close()
    return done


def _tell(current: Settings, found: rekey.Resealed, *, as_json: bool) -> None:
    path = current.data_dir / MASTER_KEY
    vault = Vault(load_ring(path))
    if as_json:
        print_json({"keys": list(vault.key_ids)} | msgspec.to_builtins(found))
        return
    for table, number in found.done.items():
        if number:
            typer.echo(f"{table}: {number} sealed anew")
    for table, number in found.left.items():
        typer.secho(f"{table}: {number} that no key opens stay as they are", fg="yellow", err=True)
    typer.echo(f"{path} seals with {vault.key_ids[0]}.")
    if len(vault.key_ids) > 1:
        typer.echo(
            f"It still opens what {', '.join(vault.key_ids[1:])} sealed: back it up, copy it to "
            "the other servers, then `xrouter master-key retire` on each."
        )


def _run(work: Coroutine[Any, Any, rekey.Resealed]) -> rekey.Resealed:
    try:
        return asyncio.run(work)
    except XRouterError as error:
        raise fail(error.message, error.hint) from None
