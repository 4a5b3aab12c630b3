"""The database: reading sessions, writing sessions, nothing else.

SQLite: one connection writes, in transactions that begin with the right to write; the others can
only read. Both databases give a reading session one unchanging view of the data.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from xrouter.control.db import sqlite
from xrouter.control.db.errors import DatabaseError
from xrouter.control.db.lock import WAIT_S, WriterLock
from xrouter.control.db.url import database_url, is_sqlite, sqlite_file
from xrouter.domain.errors import Conflict

READERS = 4
CONNECTIONS = 8
CONNECT_S = 5.0
POOL_WAIT_S = 10.0
STATEMENT_S = 30.0
_SHOWN = 300
_LOST = frozenset({"40001", "40P01"})
"""SQLSTATEs of a transaction that lost against another one: serialization failure, deadlock."""

_READER = ("PRAGMA busy_timeout = 5000", "PRAGMA temp_store = MEMORY", "PRAGMA query_only = ON")
_WRITER = (
    "PRAGMA busy_timeout = 5000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA cache_size = -32768",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA temp_store = MEMORY",
)
_MIGRATOR = (*_WRITER, "PRAGMA foreign_keys = OFF")


class Database:
    """Opened by its first use; `close` it at the end.

    url: `sqlite:///file` or `postgresql://...`. Sessions raise DatabaseError when the database
    cannot be reached, SQLAlchemy's errors when a statement is wrong.
    """

    def __init__(self, url: str, *, lock_wait_s: float = WAIT_S) -> None:
        self.url = database_url(url)
        self._lock: WriterLock | None = None
        if is_sqlite(self.url):
            self._lock = WriterLock(sqlite_file(self.url), lock_wait_s)
            self._writer = _sqlite(self.url, "BEGIN IMMEDIATE", _WRITER, size=1)
            self._reader = _sqlite(self.url, "BEGIN", _READER, size=READERS)
        else:
            self._writer = _postgresql(self.url)
            self._reader = self._writer.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        self._read = async_sessionmaker(self._reader, expire_on_commit=False)
        self._write = async_sessionmaker(self._writer, expire_on_commit=False)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.url.get_backend_name()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one state of the data and changes nothing."""
        with _Translated():
            async with self._read() as session:
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session whose changes are committed at the exit, or all undone by an exception.

        Raises Conflict when it lost against another writer: nothing was written, try again.
        """
        with _Translated():
            if self._lock is not None:
                await self._lock.acquire()
            async with self._write() as session, session.begin():
                yield session

    async def close(self) -> None:
        """Close all connections."""
        await self._reader.dispose()
        await self._writer.dispose()
        if self._lock is not None:
            self._lock.release()


class _Translated:
    """Turns "cannot be reached" and "lost against another" into errors of ours.

    No statement or parameter is shown.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _LOST:
            raise Conflict(
                "Somebody else changed the same things at the same moment; nothing was written.",
                code="conflict",
                hint="Try again.",
                retry_after=1.0,
            ) from error
        if isinstance(error, OSError | PoolTimeout) or _is_away(error):
            cause = getattr(error, "orig", None) or error
            raise DatabaseError(
                f"The database does not serve: {type(cause).__name__}: {cause}"[:_SHOWN],
                hint="XRouter goes on with what it knows and tries again.",
                retry_after=1.0,
            ) from error


def _is_away(error: BaseException | None) -> bool:
    """Whether connecting failed, the connection broke, or the file is busy, full or gone."""
    if not isinstance(error, DBAPIError):
        return False
    return (
        error.connection_invalidated
        or error.statement is None
        or isinstance(error, OperationalError)
    )


def migrating_engine(url: URL) -> AsyncEngine:
    """One connection for migrations: foreign keys are off, for tables are made anew and moved."""
    if is_sqlite(url):
        return _sqlite(url, "BEGIN IMMEDIATE", _MIGRATOR, size=1)
    return _postgresql(url, statement_s=None, size=1)


def _sqlite(url: URL, begin: str, pragmas: tuple[str, ...], size: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        hide_parameters=True,
        connect_args={"async_creator_fn": sqlite.connect},
    )

    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is ours, not the driver's
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", start)
    return engine


def _postgresql(
    url: URL, statement_s: float | None = STATEMENT_S, size: int = CONNECTIONS
) -> AsyncEngine:
    settings = {"application_name": "xrouter", "idle_in_transaction_session_timeout": "30000"}
    try:
        return create_async_engine(
            url,
            pool_size=size,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "timeout": CONNECT_S,
                "command_timeout": statement_s,
                "server_settings": settings,
            },
        )
    except ModuleNotFoundError:
        raise DatabaseError(
            "PostgreSQL needs the package asyncpg.", hint="Install xrouter[postgres]."
        ) from None
