"""OAuth 2.0: clients, grants, codes, tokens, signing keys.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from xrouter.control.db import triggers
from xrouter.control.db.migrations.columns import (
    NONE,
    binary,
    document,
    identity,
    moment,
    number,
    of,
    switch,
    unique,
    word,
)

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = (
    "signing_keys",
    "revoked_tokens",
    "oauth_tokens",
    "oauth_codes",
    "oauth_grants",
    "oauth_clients",
)
WATCHED = ("oauth_grants", "revoked_tokens")


def _parties() -> None:
    """Who asks for tokens, and who allowed it."""
    op.create_table(
        "oauth_clients",
        *identity("oauth_clients"),
        word("client_id"),
        word("name"),
        binary("secret", null=True),
        document("redirect_uris", default=NONE),
        document("grant_types", default=NONE),
        document("scopes", default=NONE),
        number("organization_id", null=True),
        word("project", null=True),
        switch("is_first_party", default=sa.false()),
        switch("is_active", default=sa.true()),
        moment("created_at", default=sa.func.now()),
        moment("updated_at", default=sa.func.now()),
        of("oauth_clients", "organization_id", "organizations.id", "CASCADE"),
        unique("oauth_clients", "client_id"),
    )
    op.create_index("ix_oauth_clients_organization_id", "oauth_clients", ["organization_id"])
    op.create_table(
        "oauth_grants",
        *identity("oauth_grants"),
        word("grant_id"),
        number("client_id"),
        number("user_id", null=True),
        word("project"),
        document("scopes", default=NONE),
        moment("created_at"),
        moment("expires_at"),
        moment("revoked_at", null=True),
        of("oauth_grants", "client_id", "oauth_clients.id", "CASCADE"),
        of("oauth_grants", "user_id", "users.id", "CASCADE"),
        unique("oauth_grants", "grant_id"),
    )
    op.create_index("ix_oauth_grants_client_id", "oauth_grants", ["client_id"])
    op.create_index("ix_oauth_grants_user_id", "oauth_grants", ["user_id"])


def _tokens() -> None:
    """What they get."""
    op.create_table(
        "oauth_codes",
        *identity("oauth_codes"),
        binary("mac"),
        number("grant_id"),
        word("redirect_uri"),
        word("challenge"),
        moment("expires_at"),
        moment("used_at", null=True),
        of("oauth_codes", "grant_id", "oauth_grants.id", "CASCADE"),
        unique("oauth_codes", "mac"),
    )
    op.create_index("ix_oauth_codes_expires_at", "oauth_codes", ["expires_at"])
    op.create_table(
        "oauth_tokens",
        *identity("oauth_tokens"),
        binary("mac"),
        number("grant_id"),
        moment("created_at"),
        moment("expires_at"),
        moment("rotated_at", null=True),
        binary("successor", null=True),
        of("oauth_tokens", "grant_id", "oauth_grants.id", "CASCADE"),
        unique("oauth_tokens", "mac"),
    )
    op.create_index("ix_oauth_tokens_grant_id", "oauth_tokens", ["grant_id"])
    op.create_table(
        "revoked_tokens",
        word("jti"),
        moment("expires_at"),
        sa.PrimaryKeyConstraint("jti", name="pk_revoked_tokens"),
    )
    op.create_index("ix_revoked_tokens_expires_at", "revoked_tokens", ["expires_at"])
    op.create_table(
        "signing_keys",
        word("kid"),
        word("algorithm"),
        binary("private"),
        moment("created_at"),
        moment("signs_from"),
        moment("retired_at", null=True),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_keys"),
    )


def upgrade() -> None:
    """Tables, then triggers."""
    _parties()
    _tokens()
    for table in WATCHED:
        triggers.watch(op.get_bind(), table)


def downgrade() -> None:
    """In the reverse order."""
    for table in WATCHED:
        triggers.unwatch(op.get_bind(), table)
    for table in TABLES:
        op.drop_table(table)
