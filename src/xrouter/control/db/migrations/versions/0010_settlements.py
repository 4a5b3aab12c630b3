"""What providers tell of calls afterwards: which estimates it has made exact, what was booked.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from xrouter.control.db.migrations.columns import big, double, number, serial, unique, word

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ESTIMATED = "ix_charges_estimated"


def _settlements() -> None:
    """What was told, by attempt."""
    op.create_table(
        "settlements",
        serial("id"),
        word("event_id", null=True),
        number("number"),
        number("revision"),
        double("at"),
        double("used_at"),
        word("source"),
        word("provider"),
        word("endpoint"),
        word("model"),
        big("tokens_in"),
        big("tokens_out"),
        big("cost"),
        big("before"),
        word("transfer", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_settlements"),
        unique("settlements", "event_id", "number", "revision"),
    )
    op.create_index("ix_settlements_provider_used_at", "settlements", ["provider", "used_at"])


def _calls() -> None:
    """Calls that are none of ours, and those that are asked for."""
    op.create_table(
        "billed_calls",
        word("provider"),
        word("call"),
        word("transfer"),
        sa.PrimaryKeyConstraint("provider", "call", name="pk_billed_calls"),
    )
    op.create_table(
        "lookups",
        word("event_id"),
        number("number"),
        number("tries"),
        double("next_at"),
        sa.PrimaryKeyConstraint("event_id", "number", name="pk_lookups"),
    )


def upgrade() -> None:
    """Tables, then columns."""
    _settlements()
    _calls()
    op.add_column("charges", sa.Column("settled_at", sa.Double, nullable=True))
    op.add_column("charge_attempts", number("calls", default=sa.text("1")))
    op.add_column("charge_attempts", word("upstream_ids", null=True))
    op.create_index(
        _ESTIMATED,
        "charges",
        ["at"],
        postgresql_where=sa.text("is_estimated"),
        sqlite_where=sa.text("is_estimated = 1"),
    )


def downgrade() -> None:
    """In the reverse order."""
    op.drop_index(_ESTIMATED, "charges")
    op.drop_column("charge_attempts", "upstream_ids")
    op.drop_column("charge_attempts", "calls")
    op.drop_column("charges", "settled_at")
    for table in ("lookups", "billed_calls", "settlements"):
        op.drop_table(table)
