"""Attempts counted as events are drained; builds that were told of; an index nobody reads by.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Builds that are there were told of by the former watch."""
    op.create_table(
        "attempt_counts",
        sa.Column("bucket", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("provider", "endpoint", "code")),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("saved", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(
            *("bucket", "provider", "endpoint", "code"), name="pk_attempt_counts"
        ),
    )
    op.add_column(
        "builds", sa.Column("noted", sa.Boolean, server_default=sa.false(), nullable=False)
    )
    op.execute(sa.text("UPDATE builds SET noted = true"))
    op.create_index("ix_builds_noted", "builds", ["noted"])
    op.drop_index("ix_usage_events_request_id", "usage_events")


def downgrade() -> None:
    """The older code counts from the events themselves."""
    op.create_index("ix_usage_events_request_id", "usage_events", ["request_id"])
    op.drop_index("ix_builds_noted", "builds")
    op.drop_column("builds", "noted")
    op.drop_table("attempt_counts")
