"""Catalog, keys, usage; the revision and its triggers.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from xrouter.control.db import triggers

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WATCHED = ("providers", "provider_endpoints", "llm_models", "llm_model_versions", "api_keys")

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
EMPTY = sa.text("'{}'")
ZERO = sa.text("0")


def created() -> sa.Column[Any]:
    return sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False)


def updated() -> sa.Column[Any]:
    return sa.Column("updated_at", TIME, server_default=sa.func.now(), nullable=False)


def provider() -> sa.Column[Any]:
    return sa.Column("provider", sa.String, nullable=False)


def switch(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, server_default=sa.true(), nullable=False)


def origin() -> sa.Column[Any]:
    return sa.Column("origin", sa.String, server_default="operator", nullable=False)


def of_provider(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["provider"],
        ["providers.name"],
        name=f"fk_{table}_provider",
        onupdate="CASCADE",
        ondelete="CASCADE",
    )


def upgrade() -> None:
    create_state()
    create_providers()
    create_models()
    create_keys()
    create_usage()
    triggers.create_function(op.get_bind())
    for table in WATCHED:
        triggers.watch(op.get_bind(), table)


def downgrade() -> None:
    for table in reversed(WATCHED):
        triggers.unwatch(op.get_bind(), table)
    triggers.drop_function(op.get_bind())
    for table in ("usage_events", *reversed(WATCHED), "catalog_state"):
        op.drop_table(table)


def create_state() -> None:
    state = op.create_table(
        "catalog_state",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger, server_default=ZERO, nullable=False),
        sa.CheckConstraint("id = 1", name="ck_catalog_state_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_catalog_state"),
    )
    op.bulk_insert(state, [{"id": 1, "revision": 0}])


def create_providers() -> None:
    op.create_table(
        "providers",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("adapter_class", sa.String, nullable=False),
        switch("is_enabled"),
        created(),
        updated(),
        sa.PrimaryKeyConstraint("id", name="pk_providers"),
        sa.UniqueConstraint("name", name="uq_providers_name"),
    )
    op.create_table(
        "provider_endpoints",
        sa.Column("id", sa.Integer, nullable=False),
        provider(),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("base_url", sa.String, nullable=False),
        sa.Column("adapter_class", sa.String),
        sa.Column("priority", sa.Integer, server_default=ZERO, nullable=False),
        sa.Column("options", JSON, server_default=EMPTY, nullable=False),
        sa.Column("credential", sa.LargeBinary),
        sa.Column("timeouts", JSON, server_default=EMPTY, nullable=False),
        sa.Column("ca_bundle", sa.String),
        sa.Column("client_cert", sa.String),
        sa.Column("client_key", sa.String),
        sa.Column("proxy", sa.String),
        switch("is_enabled"),
        created(),
        updated(),
        of_provider("provider_endpoints"),
        sa.PrimaryKeyConstraint("id", name="pk_provider_endpoints"),
        sa.UniqueConstraint("provider", "name", name="uq_provider_endpoints_provider_name"),
    )


def create_models() -> None:
    op.create_table(
        "llm_models",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("model_id", sa.String, nullable=False),
        provider(),
        sa.Column("adapter_class", sa.String, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("kind", sa.String, server_default="chat", nullable=False),
        sa.Column("context_length", sa.Integer),
        switch("is_available"),
        sa.Column("capabilities", JSON, server_default=EMPTY, nullable=False),
        sa.Column("access_group", sa.String),
        sa.Column("limits", JSON, server_default=EMPTY, nullable=False),
        origin(),
        sa.Column("vanished_at", TIME),
        created(),
        updated(),
        of_provider("llm_models"),
        sa.PrimaryKeyConstraint("id", name="pk_llm_models"),
        sa.UniqueConstraint("model_id", name="uq_llm_models_model_id"),
    )
    op.create_index("ix_llm_models_provider", "llm_models", ["provider"])
    op.create_table(
        "llm_model_versions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("llm_model_id", sa.Integer, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("upstream", sa.String, nullable=False),
        sa.Column("channel", sa.String),
        sa.Column("status", sa.String, server_default="active", nullable=False),
        sa.Column("released_at", TIME),
        sa.Column("retires_at", TIME),
        sa.Column("weight", sa.Integer, server_default=sa.text("1"), nullable=False),
        sa.Column("position", sa.Integer, server_default=ZERO, nullable=False),
        origin(),
        sa.ForeignKeyConstraint(
            ["llm_model_id"],
            ["llm_models.id"],
            name="fk_llm_model_versions_llm_model_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_llm_model_versions"),
        sa.UniqueConstraint(
            "llm_model_id", "label", name="uq_llm_model_versions_llm_model_id_label"
        ),
    )


def create_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("project", sa.String, server_default="default", nullable=False),
        sa.Column("pepper_id", sa.String, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.Column("last4", sa.String, nullable=False),
        sa.Column("rpm", sa.Integer),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("key_id", name="uq_api_keys_key_id"),
        sa.UniqueConstraint("mac", name="uq_api_keys_mac"),
    )


def create_usage() -> None:
    op.create_table(
        "usage_events",
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("operation", sa.String, nullable=False),
        sa.Column("key_id", sa.String),
        sa.Column("project", sa.String),
        sa.Column("model_requested", sa.String),
        sa.Column("model_served", sa.String),
        sa.Column("version", sa.String),
        sa.Column("upstream_model", sa.String),
        sa.Column("provider", sa.String),
        sa.Column("endpoint", sa.String),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("streamed", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("error_code", sa.String),
        sa.Column("finish_reason", sa.String),
        sa.Column("tokens_in", sa.BigInteger, nullable=False),
        sa.Column("tokens_out", sa.BigInteger, nullable=False),
        sa.Column("tokens_cached", sa.BigInteger, nullable=False),
        sa.Column("tokens_reasoning", sa.BigInteger, nullable=False),
        sa.Column("tokens_estimated", sa.Boolean, nullable=False),
        sa.Column("queue_ms", sa.Double, nullable=False),
        sa.Column("first_token_ms", sa.Double),
        sa.Column("total_ms", sa.Double, nullable=False),
        sa.Column("upstream_request_id", sa.String),
        sa.PrimaryKeyConstraint("event_id", name="pk_usage_events"),
    )
    op.create_index("ix_usage_events_at_event_id", "usage_events", ["at", "event_id"])
    op.create_index("ix_usage_events_key_id_at", "usage_events", ["key_id", "at"])
    op.create_index("ix_usage_events_model_served_at", "usage_events", ["model_served", "at"])
    op.create_index("ix_usage_events_request_id", "usage_events", ["request_id"])
