"""Routes and prices; health and incidents; releases, builds and the history of the catalog.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from xrouter.control.db import triggers

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WATCHED = ("routes", "route_targets", "prices", "currency_rates", "releases", "endpoint_states")

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
EMPTY = sa.text("'{}'")
NONE = sa.text("'[]'")
ZERO = sa.text("0")


def text(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.String, nullable=null, server_default=default)


def number(name: str, *, null: bool = False, default: Any = None) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=null, server_default=default)


def big(name: str, *, null: bool = False, default: Any = None) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=null, server_default=default)


def double(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Double, nullable=False)


def moment(name: str, *, null: bool = False, default: Any = None) -> sa.Column[Any]:
    return sa.Column(name, TIME, nullable=null, server_default=default)


def document(name: str, default: Any = EMPTY) -> sa.Column[Any]:
    return sa.Column(name, JSON, server_default=default, nullable=False)


def switch(name: str, default: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, server_default=default, nullable=False)


def identity(table: str) -> tuple[Any, ...]:
    return sa.Column("id", sa.Integer, nullable=False), sa.PrimaryKeyConstraint(
        "id", name=f"pk_{table}"
    )


def dated() -> tuple[sa.Column[Any], ...]:
    now = sa.func.now()
    return moment("created_at", default=now), moment("updated_at", default=now)


def of_model(table: str) -> tuple[Any, ...]:
    return number("llm_model_id"), sa.ForeignKeyConstraint(
        ["llm_model_id"], ["llm_models.id"], name=f"fk_{table}_llm_model_id", ondelete="CASCADE"
    )


def of_endpoint(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["endpoint_id"],
        ["provider_endpoints.id"],
        name=f"fk_{table}_endpoint_id",
        ondelete="CASCADE",
    )


def added() -> dict[str, tuple[sa.Column[Any], ...]]:
    """Columns of tables that were there before."""
    return {
        "providers": (text("country", null=True), document("settings")),
        "provider_endpoints": (
            number("max_running", null=True),
            number("max_waiting", null=True),
            text("country", null=True),
        ),
        "llm_models": (document("policy"),),
        "llm_model_versions": (text("successor", null=True),),
        "api_keys": (document("groups", NONE),),
        "usage_events": (
            text("route", null=True),
            text("reason", null=True),
            switch("cached", sa.false()),
            text("build", null=True),
            document("tried", NONE),
        ),
    }


def upgrade() -> None:
    """Adding a column leaves the triggers of a table alone."""
    for table, columns in added().items():
        for column in columns:
            op.add_column(table, column)
    create_routes()
    create_prices()
    create_health()
    create_processes()
    create_releases()
    for table in WATCHED:
        triggers.watch(op.get_bind(), table)


def downgrade() -> None:
    """SQLite 3.35 and newer drop columns in place."""
    for table in reversed(WATCHED):
        triggers.unwatch(op.get_bind(), table)
    for table in (
        *("catalog_changes", "builds", "releases", "instances", "leases", "incidents"),
        *("health_checks", "endpoint_states", "currency_rates", "prices", "route_targets"),
        "routes",
    ):
        op.drop_table(table)
    for table, columns in added().items():
        for column in columns:
            op.drop_column(table, column.name)


def create_routes() -> None:
    op.create_table(
        "routes",
        *identity("routes"),
        text("name"),
        text("display_name"),
        document("aliases", NONE),
        document("policy"),
        text("access_group", null=True),
        switch("is_enabled", sa.true()),
        *dated(),
        sa.UniqueConstraint("name", name="uq_routes_name"),
    )
    op.create_table(
        "route_targets",
        *identity("route_targets"),
        number("route_id"),
        number("position", default=ZERO),
        text("model"),
        text("endpoint", null=True),
        number("weight", default=sa.text("1")),
        number("priority", default=ZERO),
        sa.ForeignKeyConstraint(
            ["route_id"], ["routes.id"], name="fk_route_targets_route_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_route_targets_route_id", "route_targets", ["route_id"])


def create_prices() -> None:
    op.create_table(
        "prices",
        *identity("prices"),
        *of_model("prices"),
        text("version", null=True),
        text("mode", default="sync"),
        moment("effective_from"),
        text("currency"),
        big("input"),
        big("output"),
        big("cached_input", null=True),
        big("cache_write", null=True),
        big("reasoning", null=True),
        big("request", default=ZERO),
        big("image", null=True),
        text("source"),
        moment("created_at"),
    )
    op.create_index(
        "ix_prices_llm_model_id_effective_from", "prices", ["llm_model_id", "effective_from"]
    )
    op.create_table(
        "currency_rates",
        *identity("currency_rates"),
        text("currency"),
        sa.Column("day", sa.Date, nullable=False),
        big("rubles"),
        sa.UniqueConstraint("currency", "day", name="uq_currency_rates_currency_day"),
    )


def create_health() -> None:
    op.create_table(
        "endpoint_states",
        number("endpoint_id"),
        text("state"),
        moment("since"),
        text("cause", null=True),
        of_endpoint("endpoint_states"),
        sa.PrimaryKeyConstraint("endpoint_id", name="pk_endpoint_states"),
    )
    op.create_table(
        "health_checks",
        *identity("health_checks"),
        number("endpoint_id"),
        double("at"),
        text("kind"),
        sa.Column("ok", sa.Boolean, nullable=False),
        double("took_ms"),
        text("error_code", null=True),
        text("model", null=True),
        of_endpoint("health_checks"),
    )
    op.create_index("ix_health_checks_at", "health_checks", ["at"])
    op.create_index("ix_health_checks_endpoint_id_at", "health_checks", ["endpoint_id", "at"])
    op.create_table(
        "incidents",
        *identity("incidents"),
        text("provider"),
        text("endpoint"),
        text("state"),
        moment("started_at"),
        moment("ended_at", null=True),
        text("cause"),
        number("failed", default=ZERO),
        number("saved", default=ZERO),
    )
    op.create_index("ix_incidents_provider_started_at", "incidents", ["provider", "started_at"])


def create_processes() -> None:
    op.create_table(
        "leases",
        text("name"),
        text("holder"),
        big("token"),
        double("expires_at"),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "instances",
        text("instance_id"),
        text("host"),
        number("pid"),
        text("role"),
        big("revision"),
        double("started_at"),
        double("seen_at"),
        sa.PrimaryKeyConstraint("instance_id", name="pk_instances"),
    )


def create_releases() -> None:
    op.create_table(
        "releases",
        *identity("releases"),
        *of_model("releases"),
        text("label"),
        text("channel", default="latest"),
        moment("at"),
        moment("retire_at", null=True),
        document("canary"),
        moment("canary_from", null=True),
        text("status", default="planned"),
        text("replaced", null=True),
        text("reason", null=True),
        text("author"),
        *dated(),
    )
    op.create_index("ix_releases_status_at", "releases", ["status", "at"])
    op.create_table(
        "builds",
        *identity("builds"),
        *(text(name) for name in ("model_id", "version", "provider", "endpoint", "build")),
        double("first_seen"),
        double("last_seen"),
        big("answers", default=ZERO),
        sa.UniqueConstraint(
            *("model_id", "version", "endpoint", "build"),
            name="uq_builds_model_id_version_endpoint_build",
        ),
    )
    op.create_table(
        "catalog_changes",
        *identity("catalog_changes"),
        big("revision"),
        moment("at"),
        *(text(name) for name in ("author", "action", "kind", "object")),
        sa.Column("before", JSON),
        sa.Column("after", JSON),
    )
    op.create_index("ix_catalog_changes_revision", "catalog_changes", ["revision"])
    op.create_index("ix_catalog_changes_kind_object", "catalog_changes", ["kind", "object"])
