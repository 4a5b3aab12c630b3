"""Tell other processes at once that the catalog has changed.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

from xrouter.control.db import triggers

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    triggers.create_function(op.get_bind(), notifies=True)


def downgrade() -> None:
    triggers.create_function(op.get_bind())
