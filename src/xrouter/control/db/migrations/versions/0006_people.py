"""Organisations, projects, people, sessions, the audit log; what keys may do.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from xrouter.control.db import triggers
from xrouter.control.db.migrations.columns import (
    NONE,
    ZERO,
    binary,
    document,
    double,
    identity,
    moment,
    number,
    of,
    switch,
    unique,
    word,
)

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    "key_uses",
    "audit_log",
    "one_time_links",
    "sessions",
    "memberships",
    "user_identities",
    "users",
    "projects",
    "organizations",
)
WATCHED = ("organizations", "projects")


def _tenants() -> None:
    """Who pays, and for what."""
    op.create_table(
        "organizations",
        *identity("organizations"),
        word("slug"),
        word("name"),
        word("time_zone", default="Europe/Moscow"),
        number("margin", default=ZERO),
        number("vat", default=ZERO),
        document("details"),
        switch("is_active", default=sa.true()),
        moment("created_at", default=sa.func.now()),
        moment("updated_at", default=sa.func.now()),
        unique("organizations", "slug"),
    )
    op.create_table(
        "projects",
        *identity("projects"),
        number("organization_id"),
        word("slug"),
        word("name"),
        switch("is_active", default=sa.true()),
        moment("created_at", default=sa.func.now()),
        moment("updated_at", default=sa.func.now()),
        of("projects", "organization_id", "organizations.id", "RESTRICT"),
        unique("projects", "slug"),
    )
    op.create_index("ix_projects_organization_id", "projects", ["organization_id"])


def _people() -> None:
    """Who they are, and what they may."""
    op.create_table(
        "users",
        *identity("users"),
        word("user_id"),
        word("email"),
        word("name"),
        word("password", null=True),
        word("language", default="ru"),
        switch("is_operator", default=sa.false()),
        switch("is_active", default=sa.true()),
        moment("last_sign_in_at", null=True),
        moment("created_at", default=sa.func.now()),
        moment("updated_at", default=sa.func.now()),
        unique("users", "email"),
        unique("users", "user_id"),
    )
    op.create_table(
        "user_identities",
        *identity("user_identities"),
        number("user_id"),
        word("issuer"),
        word("subject"),
        moment("created_at"),
        of("user_identities", "user_id", "users.id", "CASCADE"),
        unique("user_identities", "issuer", "subject"),
    )
    op.create_index("ix_user_identities_user_id", "user_identities", ["user_id"])
    op.create_table(
        "memberships",
        *identity("memberships"),
        number("user_id"),
        number("organization_id"),
        number("project_id", null=True),
        word("role"),
        moment("created_at"),
        of("memberships", "organization_id", "organizations.id", "CASCADE"),
        of("memberships", "project_id", "projects.id", "CASCADE"),
        of("memberships", "user_id", "users.id", "CASCADE"),
        unique("memberships", "user_id", "organization_id", "project_id"),
    )
    op.create_index("ix_memberships_organization_id", "memberships", ["organization_id"])


def _doors() -> None:
    """How they come in."""
    op.create_table(
        "sessions",
        *identity("sessions"),
        binary("mac"),
        binary("csrf"),
        number("user_id"),
        moment("created_at"),
        moment("seen_at"),
        moment("expires_at"),
        word("ip", null=True),
        word("agent", null=True),
        of("sessions", "user_id", "users.id", "CASCADE"),
        unique("sessions", "mac"),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_table(
        "one_time_links",
        *identity("one_time_links"),
        binary("mac"),
        word("purpose"),
        word("email", null=True),
        number("organization_id", null=True),
        number("project_id", null=True),
        word("role", null=True),
        moment("created_at"),
        moment("expires_at"),
        moment("used_at", null=True),
        of("one_time_links", "organization_id", "organizations.id", "CASCADE"),
        of("one_time_links", "project_id", "projects.id", "CASCADE"),
        unique("one_time_links", "mac"),
    )


def _records() -> None:
    """What happened."""
    op.create_table(
        "audit_log",
        *identity("audit_log"),
        moment("at"),
        word("actor"),
        word("ip", null=True),
        word("action"),
        word("object"),
        word("organization", null=True),
        document("detail"),
        binary("digest"),
    )
    op.create_index("ix_audit_log_object", "audit_log", ["object"])
    op.create_index("ix_audit_log_organization_id", "audit_log", ["organization", "id"])
    op.create_table(
        "key_uses",
        word("key_id"),
        double("at"),
        sa.PrimaryKeyConstraint("key_id", name="pk_key_uses"),
    )


def _keys() -> None:
    """What keys may do, and from where; when they were used."""
    triggers.unwatch(op.get_bind(), "api_keys")
    for name in ("scopes", "models", "ip_ranges", "tags"):
        op.add_column("api_keys", document(name, default=NONE))
    op.add_column("api_keys", binary("previous_mac", null=True))
    op.add_column("api_keys", moment("previous_until", null=True))
    triggers.watch(op.get_bind(), "api_keys")


def _first_tenant() -> None:
    """All keys there are belong to one organisation; their projects become rows."""
    connection = op.get_bind()
    connection.execute(
        sa.text("INSERT INTO organizations (slug, name) VALUES ('default', 'Default')")
    )
    connection.execute(
        sa.text(
            "INSERT INTO projects (organization_id, slug, name) "
            "SELECT o.id, p.slug, p.slug FROM organizations o, "
            "(SELECT 'default' AS slug UNION SELECT DISTINCT project FROM api_keys) p"
        )
    )


def upgrade() -> None:
    """Tables, the first tenant, and triggers last."""
    _tenants()
    _people()
    _doors()
    _records()
    _keys()
    _first_tenant()
    triggers.forbid_changes(op.get_bind(), "audit_log")
    for table in WATCHED:
        triggers.watch(op.get_bind(), table)


def downgrade() -> None:
    """In the reverse order."""
    for table in WATCHED:
        triggers.unwatch(op.get_bind(), table)
    triggers.allow_changes(op.get_bind(), "audit_log")
    triggers.unwatch(op.get_bind(), "api_keys")
    for name in ("previous_until", "previous_mac", "tags", "ip_ranges", "models", "scopes"):
        op.drop_column("api_keys", name)
    triggers.watch(op.get_bind(), "api_keys")
    for table in TABLES:
        op.drop_table(table)
