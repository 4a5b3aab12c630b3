"""What the adapter's or the provider's list says of a model, beside the operator's word.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Adding a column leaves the triggers of the table alone."""
    op.add_column(
        "llm_models", sa.Column("listed", JSON, server_default=sa.text("'{}'"), nullable=False)
    )


def downgrade() -> None:
    """SQLite 3.35 and newer drop columns in place."""
    op.drop_column("llm_models", "listed")
