"""Whether the tables are those this code needs; cheap, without Alembic."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from sqlalchemy import Connection, inspect, text

from xrouter.control.db.engine import Database
from xrouter.control.db.url import database_url, is_sqlite, sqlite_file

HEAD = "0010"
"""The newest migration."""


async def current(url: str) -> str | None:
    """The revision the tables are at, None for a database without tables. Raises DatabaseError."""
    target = database_url(url)
    if is_sqlite(target) and not sqlite_file(target).exists():
        return None
    db = Database(url)
    try:
        async with db.read() as session:
            return await (await session.connection()).run_sync(_revision)
    finally:
        await db.close()


async def ensure(url: str) -> bool:
    """Migrate to HEAD unless that is done already; says whether anything was done.

    Raises DatabaseError. Alembic takes a fifth of a second to load, hence only when needed.
    """
    if await current(url) == HEAD:
        return False
    await migrations().upgrade(url)
    return True


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def migrations() -> ModuleType:
    """The module that migrates; loading it takes a fifth of a second."""
    return import_module("xrouter.control.db.migrate")
