"""Projects' own credentials; what each attempt cost; which revision a key has changed in; who
says that an endpoint is down; a consent is no change of the catalog, its revocation is.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from xrouter.control.db import triggers
from xrouter.control.db.migrations.columns import (
    NONE,
    ZERO,
    big,
    binary,
    document,
    identity,
    moment,
    number,
    switch,
    unique,
    word,
)

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _credentials() -> None:
    """With which a project asks a provider on its own account."""
    op.create_table(
        "project_credentials",
        *identity("project_credentials"),
        word("project"),
        word("provider"),
        binary("credential"),
        word("last4"),
        switch("is_only", default=sa.false()),
        switch("is_enabled", default=sa.true()),
        moment("created_at", default=sa.func.now()),
        moment("updated_at", default=sa.func.now()),
        unique("project_credentials", "project", "provider"),
    )
    triggers.watch(op.get_bind(), "project_credentials")


def _attempts() -> None:
    """What is behind the charge of a request that was tried more than once."""
    op.create_table(
        "charge_attempts",
        word("event_id"),
        number("number"),
        word("provider"),
        word("endpoint"),
        word("model"),
        word("version", null=True),
        big("tokens_in"),
        big("tokens_out"),
        word("currency", null=True),
        big("rate", null=True),
        number("price_id", null=True),
        big("cost"),
        switch("is_estimated"),
        sa.PrimaryKeyConstraint("event_id", "number", name="pk_charge_attempts"),
    )


def _keys() -> None:
    """So that what has changed can be read without reading all."""
    triggers.unwatch(op.get_bind(), "api_keys")
    op.add_column("api_keys", big("revision", default=ZERO))
    op.create_index("ix_api_keys_revision", "api_keys", ["revision"])
    triggers.watch(op.get_bind(), "api_keys")
    triggers.stamp(op.get_bind(), "api_keys")


def upgrade() -> None:
    """Tables, then the stamp."""
    _credentials()
    _attempts()
    _keys()
    op.add_column("endpoint_states", switch("is_silent", default=sa.false()))
    triggers.unwatch(op.get_bind(), "oauth_grants")
    triggers.watch(op.get_bind(), "oauth_grants", inserts=False)
    op.create_index("ix_usage_events_project_at", "usage_events", ["project", "at"])
    op.add_column("organizations", document("groups", default=NONE))


def downgrade() -> None:
    """In the reverse order."""
    triggers.unwatch(op.get_bind(), "organizations")
    op.drop_column("organizations", "groups")
    triggers.watch(op.get_bind(), "organizations")
    op.drop_index("ix_usage_events_project_at", "usage_events")
    triggers.unwatch(op.get_bind(), "oauth_grants")
    triggers.watch(op.get_bind(), "oauth_grants")
    triggers.unwatch(op.get_bind(), "endpoint_states")
    op.drop_column("endpoint_states", "is_silent")
    triggers.watch(op.get_bind(), "endpoint_states")
    triggers.unstamp(op.get_bind(), "api_keys")
    triggers.unwatch(op.get_bind(), "api_keys")
    op.drop_index("ix_api_keys_revision", "api_keys")
    op.drop_column("api_keys", "revision")
    triggers.watch(op.get_bind(), "api_keys")
    op.drop_table("charge_attempts")
    triggers.unwatch(op.get_bind(), "project_credentials")
    op.drop_table("project_credentials")
