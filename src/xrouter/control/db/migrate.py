"""Migrations, run from code: the scripts lie in the package.

Each run is one transaction under a lock, so that processes which start together take turns and a
failed migration leaves nothing behind. Importing this loads Alembic; `schema.ensure` does it only
when there is something to migrate.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import OperationalError

from xrouter.control.db.engine import migrating_engine
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.lock import WriterLock
from xrouter.control.db.url import database_url, is_sqlite, sqlite_file

SCRIPTS = Path(__file__).parent / "migrations"
WAIT_S = 60.0
_LOCK_KEY = 0x78726F75746572


async def upgrade(url: str, revision: str = "head") -> None:
    """Bring the tables up to a revision; a new database is made. Raises DatabaseError."""
    await _run(database_url(url), lambda config: command.upgrade(config, revision))


async def downgrade(url: str, revision: str) -> None:
    """Bring the tables down to a revision, or to "base": nothing is left then."""
    await _run(database_url(url), lambda config: command.downgrade(config, revision))


def head() -> str:
    """The newest revision there is a script for."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise DatabaseError("There are no migrations in this installation.")
    return found


async def _run(url: URL, action: Callable[[Config], None]) -> None:
    lock = WriterLock(sqlite_file(url), WAIT_S) if is_sqlite(url) else None
    engine = migrating_engine(url)
    try:
        if lock is not None:
            await lock.acquire()
            sqlite_file(url).touch(0o600)
        async with engine.begin() as connection:
            await connection.run_sync(_migrate, action)
    except (OSError, OperationalError) as error:
        cause = getattr(error, "orig", None) or error
        raise DatabaseError(
            f"The database cannot be migrated: {type(cause).__name__}: {cause}"[:300],
            hint="Check the database URL, and that the database is running and writable.",
        ) from error
    except CommandError as error:
        raise DatabaseError(
            f"The database cannot be migrated: {error}",
            hint="If a newer XRouter has used this database, start that one.",
        ) from error
    finally:
        await engine.dispose()
        if lock is not None:
            lock.release()


def _migrate(connection: Connection, action: Callable[[Config], None]) -> None:
    sqlite = connection.dialect.name == "sqlite"
    if not sqlite:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})"))
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
    config = _config()
    config.attributes["connection"] = connection
    action(config)
    if sqlite:
        broken = connection.execute(text("PRAGMA foreign_key_check")).fetchall()
        if broken:
            raise DatabaseError(f"The migration would break {len(broken)} references; undone.")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
