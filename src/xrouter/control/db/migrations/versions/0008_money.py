"""Limits, charges, the ledger, prepaid packages, closed months.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from xrouter.control.db import triggers
from xrouter.control.db.migrations.columns import (
    NONE,
    big,
    document,
    double,
    identity,
    moment,
    number,
    of,
    serial,
    switch,
    unique,
    word,
)

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = (
    "closed_months",
    "packages",
    "ledger_lines",
    "charges",
    "limits",
)
WATCHED = ("limits",)


def _limits() -> None:
    """How much who may."""
    op.create_table(
        "limits",
        *identity("limits"),
        word("subject"),
        word("model", null=True),
        word("meter"),
        word("window"),
        big("amount"),
        word("time_zone", default="Europe/Moscow"),
        number("warn_at", null=True),
        switch("is_enabled", default=sa.true()),
        moment("created_at", default=sa.func.now()),
        moment("updated_at", default=sa.func.now()),
        unique("limits", "subject", "model", "meter", "window"),
    )


def _charges() -> None:
    """What requests cost."""
    op.create_table(
        "charges",
        word("event_id"),
        double("at"),
        word("month"),
        word("organization"),
        word("project"),
        word("key_id", null=True),
        word("end_user", null=True),
        word("provider"),
        word("model"),
        word("version", null=True),
        number("price_id", null=True),
        word("currency", null=True),
        big("rate", null=True),
        big("cost"),
        big("margin"),
        big("vat"),
        big("total"),
        switch("is_estimated"),
        sa.PrimaryKeyConstraint("event_id", name="pk_charges"),
    )
    op.create_index("ix_charges_model_at", "charges", ["model", "at"])
    op.create_index("ix_charges_organization_month", "charges", ["organization", "month"])
    op.create_index("ix_charges_project_at", "charges", ["project", "at"])


def _ledger() -> None:
    """Whose money it is."""
    op.create_table(
        "ledger_lines",
        serial("id"),
        word("transfer"),
        double("at"),
        word("kind"),
        word("account"),
        big("amount"),
        word("memo", null=True),
        word("author"),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_lines"),
        unique("ledger_lines", "transfer", "account"),
    )
    op.create_index("ix_ledger_lines_account_id", "ledger_lines", ["account", "id"])
    op.create_table(
        "packages",
        *identity("packages"),
        word("provider"),
        number("endpoint_id", null=True),
        document("models", default=NONE),
        big("bought"),
        big("left"),
        big("paid"),
        moment("starts_at"),
        moment("expires_at"),
        moment("created_at", default=sa.func.now()),
        moment("updated_at", default=sa.func.now()),
        of("packages", "endpoint_id", "provider_endpoints.id", "SET NULL"),
    )
    op.create_index("ix_packages_provider_expires_at", "packages", ["provider", "expires_at"])
    op.create_table(
        "closed_months",
        word("organization"),
        word("month"),
        moment("closed_at"),
        word("author"),
        big("total"),
        big("requests"),
        sa.PrimaryKeyConstraint("organization", "month", name="pk_closed_months"),
    )


def upgrade() -> None:
    """Tables, then triggers."""
    _limits()
    _charges()
    _ledger()
    triggers.forbid_changes(op.get_bind(), "ledger_lines")
    for table in WATCHED:
        triggers.watch(op.get_bind(), table)


def downgrade() -> None:
    """In the reverse order."""
    for table in WATCHED:
        triggers.unwatch(op.get_bind(), table)
    triggers.allow_changes(op.get_bind(), "ledger_lines")
    for table in TABLES:
        op.drop_table(table)
