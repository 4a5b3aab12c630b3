"""Triggers that raise the catalog's revision, so that any writer is noticed.

A batch migration makes a SQLite table anew, which loses its triggers: it must `unwatch` the table
first and `watch` it again.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

_EVENTS = ("insert", "update", "delete")
_BUMP = "UPDATE catalog_state SET revision = revision + 1"
_FUNCTION = "xrouter_catalog_changed"


def create_function(connection: Connection) -> None:
    """What PostgreSQL's triggers call; SQLite needs none."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text(
                f"CREATE FUNCTION {_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$ "
                f"BEGIN {_BUMP}; RETURN NULL; END $$"
            )
        )


def drop_function(connection: Connection) -> None:
    """The reverse of `create_function`; no trigger may be left."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"DROP FUNCTION {_FUNCTION}()"))


def watch(connection: Connection, table: str) -> None:
    """Let every change of the table raise the revision."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text(
                f"CREATE TRIGGER {_name(table)} "
                f"AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {_FUNCTION}()"
            )
        )
        return
    for what in _EVENTS:
        connection.execute(
            text(f"CREATE TRIGGER {_name(table)}_{what} AFTER {what} ON {table} BEGIN {_BUMP}; END")
        )


def unwatch(connection: Connection, table: str) -> None:
    """The reverse of `watch`."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"DROP TRIGGER {_name(table)} ON {table}"))
        return
    for what in _EVENTS:
        connection.execute(text(f"DROP TRIGGER {_name(table)}_{what}"))


def _name(table: str) -> str:
    return f"{table}_revision"
