"""Columns and constraints as migrations write them down."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
EMPTY = sa.text("'{}'")
NONE = sa.text("'[]'")
ZERO = sa.text("0")


def word(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    """Text."""
    return sa.Column(name, sa.String, nullable=null, server_default=default)


def number(name: str, *, null: bool = False, default: Any = None) -> sa.Column[Any]:
    """32 bits."""
    return sa.Column(name, sa.Integer, nullable=null, server_default=default)


def big(name: str, *, null: bool = False, default: Any = None) -> sa.Column[Any]:
    """64 bits."""
    return sa.Column(name, sa.BigInteger, nullable=null, server_default=default)


def serial(name: str) -> sa.Column[Any]:
    """64 bits, given by the database."""
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, nullable=False)


def double(name: str) -> sa.Column[Any]:
    """A float of 64 bits."""
    return sa.Column(name, sa.Double, nullable=False)


def moment(name: str, *, null: bool = False, default: Any = None) -> sa.Column[Any]:
    """A time with a zone."""
    return sa.Column(name, TIME, nullable=null, server_default=default)


def binary(name: str, *, null: bool = False) -> sa.Column[Any]:
    """Bytes."""
    return sa.Column(name, sa.LargeBinary, nullable=null)


def document(name: str, *, default: Any = EMPTY) -> sa.Column[Any]:
    """JSON."""
    return sa.Column(name, JSON, server_default=default, nullable=False)


def switch(name: str, *, default: Any = None) -> sa.Column[Any]:
    """True or false."""
    return sa.Column(name, sa.Boolean, server_default=default, nullable=False)


def identity(table: str) -> tuple[Any, ...]:
    """A number as the primary key."""
    return number("id"), sa.PrimaryKeyConstraint("id", name=f"pk_{table}")


def of(table: str, column: str, target: str, ondelete: str) -> sa.ForeignKeyConstraint:
    """A reference to another table's row (`table.column`)."""
    return sa.ForeignKeyConstraint(
        [column], [target], name=f"fk_{table}_{column}", ondelete=ondelete
    )


def unique(table: str, *columns: str) -> sa.UniqueConstraint:
    """No two rows with the same values there."""
    return sa.UniqueConstraint(*columns, name=f"uq_{table}_{'_'.join(columns)}")
