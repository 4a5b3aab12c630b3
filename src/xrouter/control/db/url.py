"""Which database a URL means."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from xrouter.control.db.errors import DatabaseError

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
_HINT = "Use sqlite:////absolute/path/xrouter.db or postgresql://user:password@host/database."


def database_url(text: str) -> URL:
    """The URL with the driver we use. Raises DatabaseError; never shows the password."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise DatabaseError("The database URL cannot be read.", hint=_HINT) from None
    backend = url.drivername.partition("+")[0]
    if backend not in _DRIVERS:
        raise DatabaseError(f"There is no support for '{backend}' databases.", hint=_HINT)
    url = url.set(drivername=_DRIVERS[backend])
    if backend == "sqlite" and (not url.database or url.database == ":memory:"):
        raise DatabaseError("SQLite needs a file; it is not used in memory.", hint=_HINT)
    return url


def is_sqlite(url: URL) -> bool:
    """Whether it is a file of ours."""
    return url.get_backend_name() == "sqlite"


def sqlite_file(url: URL) -> Path:
    """The file of a SQLite URL."""
    return Path(url.database or "")
