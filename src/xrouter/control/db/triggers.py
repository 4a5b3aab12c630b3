"""Triggers that raise the catalog's revision, so that any writer is noticed.

On PostgreSQL they also notify `CHANNEL`, when the writer commits.

A batch migration makes a SQLite table anew, which loses its triggers: it must `unwatch` the table
first and `watch` it again.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

_EVENTS = ("insert", "update", "delete")
_BUMP = "UPDATE catalog_state SET revision = revision + 1"
_READ = "SELECT revision INTO NEW.revision FROM catalog_state"
_CHANGES = ("update", "delete")
_REFUSE = "xrouter_append_only"
_FUNCTION = "xrouter_catalog_changed"
_STAMP = "xrouter_row_stamp"

CHANNEL = "xrouter_catalog"


def create_function(connection: Connection, *, notifies: bool = False) -> None:
    """What PostgreSQL's triggers call, made or replaced; SQLite needs none."""
    if connection.dialect.name == "postgresql":
        steps = f"{_BUMP}; NOTIFY {CHANNEL}" if notifies else _BUMP
        connection.execute(
            text(
                f"CREATE OR REPLACE FUNCTION {_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$ "
                f"BEGIN {steps}; RETURN NULL; END $$"
            )
        )


def drop_function(connection: Connection) -> None:
    """The reverse of `create_function`; no trigger may be left."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"DROP FUNCTION {_FUNCTION}()"))


def watch(connection: Connection, table: str, *, inserts: bool = True) -> None:
    """Let every change of the table raise the revision. inserts: a new row is a change, too."""
    if connection.dialect.name == "postgresql":
        first = "INSERT OR " if inserts else ""
        connection.execute(
            text(
                f"CREATE TRIGGER {_name(table)} "
                f"AFTER {first}UPDATE OR DELETE OR TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {_FUNCTION}()"
            )
        )
        return
    for what in _EVENTS if inserts else _CHANGES:
        connection.execute(
            text(f"CREATE TRIGGER {_name(table)}_{what} AFTER {what} ON {table} BEGIN {_BUMP}; END")
        )


def unwatch(connection: Connection, table: str) -> None:
    """The reverse of `watch`."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"DROP TRIGGER {_name(table)} ON {table}"))
        return
    for what in _EVENTS:
        connection.execute(text(f"DROP TRIGGER IF EXISTS {_name(table)}_{what}"))


def stamp(connection: Connection, table: str) -> None:
    """Write into each row that changes (its `revision`) the revision in which it does.

    Whoever has read all up to a revision finds the rest above it. The revision is raised before
    any row is written: on PostgreSQL, where writers come at once, no reader can have gone past it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(
            text(
                f"CREATE OR REPLACE FUNCTION {_STAMP}_first() RETURNS trigger LANGUAGE plpgsql "
                f"AS $$ BEGIN {_BUMP}; RETURN NULL; END $$"
            )
        )
        connection.execute(
            text(
                f"CREATE TRIGGER {table}_stamp_first BEFORE INSERT OR UPDATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {_STAMP}_first()"
            )
        )
        connection.execute(
            text(
                f"CREATE OR REPLACE FUNCTION {_STAMP}() RETURNS trigger LANGUAGE plpgsql AS $$ "
                f"BEGIN {_READ}; RETURN NEW; END $$"
            )
        )
        connection.execute(
            text(
                f"CREATE TRIGGER {table}_stamp BEFORE INSERT OR UPDATE ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION {_STAMP}()"
            )
        )
        return
    columns = inspect(connection).get_columns(table)
    others = ", ".join(f'"{column["name"]}"' for column in columns if column["name"] != "revision")
    for event, when in (("insert", "INSERT"), ("update", f"UPDATE OF {others}")):
        begin = f"CREATE TRIGGER {table}_stamp_{event} AFTER {when} ON {table} BEGIN {_BUMP}"
        write = "SET revision = (SELECT revision FROM catalog_state) WHERE id = NEW.id"
        connection.execute(text(f"{begin}; UPDATE {table} {write}; END"))


def unstamp(connection: Connection, table: str) -> None:
    """The reverse of `stamp`."""
    if connection.dialect.name == "postgresql":
        for name in ("", "_first"):
            connection.execute(text(f"DROP TRIGGER {table}_stamp{name} ON {table}"))
            connection.execute(text(f"DROP FUNCTION {_STAMP}{name}()"))
        return
    for event in ("insert", "update"):
        connection.execute(text(f"DROP TRIGGER {table}_stamp_{event}"))


def forbid_changes(connection: Connection, table: str) -> None:
    """Let rows come, and never change or go."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text(
                f"CREATE OR REPLACE FUNCTION {_REFUSE}() RETURNS trigger LANGUAGE plpgsql AS $$ "
                "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
            )
        )
        connection.execute(
            text(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
                f"ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {_REFUSE}()"
            )
        )
        return
    for what in _CHANGES:
        connection.execute(
            text(
                f"CREATE TRIGGER {table}_append_only_{what} BEFORE {what} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        )


def allow_changes(connection: Connection, table: str) -> None:
    """The reverse of `forbid_changes`."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"DROP TRIGGER {table}_append_only ON {table}"))
        return
    for what in _CHANGES:
        connection.execute(text(f"DROP TRIGGER {table}_append_only_{what}"))


def _name(table: str) -> str:
    return f"{table}_revision"
