"""Queries of the state."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_VERSION = {"sqlite": "SELECT sqlite_version()", "postgresql": "SHOW server_version"}


async def database_version(session: AsyncSession) -> str:
    """`sqlite 3.51.3`, `postgresql 18.1`."""
    name = session.get_bind().dialect.name
    return f"{name} {(await session.scalars(text(_VERSION[name]))).one()}"


async def schema(session: AsyncSession) -> str:
    """The newest migration that was run."""
    found: str = (await session.scalars(text("SELECT version_num FROM alembic_version"))).one()
    return found
