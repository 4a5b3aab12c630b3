"""What Alembic runs; connection, transaction and lock come from `xrouter.control.db.migrate`."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from xrouter.control.db.metadata import metadata


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata(),
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


migrate(context.config.attributes["connection"])
